//! Sub-accounts: a main account's collaborators, each with keys of its own and a role. Only the main account, and the
//! operator's looking, gets here: a collaborator does not choose collaborators.

use std::sync::Arc;

use kiln_catalog::{Error, Tx, Unique};
use kiln_model::{ApiKey, SubAccount, SubAccountRole, Timestamp, Uin};

use super::accounts::{check_name, unused_uin};
use crate::{Answer, Caller, CreatedSubAccount, Refusal, Service, checks};

pub(super) const MAX_SUB_ACCOUNTS: usize = 100;

pub(super) async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    role: SubAccountRole,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    check_name("Name", &name)?;
    let now = Timestamp::now();
    let mut tx = service.catalog.write().await?;
    if tx.sub_accounts(caller.account.uin).await?.len() >= MAX_SUB_ACCOUNTS {
        return Err(Refusal::quota(
            "LimitExceeded.SubAccounts",
            format!(
                "Account {} has {MAX_SUB_ACCOUNTS} sub-accounts, which is the limit. Delete one that is not needed.",
                caller.account.uin
            ),
        ));
    }
    let owner = caller.account.uin;
    let sub_account = SubAccount { uin: unused_uin(&mut tx).await?, owner, name, role, created_at: now };
    let key = ApiKey::random_of(&sub_account, now);
    match tx.insert_sub_account(&sub_account).await {
        Ok(()) => {}
        Err(Error::Conflict(Unique::SubAccountName)) => {
            return Err(Refusal::conflict(
                "FailedOperation.SubAccountAlreadyExists",
                format!("You already have a sub-account named {:?}. Choose another name.", sub_account.name),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    tx.insert_api_key(&key).await?;
    tx.commit().await?;
    Ok(Answer::SubAccountCreated(CreatedSubAccount { sub_account, key }))
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    account: Option<Uin>,
) -> Result<Answer, Refusal> {
    let owner = checks::account_meant(caller, account)?;
    Ok(Answer::SubAccounts(service.catalog.read().await?.sub_accounts(owner).await?))
}

pub(super) async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    sub_account: Uin,
    role: SubAccountRole,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    let mut tx = service.catalog.write().await?;
    own_sub_account(&mut tx, caller, sub_account).await?;
    tx.set_sub_account_role(sub_account, role).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// Its keys go with it; what it made stays, since that is the main account's.
pub(super) async fn delete(
    service: &Arc<Service>,
    caller: &Caller,
    sub_account: Uin,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    let mut tx = service.catalog.write().await?;
    own_sub_account(&mut tx, caller, sub_account).await?;
    tx.delete_sub_account(sub_account).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

async fn own_sub_account(tx: &mut Tx, caller: &Caller, uin: Uin) -> Result<SubAccount, Refusal> {
    let found = tx.sub_account(uin).await?.filter(|sub_account| sub_account.owner == caller.account.uin);
    found.ok_or_else(|| {
        Refusal::not_found("InvalidAccountId.NotFound", format!("You have no sub-account {uin}."))
    })
}
