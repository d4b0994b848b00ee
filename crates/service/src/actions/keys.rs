//! API keys: an account has several, each of which can be disabled and deleted. The operator manages everybody's.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{ApiKey, Role, SecretId, Timestamp, Uin};

use super::accounts::require_account;
use crate::{Answer, Caller, Refusal, Service, checks};

const MAX_KEYS: usize = 5;

/// The account whose keys are meant: the caller's own, or, for the operator, any.
fn subject(caller: &Caller, account: Option<Uin>) -> Result<Uin, Refusal> {
    match account {
        Some(uin) if uin != caller.account.uin => checks::require_operator(caller).map(|()| uin),
        _ => Ok(caller.account.uin),
    }
}

pub(super) async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    account: Option<Uin>,
) -> Result<Answer, Refusal> {
    let owner = subject(caller, account)?;
    let mut tx = service.catalog.write().await?;
    require_account(tx.account(owner).await?, owner)?;
    if tx.api_keys(owner).await?.len() >= MAX_KEYS {
        return Err(Refusal::quota(
            "LimitExceeded.ApiKeys",
            format!(
                "Account {owner} has {MAX_KEYS} keys, which is the limit. Delete one that is not needed."
            ),
        ));
    }
    let key = ApiKey::random(owner, Timestamp::now());
    tx.insert_api_key(&key).await?;
    tx.commit().await?;
    Ok(Answer::ApiKeyCreated(key))
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    account: Option<Uin>,
) -> Result<Answer, Refusal> {
    let owner = subject(caller, account)?;
    Ok(Answer::ApiKeys(service.catalog.read().await?.api_keys(owner).await?))
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
        keep_one_enabled(&mut tx, &key).await?;
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
    keep_one_enabled(&mut tx, &key).await?;
    tx.delete_api_key(key.uin, secret_id).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

async fn managed_key(tx: &mut Tx, caller: &Caller, secret_id: &SecretId) -> Result<ApiKey, Refusal> {
    let found = tx.api_key(secret_id).await?.map(|(key, _)| key);
    found.filter(|key| key.uin == caller.account.uin || caller.account.role == Role::Operator).ok_or_else(
        || {
            Refusal::not_found(
                "InvalidSecretId.NotFound",
                format!("There is no API key {secret_id} that you manage."),
            )
        },
    )
}

/// The last working key of the operator stays, or nobody could ever sign as the operator again.
async fn keep_one_enabled(tx: &mut Tx, key: &ApiKey) -> Result<(), Refusal> {
    let operator = tx.operator().await?.is_some_and(|operator| operator.uin == key.uin);
    let others = tx.api_keys(key.uin).await?.iter().any(|k| k.enabled && k.secret_id != key.secret_id);
    if !operator || others {
        return Ok(());
    }
    Err(Refusal::conflict(
        "FailedOperation.LastOperatorKey",
        "This is the operator's last working key. Create another one first.",
    ))
}
