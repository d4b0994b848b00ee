//! The operation log: who did what, on what, when, and how it went. Entries are added, and told once how they ended.

use kiln_model::{RegionId, SecretId, Timestamp, Uin};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, push_filter, push_page, uin};
use crate::{DEFAULT_LIST_LIMIT, Result};

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEntry {
    /// When.
    pub at: Timestamp,
    /// Who: the main account.
    pub account: Uin,
    /// Who of its people; none where it was the account itself.
    pub sub_account: Option<Uin>,
    /// With which key; none where it did not come over the API.
    pub secret_id: Option<SecretId>,
    /// The action's name.
    pub action: String,
    /// What it was done to: an identifier.
    pub subject: String,
    /// Where.
    pub region: Option<RegionId>,
    /// The request it came with.
    pub request_id: String,
    /// The error's code; empty where it succeeded.
    pub code: String,
    /// The error's sentence, or what was done.
    pub message: String,
}

/// How an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationOutcome {
    /// What was asked for was done.
    Succeeded,
    /// It was refused, or failed.
    Refused,
    /// It is under way, or was cut off.
    Unfinished,
}

impl OperationEntry {
    /// The code of one whose outcome is not known.
    pub const UNFINISHED: &str = "InternalError.Unfinished";

    /// How it went.
    pub fn outcome(&self) -> OperationOutcome {
        match self.code.as_str() {
            "" => OperationOutcome::Succeeded,
            Self::UNFINISHED => OperationOutcome::Unfinished,
            _ => OperationOutcome::Refused,
        }
    }
}

/// Which operations are asked for; filters are joined.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct OperationQuery {
    pub account: Option<Uin>,
    /// Only what this account or sub-account itself did.
    pub actor: Option<Uin>,
    pub region: Option<RegionId>,
    pub action: Option<String>,
    /// One of the identifiers that it was done to.
    pub subject: Option<String>,
    pub outcome: Option<OperationOutcome>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl Default for OperationQuery {
    fn default() -> Self {
        Self {
            account: None,
            actor: None,
            region: None,
            action: None,
            subject: None,
            outcome: None,
            from: None,
            until: None,
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl OperationQuery {
    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        query.push(" FROM operations WHERE 1 = 1");
        if let Some(account) = self.account {
            query.push(" AND account = ").push_bind(uin(account)?);
        }
        if let Some(actor) = self.actor {
            query.push(" AND COALESCE(sub_account, account) = ").push_bind(uin(actor)?);
        }
        push_filter(query, "region", self.region.as_slice().iter().map(RegionId::as_str));
        push_filter(query, "action", self.action.as_slice().iter().map(String::as_str));
        if let Some(subject) = &self.subject {
            // A subject can be several identifiers, with spaces between them.
            query.push(" AND replace(' ' || subject || ' ', ").push_bind(format!(" {subject} "));
            query.push(", '') <> ' ' || subject || ' '");
        }
        match self.outcome {
            None => {}
            Some(OperationOutcome::Succeeded) => {
                query.push(" AND code = ''");
            }
            Some(OperationOutcome::Unfinished) => {
                query.push(" AND code = ").push_bind(OperationEntry::UNFINISHED);
            }
            Some(OperationOutcome::Refused) => {
                query.push(" AND code <> '' AND code <> ").push_bind(OperationEntry::UNFINISHED);
            }
        }
        if let Some(from) = self.from {
            query.push(" AND at >= ").push_bind(from.0);
        }
        if let Some(until) = self.until {
            query.push(" AND at < ").push_bind(until.0);
        }
        Ok(())
    }
}

fn read_operation(row: &Row) -> Result<OperationEntry> {
    Ok(OperationEntry {
        at: row.time("at")?,
        account: row.uin("account")?,
        sub_account: row.optional_number("sub_account")?.map(Uin),
        secret_id: row.optional_text("secret_id")?.map(SecretId::from_trusted),
        action: row.text("action")?,
        subject: row.text("subject")?,
        region: row.optional_text("region")?.map(RegionId::from_trusted),
        request_id: row.text("request_id")?,
        code: row.text("code")?,
        message: row.text("message")?,
    })
}

impl Tx {
    /// Adds an operation to the log; its number there.
    pub async fn append_operation(&mut self, entry: &OperationEntry) -> Result<i64> {
        let sql = "INSERT INTO operations
                (at, account, secret_id, action, subject, region, request_id, code, message, sub_account)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING number AS n";
        let insert = query(sql)
            .bind(entry.at.0)
            .bind(uin(entry.account)?)
            .bind(entry.secret_id.as_ref().map(SecretId::as_str))
            .bind(&entry.action)
            .bind(&entry.subject)
            .bind(entry.region.as_ref().map(RegionId::as_str))
            .bind(&entry.request_id)
            .bind(&entry.code)
            .bind(&entry.message)
            .bind(entry.sub_account.map(uin).transpose()?);
        self.count(insert).await
    }

    /// Says how an operation went that was added before its outcome was known: once.
    pub async fn end_operation(&mut self, number: i64, code: &str, message: &str) -> Result<()> {
        let sql = "UPDATE operations SET code = $2, message = $3 WHERE number = $1 AND code = $4";
        let update = query(sql).bind(number).bind(code).bind(message).bind(OperationEntry::UNFINISHED);
        self.change_some(update, "the operation's outcome").await
    }

    /// A page of the log, newest first, and how many operations there are in all.
    pub async fn operations(&mut self, asked: &OperationQuery) -> Result<(Vec<OperationEntry>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT *");
        asked.push_conditions(&mut select)?;
        select.push(" ORDER BY number DESC");
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_operation).await?, total))
    }
}
