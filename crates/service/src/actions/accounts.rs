//! Accounts: the operator creates them and says what they may do.

use std::sync::Arc;

use kiln_model::{Account, ApiKey, AppId, Limits, Role, Timestamp, Uin};

use crate::{AccountSummary, Answer, Caller, Refusal, Service, checks};

const MAX_NICKNAME_CHARS: usize = 60;

pub(super) async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    nickname: String,
    may_import: bool,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let chars = nickname.chars().count();
    if nickname.trim().is_empty() || chars > MAX_NICKNAME_CHARS || nickname.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            "InvalidParameterValue.Nickname",
            format!("Nickname must be 1 to {MAX_NICKNAME_CHARS} printable characters."),
        ));
    }
    let now = Timestamp::now();
    let account = Account {
        uin: Uin::random(),
        app_id: AppId::random(),
        nickname,
        role: Role::Main,
        may_import,
        created_at: now,
    };
    let key = ApiKey::random(account.uin, now);
    let mut tx = service.catalog.write().await?;
    tx.insert_account(&account).await?;
    tx.insert_api_key(&key).await?;
    tx.commit().await?;
    Ok(Answer::AccountCreated { account, key })
}

pub(super) async fn describe(service: &Arc<Service>, caller: &Caller) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let mut tx = service.catalog.read().await?;
    let mut summaries = Vec::new();
    for account in tx.accounts().await? {
        let limits = tx.limits_override(account.uin).await?.unwrap_or(service.config.limits);
        summaries.push(AccountSummary { account, limits });
    }
    Ok(Answer::Accounts(summaries))
}

pub(super) async fn modify_import_permission(
    service: &Arc<Service>,
    caller: &Caller,
    account: Uin,
    allowed: bool,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let mut tx = service.catalog.write().await?;
    require_account(tx.account(account).await?, account)?;
    tx.set_may_import(account, allowed).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

pub(super) async fn modify_limits(
    service: &Arc<Service>,
    caller: &Caller,
    account: Uin,
    limits: Option<Limits>,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let mut tx = service.catalog.write().await?;
    require_account(tx.account(account).await?, account)?;
    tx.set_limits_override(account, limits.as_ref()).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// That an account which was looked up is there.
pub(super) fn require_account(found: Option<Account>, uin: Uin) -> Result<Account, Refusal> {
    found
        .ok_or_else(|| Refusal::not_found("InvalidAccountId.NotFound", format!("There is no account {uin}.")))
}
