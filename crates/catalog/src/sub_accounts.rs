//! Sub-accounts: the collaborators of a main account.

use kiln_model::{SubAccount, SubAccountRole, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, uin};
use crate::words::Word;

fn read_sub_account(row: &Row) -> Result<SubAccount> {
    Ok(SubAccount {
        uin: row.uin("uin")?,
        owner: row.uin("owner")?,
        name: row.text("name")?,
        role: row.word("role")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds a sub-account.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::SubAccountName`] or [`crate::Unique::AccountNumber`]; `Missing` where the
    /// main account does not exist.
    pub async fn insert_sub_account(&mut self, sub_account: &SubAccount) -> Result<()> {
        let sql = "INSERT INTO sub_accounts (uin, owner, name, role, created_at) VALUES ($1, $2, $3, $4, $5)";
        let insert = query(sql)
            .bind(uin(sub_account.uin)?)
            .bind(uin(sub_account.owner)?)
            .bind(&sub_account.name)
            .bind(sub_account.role.word())
            .bind(sub_account.created_at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// The sub-account of that number, whoever owns it.
    pub async fn sub_account(&mut self, sub_account: Uin) -> Result<Option<SubAccount>> {
        let select = query("SELECT * FROM sub_accounts WHERE uin = $1").bind(uin(sub_account)?);
        self.find(select, read_sub_account).await
    }

    /// A main account's sub-accounts, oldest first.
    pub async fn sub_accounts(&mut self, owner: Uin) -> Result<Vec<SubAccount>> {
        let sql = "SELECT * FROM sub_accounts WHERE owner = $1 ORDER BY created_at, uin";
        self.list(query(sql).bind(uin(owner)?), read_sub_account).await
    }

    /// Changes what a sub-account may do.
    ///
    /// # Errors
    /// `Stale` where there is no such sub-account.
    pub async fn set_sub_account_role(&mut self, sub_account: Uin, role: SubAccountRole) -> Result<()> {
        let update = query("UPDATE sub_accounts SET role = $1 WHERE uin = $2")
            .bind(role.word())
            .bind(uin(sub_account)?);
        self.change_some(update, "no such sub-account").await
    }

    /// Removes a sub-account and its keys.
    ///
    /// # Errors
    /// `Stale` where there is no such sub-account.
    pub async fn delete_sub_account(&mut self, sub_account: Uin) -> Result<()> {
        let keys = query("DELETE FROM api_keys WHERE sub_account = $1").bind(uin(sub_account)?);
        self.change(keys).await?;
        let delete = query("DELETE FROM sub_accounts WHERE uin = $1").bind(uin(sub_account)?);
        self.change_some(delete, "no such sub-account").await
    }
}
