//! API keys: an account and each of its sub-accounts have several, which can be disabled and deleted.
//!
//! A main account manages its own keys and those of its sub-accounts, a sub-account its own, the operator everybody's.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{ApiKey, Role, SecretId, Timestamp, Uin};

use super::accounts::require_account;
use crate::{Answer, Caller, Refusal, Service, checks};

pub(super) const MAX_KEYS: usize = 5;

pub(super) async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    holder: Option<Uin>,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.write().await?;
    let holder = managed_holder(&mut tx, caller, holder).await?;
    let now = Timestamp::now();
    let key = match tx.sub_account(holder).await? {
        Some(sub_account) => ApiKey::random_of(&sub_account, now),
        None => ApiKey::random(require_account(&mut tx, holder).await?.uin, now),
    };
    if tx.api_keys(holder).await?.len() >= MAX_KEYS {
        return Err(Refusal::quota(
            "LimitExceeded.ApiKeys",
            format!(
                "Account {holder} has {MAX_KEYS} keys, which is the limit. Delete one that is not needed."
            ),
        ));
    }
    tx.insert_api_key(&key).await?;
    tx.commit().await?;
    Ok(Answer::ApiKeyCreated(key))
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    holder: Option<Uin>,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    let holder = managed_holder(&mut tx, caller, holder).await?;
    Ok(Answer::ApiKeys(tx.api_keys(holder).await?))
}

pub(super) async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    secret_id: &SecretId,
    enabled: bool,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.write().await?;
    let key = managed_key(&mut tx, caller, secret_id).await?;
    if !enabled {
        keep_one_enabled(&mut tx, caller, &key).await?;
    }
    tx.set_api_key_enabled(key.uin, secret_id, enabled).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

pub(super) async fn delete(
    service: &Arc<Service>,
    caller: &Caller,
    secret_id: &SecretId,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.write().await?;
    let key = managed_key(&mut tx, caller, secret_id).await?;
    keep_one_enabled(&mut tx, caller, &key).await?;
    tx.delete_api_key(key.uin, secret_id).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// The account or sub-account whose keys are meant: the caller itself where nobody is named.
async fn managed_holder(tx: &mut Tx, caller: &Caller, named: Option<Uin>) -> Result<Uin, Refusal> {
    let Some(uin) = named.filter(|uin| *uin != caller.uin()) else { return Ok(caller.uin()) };
    checks::require_main(caller)?;
    match tx.sub_account(uin).await? {
        Some(sub_account) if sub_account.owner == caller.account.uin => Ok(uin),
        _ => checks::require_operator(caller).map(|()| uin),
    }
}

async fn managed_key(tx: &mut Tx, caller: &Caller, secret_id: &SecretId) -> Result<ApiKey, Refusal> {
    let found = tx.api_key(secret_id).await?.map(|holder| holder.key);
    let manages = |key: &ApiKey| match &caller.sub_account {
        Some(sub_account) => key.sub_account == Some(sub_account.uin),
        None => key.uin == caller.account.uin || caller.account.role == Role::Operator,
    };
    found.filter(manages).ok_or_else(|| {
        Refusal::not_found(
            "InvalidSecretId.NotFound",
            format!("There is no API key {secret_id} that you manage."),
        )
    })
}

/// The last working key stays of whoever signs with it, who could ask for nothing any more; and the operator's, whoever
/// asks: nobody could ever sign as the operator again.
async fn keep_one_enabled(tx: &mut Tx, caller: &Caller, key: &ApiKey) -> Result<(), Refusal> {
    let holder = key.holder();
    if tx.api_keys(holder).await?.iter().any(|other| other.enabled && other.secret_id != key.secret_id) {
        return Ok(());
    }
    if tx.operator().await?.is_some_and(|operator| operator.uin == holder) {
        return Err(Refusal::conflict(
            "FailedOperation.LastOperatorKey",
            "This is the operator's last working key. Create another one first.",
        ));
    }
    if key.secret_id == caller.secret_id {
        return Err(Refusal::conflict(
            "FailedOperation.LastKey",
            format!(
                "This is the last working key of {holder}, and it signs this request. Create another one first."
            ),
        ));
    }
    Ok(())
}
