//! ModifyImageSharePermission and DescribeImageSharePermission: who else sees an image.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{Image, ImageId, ImageShare, LicenseType, Timestamp, Uin};

use crate::notifications::{self, Notice};
use crate::{Answer, Caller, ModifyImageSharePermission, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyImageSharePermission,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    if request.accounts.is_empty() {
        return Err(Refusal::invalid("MissingParameter", "AccountIds is empty. Name at least one account."));
    }
    let limits = service.limits_of(caller.account.uin).await?;
    let mut tx = service.catalog.write().await?;
    let image = checks::own_image(&mut tx, caller, &request.image).await?;
    checks::image_is_normal(&image)?;
    let accounts = accounts(&mut tx, caller, &request.accounts).await?;
    if request.share {
        if image.facts.license == LicenseType::Byol {
            return Err(Refusal::conflict(
                "FailedOperation.BYOLImageShareFailed",
                format!("Image {} runs under a licence of your own (BYOL); it cannot be shared.", image.id),
            ));
        }
        share(&mut tx, &image, &accounts, limits.shares_per_image).await?;
    } else {
        is_not_in_review(&mut tx, &image, &accounts).await?;
        cancel(&mut tx, &image, &accounts).await?;
    }
    for account in accounts {
        notifications::tell(service, &mut tx, account, Notice::share(&image, request.share)).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    image: &ImageId,
) -> Result<Answer, Refusal> {
    let limit = service.limits_of(caller.account.uin).await?.shares_per_image;
    let mut tx = service.catalog.read().await?;
    let image = checks::own_image(&mut tx, caller, image).await?;
    Ok(Answer::Shares { shares: tx.shares_of(&image.id).await?, limit })
}

/// The accounts that are named, each of which must exist and be another's.
async fn accounts(tx: &mut Tx, caller: &Caller, texts: &[String]) -> Result<Vec<Uin>, Refusal> {
    let mut accounts = Vec::with_capacity(texts.len());
    for text in texts {
        let not_found = || {
            Refusal::not_found(
                "InvalidAccountId.NotFound",
                format!("There is no account {text:?}. An account is named by its 12 digits (its Uin)."),
            )
        };
        let uin: Uin = text.parse().map_err(|_| not_found())?;
        if let Some(sub_account) = tx.sub_account(uin).await? {
            return Err(Refusal::invalid(
                "FailedOperation.NotMasterAccount",
                format!(
                    "{uin} is a sub-account; images are shared with main accounts. Its own is {}.",
                    sub_account.owner
                ),
            ));
        }
        tx.account(uin).await?.ok_or_else(not_found)?;
        if uin == caller.account.uin {
            return Err(Refusal::invalid(
                "InvalidAccountIs.YourSelf",
                "AccountIds names your own account; an image is shared with others.",
            ));
        }
        if !accounts.contains(&uin) {
            accounts.push(uin);
        }
    }
    Ok(accounts)
}

async fn share(tx: &mut Tx, image: &Image, accounts: &[Uin], limit: u32) -> Result<(), Refusal> {
    let shared = tx.shares_of(&image.id).await?;
    if let Some(twice) = shared.iter().find(|share| accounts.contains(&share.account)) {
        return Err(Refusal::conflict(
            "FailedOperation.AccountAlreadyExists",
            format!("Image {} is shared with account {} already.", image.id, twice.account),
        ));
    }
    if shared.len() + accounts.len() > limit as usize {
        return Err(Refusal::quota(
            "OverQuota",
            format!(
                "An image can be shared with {limit} accounts; {} is shared with {} already, and {} more were named. \
                 Cancel shares that are not needed.",
                image.id,
                shared.len(),
                accounts.len()
            ),
        ));
    }
    let shared_at = Timestamp::now();
    for account in accounts {
        tx.insert_share(&ImageShare { image: image.id.clone(), account: *account, shared_at }).await?;
    }
    Ok(())
}

/// That the operator, who reviews an image that waits for it, is not among those who lose it.
async fn is_not_in_review(tx: &mut Tx, image: &Image, accounts: &[Uin]) -> Result<(), Refusal> {
    let operator = tx.operator().await?.map(|operator| operator.uin);
    if !operator.is_some_and(|operator| accounts.contains(&operator)) {
        return Ok(());
    }
    checks::image_is_not_in_review(tx, &image.id).await
}

async fn cancel(tx: &mut Tx, image: &Image, accounts: &[Uin]) -> Result<(), Refusal> {
    for account in accounts {
        if !tx.delete_share(&image.id, *account).await? {
            return Err(Refusal::not_found(
                "InvalidAccountId.NotFound",
                format!("Image {} is not shared with account {account}; nothing was cancelled.", image.id),
            ));
        }
    }
    Ok(())
}
