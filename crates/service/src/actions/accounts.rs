//! Main accounts: the operator creates them; each keeps where its owner is reached.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{Account, ApiKey, AppId, Role, Timestamp, Uin};

use crate::{AccountSummary, Answer, Caller, CreateAccount, ModifyAccountContact, Refusal, Service, checks};

pub(super) const MAX_NAME_CHARS: usize = 60;

pub(super) async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    request: CreateAccount,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    checks::require_main(caller)?;
    check_name("Nickname", &request.nickname)?;
    let now = Timestamp::now();
    let mut tx = service.catalog.write().await?;
    let account = Account {
        uin: unused_uin(&mut tx).await?,
        app_id: AppId::random(),
        nickname: request.nickname,
        role: Role::Main,
        may_import: request.may_import,
        contact: request.contact,
        created_at: now,
    };
    let key = ApiKey::random(account.uin, now);
    tx.insert_account(&account).await?;
    tx.insert_api_key(&key).await?;
    tx.commit().await?;
    Ok(Answer::AccountCreated { account, key })
}

pub(super) async fn describe_all(service: &Arc<Service>, caller: &Caller) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let mut tx = service.catalog.read().await?;
    let mut summaries = Vec::new();
    for account in tx.accounts().await? {
        summaries.push(summary(service, &mut tx, account).await?);
    }
    Ok(Answer::Accounts(summaries))
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    account: Option<Uin>,
) -> Result<Answer, Refusal> {
    let uin = checks::account_meant(caller, account)?;
    let mut tx = service.catalog.read().await?;
    let account = require_account(&mut tx, uin).await?;
    Ok(Answer::Account(summary(service, &mut tx, account).await?))
}

pub(super) async fn modify_contact(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyAccountContact,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    let uin = checks::account_meant(caller, request.account)?;
    let ModifyAccountContact { email, phone, notify_email, notify_sms, .. } = request;
    if email.is_none() && phone.is_none() && notify_email.is_none() && notify_sms.is_none() {
        return Err(Refusal::invalid(
            "MissingParameter",
            "None of Email, Phone, NotifyByEmail and NotifyBySms is given. Give what is to change; empty text removes an \
             address.",
        ));
    }
    let mut tx = service.catalog.write().await?;
    let mut contact = require_account(&mut tx, uin).await?.contact;
    contact.email = email.unwrap_or(contact.email);
    contact.phone = phone.unwrap_or(contact.phone);
    contact.notify_email = notify_email.unwrap_or(contact.notify_email);
    contact.notify_sms = notify_sms.unwrap_or(contact.notify_sms);
    tx.set_contact(uin, &contact).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

async fn summary(service: &Service, tx: &mut Tx, account: Account) -> Result<AccountSummary, Refusal> {
    let own = tx.limits_override(account.uin).await?;
    Ok(AccountSummary { account, limits: own.unwrap_or(service.config.limits), own_limits: own.is_some() })
}

/// The form of what an account or a sub-account is called.
pub(super) fn check_name(parameter: &str, name: &str) -> Result<(), Refusal> {
    let chars = name.chars().count();
    if !name.trim().is_empty() && chars <= MAX_NAME_CHARS && !name.chars().any(checks::is_invisible) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue",
        format!("{parameter} must be 1 to {MAX_NAME_CHARS} printable characters."),
    ))
}

/// A number that neither an account nor a sub-account has.
pub(super) async fn unused_uin(tx: &mut Tx) -> Result<Uin, Refusal> {
    loop {
        let uin = Uin::random();
        if tx.account(uin).await?.is_none() && tx.sub_account(uin).await?.is_none() {
            return Ok(uin);
        }
    }
}

/// The account of that number, which must be there.
pub(super) async fn require_account(tx: &mut Tx, uin: Uin) -> Result<Account, Refusal> {
    tx.account(uin)
        .await?
        .ok_or_else(|| Refusal::not_found("InvalidAccountId.NotFound", format!("There is no account {uin}.")))
}
