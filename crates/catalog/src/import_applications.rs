//! Applications for the permission to import: an account's newest one.

use kiln_model::{ApplicationState, ImportApplication, Uin};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, push_filter, push_page, uin};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// Which applications are asked for; filters are joined.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ImportApplicationQuery {
    pub account: Option<Uin>,
    pub state: Option<ApplicationState>,
    pub offset: u64,
    pub limit: u64,
}

impl Default for ImportApplicationQuery {
    fn default() -> Self {
        Self { account: None, state: None, offset: 0, limit: DEFAULT_LIST_LIMIT }
    }
}

impl ImportApplicationQuery {
    fn push_conditions(&self, query: &mut Builder<'_>) -> Result<()> {
        query.push(" FROM import_applications WHERE 1 = 1");
        if let Some(account) = self.account {
            query.push(" AND account = ").push_bind(uin(account)?);
        }
        push_filter(query, "state", self.state.map(Word::word).as_slice().iter().copied());
        Ok(())
    }
}

fn read_application(row: &Row) -> Result<ImportApplication> {
    Ok(ImportApplication {
        account: row.uin("account")?,
        reason: row.text("reason")?,
        state: row.word("state")?,
        applied_at: row.time("applied_at")?,
        decided_at: row.optional_time("decided_at")?,
        answer: row.text("answer")?,
    })
}

impl Tx {
    /// Keeps an account's application in the place of its earlier one.
    ///
    /// # Errors
    /// `Missing` where the account does not exist.
    pub async fn put_import_application(&mut self, application: &ImportApplication) -> Result<()> {
        let sql = "INSERT INTO import_applications (account, reason, state, applied_at, decided_at, answer)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (account) DO UPDATE SET reason = excluded.reason, state = excluded.state,
                applied_at = excluded.applied_at, decided_at = excluded.decided_at, answer = excluded.answer";
        let insert = query(sql)
            .bind(uin(application.account)?)
            .bind(&application.reason)
            .bind(application.state.word())
            .bind(application.applied_at.0)
            .bind(application.decided_at.map(|at| at.0))
            .bind(&application.answer);
        self.change(insert).await?;
        Ok(())
    }

    /// An account's newest application.
    pub async fn import_application(&mut self, account: Uin) -> Result<Option<ImportApplication>> {
        let select = query("SELECT * FROM import_applications WHERE account = $1").bind(uin(account)?);
        self.find(select, read_application).await
    }

    /// A page of applications, the longest waiting first, and how many there are in all.
    pub async fn import_applications(
        &mut self,
        asked: &ImportApplicationQuery,
    ) -> Result<(Vec<ImportApplication>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT *");
        asked.push_conditions(&mut select)?;
        select.push(" ORDER BY applied_at, account");
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_application).await?, total))
    }
}
