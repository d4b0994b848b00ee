//! What was answered to a request that carried a client token, so that its repetition is answered alike.

use kiln_model::{Timestamp, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{json, uin};

/// The first use of a client token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTokenUse {
    /// Tells whether a repetition asks for the same.
    pub request_digest: String,
    /// What was answered.
    pub answer: serde_json::Value,
    /// When.
    pub at: Timestamp,
}

impl Tx {
    /// The use that an account made of a token for an action.
    pub async fn client_token(
        &mut self,
        owner: Uin,
        action: &str,
        token: &str,
    ) -> Result<Option<ClientTokenUse>> {
        let sql = "SELECT * FROM client_tokens WHERE owner = $1 AND action = $2 AND token = $3";
        let select = query(sql).bind(uin(owner)?).bind(action).bind(token);
        let read = |row: &crate::column::Row| {
            Ok(ClientTokenUse {
                request_digest: row.text("request_digest")?,
                answer: row.json("answer")?,
                at: row.time("at")?,
            })
        };
        self.find(select, read).await
    }

    /// Records the use of a token, in the transaction that accepts the request.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::ClientToken`]; `Missing` where the account does not exist.
    pub async fn insert_client_token(
        &mut self,
        owner: Uin,
        action: &str,
        token: &str,
        first_use: &ClientTokenUse,
    ) -> Result<()> {
        let sql = "INSERT INTO client_tokens (owner, action, token, request_digest, answer, at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let insert = query(sql)
            .bind(uin(owner)?)
            .bind(action)
            .bind(token)
            .bind(&first_use.request_digest)
            .bind(json(&first_use.answer))
            .bind(first_use.at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// Forgets the uses of tokens before a time; how many.
    pub async fn forget_client_tokens(&mut self, before: Timestamp) -> Result<u64> {
        self.change(query("DELETE FROM client_tokens WHERE at < $1").bind(before.0)).await
    }
}
