//! Limits: what an account may have and do beside what it has and did, and the operator's changes to it.

use std::sync::Arc;

use kiln_model::{Limits, TaskKind, Timestamp, Uin, Zone};

use super::accounts::require_account;
use super::keys::MAX_KEYS;
use super::sub_accounts::MAX_SUB_ACCOUNTS;
use crate::{AccountQuota, Answer, Caller, Filter, LimitKind, LimitUse, Refusal, Service, checks};

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    account: Option<Uin>,
) -> Result<Answer, Refusal> {
    let uin = checks::account_meant(caller, account)?;
    let (now, region) = (Timestamp::now(), &caller.region);
    let mut tx = service.catalog.read().await?;
    require_account(&mut tx, uin).await?;
    let limits = tx.limits_override(uin).await?.unwrap_or(service.config.limits);
    let used = |kind, allowed: u32, used: u32| LimitUse {
        kind,
        allowed: Some(allowed.into()),
        used: Some(used.into()),
        renews_at: None,
    };
    let of = |kind, allowed: u64| LimitUse { kind, allowed: Some(allowed), used: None, renews_at: None };
    let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
    Ok(Answer::Limits(vec![
        used(LimitKind::ImagesPerRegion, limits.images_per_region, tx.count_images(uin, region).await?),
        LimitUse {
            kind: LimitKind::ImageOperationsPerDay,
            allowed: limits.image_operations_per_day.map(u64::from),
            used: Some(tx.image_operations(uin, region, now.day()).await?.into()),
            renews_at: Some(now.next_day()),
        },
        used(LimitKind::SharesPerImage, limits.shares_per_image, tx.most_shares(uin, region).await?),
        used(
            LimitKind::InstancesPerRegion,
            limits.instances_per_region,
            tx.count_instances(uin, region).await?,
        ),
        used(
            LimitKind::SnapshotsPerRegion,
            limits.snapshots_per_region,
            tx.count_snapshots(uin, region).await?,
        ),
        used(LimitKind::DisksPerRegion, limits.disks_per_region, tx.count_disks(uin, region).await?),
        of(LimitKind::SystemDiskGib, limits.system_disk_bytes >> 30),
        of(LimitKind::ImageNameChars, limits.image_name_chars.into()),
        of(LimitKind::ImageDescriptionChars, limits.image_description_chars.into()),
        of(LimitKind::RequestsPerSecond, limits.requests_per_second.into()),
        used(
            LimitKind::ExportTasks,
            limits.export_tasks,
            tx.count_unfinished_tasks(uin, TaskKind::EXPORT_IMAGES).await?,
        ),
        used(LimitKind::SubAccounts, count(MAX_SUB_ACCOUNTS), count(tx.sub_accounts(uin).await?.len())),
        used(LimitKind::ApiKeys, count(MAX_KEYS), count(tx.api_keys(uin).await?.len())),
    ]))
}

/// DescribeAccountQuota: the part of the limits that the public API has words for.
pub(super) async fn quota(
    service: &Arc<Service>,
    caller: &Caller,
    filters: &[Filter],
) -> Result<Answer, Refusal> {
    if let Some(other) = filters.iter().find(|filter| filter.name != "zone") {
        return Err(Refusal::invalid(
            "InvalidFilter",
            format!("There is no filter {:?} here. Use zone.", other.name),
        ));
    }
    let zones = service.region(&caller.region).into_iter().flat_map(|region| &region.zones);
    let asked = |zone: &&Zone| filters.iter().all(|f| f.values.iter().any(|value| value == zone.id.as_str()));
    let zones = zones.filter(asked).map(|zone| zone.id.clone()).collect();
    let limits = service.limits_of(caller.account.uin).await?;
    let mut tx = service.catalog.read().await?;
    Ok(Answer::AccountQuota(AccountQuota {
        zones,
        images_used: tx.count_images(caller.account.uin, &caller.region).await?,
        images_allowed: limits.images_per_region,
        instances_used: tx.count_instances(caller.account.uin, &caller.region).await?,
        instances_allowed: limits.instances_per_region,
    }))
}

pub(super) async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    account: Uin,
    limits: Option<Limits>,
) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    checks::require_main(caller)?;
    if limits.is_some_and(|limits| limits.requests_per_second == 0) {
        return Err(Refusal::invalid(
            "InvalidParameterValue",
            "RequestsPerSecond is 0, which would lock the account out for ever. Disable its keys instead.",
        ));
    }
    let mut tx = service.catalog.write().await?;
    require_account(&mut tx, account).await?;
    tx.set_limits_override(account, limits.as_ref()).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}
