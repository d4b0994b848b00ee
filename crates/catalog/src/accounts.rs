//! Accounts, and the limits that one has instead of the configured ones.

use kiln_model::{Account, Contact, Email, Limits, Phone, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, integer, json, uin};
use crate::words::Word;

pub(crate) fn read_account(row: &Row) -> Result<Account> {
    Ok(Account {
        uin: row.uin("uin")?,
        app_id: row.app_id("app_id")?,
        nickname: row.text("nickname")?,
        role: row.word("role")?,
        may_import: row.flag("may_import")?,
        contact: read_contact(row)?,
        created_at: row.time("created_at")?,
    })
}

pub(crate) fn read_contact(row: &Row) -> Result<Contact> {
    Ok(Contact {
        email: row.optional_parsed("email")?,
        phone: row.optional_parsed("phone")?,
        notify_email: row.flag("notify_email")?,
        notify_sms: row.flag("notify_sms")?,
    })
}

impl Tx {
    /// Adds an account.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::AccountNumber`], or [`crate::Unique::Operator`] for a second operator.
    pub async fn insert_account(&mut self, account: &Account) -> Result<()> {
        let sql = "INSERT INTO accounts (uin, app_id, nickname, role, may_import, created_at, email, phone)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let insert = query(sql)
            .bind(uin(account.uin)?)
            .bind(integer(account.app_id.0, "app_id")?)
            .bind(&account.nickname)
            .bind(account.role.word())
            .bind(i64::from(account.may_import))
            .bind(account.created_at.0)
            .bind(account.contact.email.as_ref().map(Email::as_str))
            .bind(account.contact.phone.as_ref().map(Phone::as_str));
        self.change(insert).await?;
        Ok(())
    }

    /// The account of that number.
    pub async fn account(&mut self, account: Uin) -> Result<Option<Account>> {
        let select = query("SELECT * FROM accounts WHERE uin = $1").bind(uin(account)?);
        self.find(select, read_account).await
    }

    /// Every account, oldest first.
    pub async fn accounts(&mut self) -> Result<Vec<Account>> {
        self.list(query("SELECT * FROM accounts ORDER BY created_at, uin"), read_account).await
    }

    /// The operator's account, once there is one.
    pub async fn operator(&mut self) -> Result<Option<Account>> {
        self.find(query("SELECT * FROM accounts WHERE role = 'operator'"), read_account).await
    }

    /// Grants or withdraws the permission to import.
    ///
    /// # Errors
    /// `Stale` where there is no such account.
    pub async fn set_may_import(&mut self, account: Uin, may_import: bool) -> Result<()> {
        let update = query("UPDATE accounts SET may_import = $1 WHERE uin = $2")
            .bind(i64::from(may_import))
            .bind(uin(account)?);
        self.change_some(update, "no such account").await
    }

    /// Replaces where an account's owner is reached.
    ///
    /// # Errors
    /// `Stale` where there is no such account.
    pub async fn set_contact(&mut self, account: Uin, contact: &Contact) -> Result<()> {
        let sql =
            "UPDATE accounts SET email = $1, phone = $2, notify_email = $3, notify_sms = $4 WHERE uin = $5";
        let update = query(sql)
            .bind(contact.email.as_ref().map(Email::as_str))
            .bind(contact.phone.as_ref().map(Phone::as_str))
            .bind(i64::from(contact.notify_email))
            .bind(i64::from(contact.notify_sms))
            .bind(uin(account)?);
        self.change_some(update, "no such account").await
    }

    /// The limits of an account that has its own.
    pub async fn limits_override(&mut self, account: Uin) -> Result<Option<Limits>> {
        let sql = "SELECT limits FROM accounts WHERE uin = $1 AND limits IS NOT NULL";
        self.find(query(sql).bind(uin(account)?), |row| row.json("limits")).await
    }

    /// Gives an account limits of its own, or, with `None`, the configured ones again.
    ///
    /// # Errors
    /// `Stale` where there is no such account.
    pub async fn set_limits_override(&mut self, account: Uin, limits: Option<&Limits>) -> Result<()> {
        let update = query("UPDATE accounts SET limits = $1 WHERE uin = $2")
            .bind(limits.map(json))
            .bind(uin(account)?);
        self.change_some(update, "no such account").await
    }
}
