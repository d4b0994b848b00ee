//! The keys that sign an account's requests, and the key pairs that open its instances.

use kiln_model::{Account, ApiKey, KeyPair, KeyPairId, Limits, SecretId, SubAccount, Uin};
use sqlx::query;

use crate::Result;
use crate::accounts::read_account;
use crate::catalog::Tx;
use crate::column::{Row, uin};

/// A key, and what is to be known of whoever signs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The key; it may be a disabled one.
    pub key: ApiKey,
    /// The main account that it signs for.
    pub account: Account,
    /// The sub-account whose key it is.
    pub sub_account: Option<SubAccount>,
    /// The account's limits, where it has its own.
    pub limits: Option<Limits>,
}

fn read_key_holder(row: &Row) -> Result<KeyHolder> {
    let key = read_api_key(row)?;
    let sub_account = match key.sub_account {
        None => None,
        Some(number) => Some(SubAccount {
            uin: number,
            owner: key.uin,
            name: row.text("sub_name")?,
            role: row.word("sub_role")?,
            created_at: row.time("sub_created_at")?,
        }),
    };
    Ok(KeyHolder { key, account: read_account(row)?, sub_account, limits: row.optional_json("limits")? })
}

fn read_api_key(row: &Row) -> Result<ApiKey> {
    Ok(ApiKey {
        secret_id: SecretId::from_trusted(row.text("secret_id")?),
        secret_key: row.text("secret_key")?,
        uin: row.uin("uin")?,
        sub_account: row.optional_number("sub_account")?.map(Uin),
        enabled: row.flag("enabled")?,
        created_at: row.time("key_created_at")?,
    })
}

fn read_key_pair(row: &Row) -> Result<KeyPair> {
    Ok(KeyPair {
        id: KeyPairId::from_trusted(row.text("id")?),
        owner: row.uin("owner")?,
        name: row.text("name")?,
        public_key: row.text("public_key")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds a key.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::ApiKey`]; `Missing` where the account does not exist.
    pub async fn insert_api_key(&mut self, key: &ApiKey) -> Result<()> {
        let sql = "INSERT INTO api_keys (secret_id, secret_key, uin, enabled, created_at, sub_account)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let insert = query(sql)
            .bind(key.secret_id.as_str())
            .bind(&key.secret_key)
            .bind(uin(key.uin)?)
            .bind(i64::from(key.enabled))
            .bind(key.created_at.0)
            .bind(key.sub_account.map(uin).transpose()?);
        self.change(insert).await?;
        Ok(())
    }

    /// The key that a request names, and whose it is. A disabled key is given too.
    pub async fn api_key(&mut self, secret_id: &SecretId) -> Result<Option<KeyHolder>> {
        let sql =
            "SELECT k.secret_id, k.secret_key, k.sub_account, k.enabled, k.created_at AS key_created_at, a.*,
                s.name AS sub_name, s.role AS sub_role, s.created_at AS sub_created_at
            FROM api_keys k JOIN accounts a ON a.uin = k.uin
            LEFT JOIN sub_accounts s ON s.uin = k.sub_account WHERE k.secret_id = $1";
        self.find(query(sql).bind(secret_id.as_str()), read_key_holder).await
    }

    /// The keys of an account, or of a sub-account, oldest first. A main account's are only its own.
    pub async fn api_keys(&mut self, holder: Uin) -> Result<Vec<ApiKey>> {
        let sql = "SELECT secret_id, secret_key, uin, sub_account, enabled, created_at AS key_created_at
            FROM api_keys WHERE (uin = $1 AND sub_account IS NULL) OR sub_account = $1
            ORDER BY created_at, secret_id";
        self.list(query(sql).bind(uin(holder)?), read_api_key).await
    }

    /// Enables or disables a key; whether the account has it.
    pub async fn set_api_key_enabled(
        &mut self,
        account: Uin,
        secret_id: &SecretId,
        enabled: bool,
    ) -> Result<bool> {
        let update = query("UPDATE api_keys SET enabled = $1 WHERE uin = $2 AND secret_id = $3")
            .bind(i64::from(enabled))
            .bind(uin(account)?)
            .bind(secret_id.as_str());
        Ok(self.change(update).await? > 0)
    }

    /// Removes a key; whether the account had it.
    pub async fn delete_api_key(&mut self, account: Uin, secret_id: &SecretId) -> Result<bool> {
        let delete = query("DELETE FROM api_keys WHERE uin = $1 AND secret_id = $2")
            .bind(uin(account)?)
            .bind(secret_id.as_str());
        Ok(self.change(delete).await? > 0)
    }

    /// Adds a key pair.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::KeyPairName`]; `Missing` where the account does not exist.
    pub async fn insert_key_pair(&mut self, pair: &KeyPair) -> Result<()> {
        let sql = "INSERT INTO key_pairs (id, owner, name, public_key, created_at, description)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let insert = query(sql)
            .bind(pair.id.as_str())
            .bind(uin(pair.owner)?)
            .bind(&pair.name)
            .bind(&pair.public_key)
            .bind(pair.created_at.0)
            .bind(&pair.description);
        self.change(insert).await?;
        Ok(())
    }

    /// The key pair of that identifier, whoever owns it.
    pub async fn key_pair(&mut self, id: &KeyPairId) -> Result<Option<KeyPair>> {
        let select = query("SELECT * FROM key_pairs WHERE id = $1").bind(id.as_str());
        self.find(select, read_key_pair).await
    }

    /// An account's key pairs, newest first.
    pub async fn key_pairs(&mut self, owner: Uin) -> Result<Vec<KeyPair>> {
        let sql = "SELECT * FROM key_pairs WHERE owner = $1 ORDER BY created_at DESC, id";
        self.list(query(sql).bind(uin(owner)?), read_key_pair).await
    }

    /// Records a key pair's name and description.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::KeyPairName`]; `Stale` where there is no such key pair.
    pub async fn set_key_pair_attributes(&mut self, pair: &KeyPair) -> Result<()> {
        let update = query("UPDATE key_pairs SET name = $1, description = $2 WHERE id = $3")
            .bind(&pair.name)
            .bind(&pair.description)
            .bind(pair.id.as_str());
        self.change_some(update, "no such key pair").await
    }

    /// Removes a key pair; whether the account had it.
    pub async fn delete_key_pair(&mut self, owner: Uin, id: &KeyPairId) -> Result<bool> {
        let delete =
            query("DELETE FROM key_pairs WHERE owner = $1 AND id = $2").bind(uin(owner)?).bind(id.as_str());
        let deleted = self.change(delete).await? > 0;
        if deleted {
            self.delete_tags(id.as_str()).await?;
        }
        Ok(deleted)
    }
}
