//! Limits and what is used of them.

use kiln_service::{AccountQuota, Answer, LimitKind, LimitUse};
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// Every limit of an account in a region.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Limits(limits) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let limits: Vec<Value> = limits.iter().map(limit).collect();
    members(json!({"TotalCount": limits.len(), "LimitSet": limits}))
}

/// The names are those that ModifyAccountLimits takes, where it takes them.
fn limit(limit: &LimitUse) -> Value {
    json!({
        "Name": match limit.kind {
            LimitKind::ImagesPerRegion => "ImagesPerRegion",
            LimitKind::ImageOperationsPerDay => "ImageOperationsPerDay",
            LimitKind::SharesPerImage => "SharesPerImage",
            LimitKind::InstancesPerRegion => "InstancesPerRegion",
            LimitKind::SnapshotsPerRegion => "SnapshotsPerRegion",
            LimitKind::DisksPerRegion => "DisksPerRegion",
            LimitKind::SystemDiskGib => "SystemDiskSize",
            LimitKind::ImageNameChars => "ImageNameLength",
            LimitKind::ImageDescriptionChars => "ImageDescriptionLength",
            LimitKind::RequestsPerSecond => "RequestsPerSecond",
            LimitKind::ExportTasks => "ExportTasks",
            LimitKind::SubAccounts => "SubAccounts",
            LimitKind::ApiKeys => "ApiKeys",
        },
        // Null: any amount.
        "Limit": limit.allowed,
        // Null: not a matter of counting.
        "Used": limit.used,
        "RenewsTime": limit.renews_at.map(|at| at.to_string()),
    })
}

/// DescribeAccountQuota in its public shape. There are neither prepaid nor spot instances, nor placement groups.
pub(crate) fn quota(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::AccountQuota(quota) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let AccountQuota { zones, images_used, images_allowed, instances_used, instances_allowed } = quota;
    let instances: Vec<Value> = zones
        .iter()
        .map(|zone| {
            json!({
                "UsedQuota": instances_used,
                "RemainingQuota": instances_allowed.saturating_sub(instances_used),
                "TotalQuota": instances_allowed,
                "Zone": zone,
            })
        })
        .collect();
    members(json!({
        "AppId": rendering.caller.account.app_id,
        "AccountQuotaOverview": {
            "Region": rendering.caller.region,
            "AccountQuota": {
                "PostPaidQuotaSet": instances,
                "PrePaidQuotaSet": [],
                "SpotPaidQuotaSet": [],
                "ImageQuotaSet": [{"UsedQuota": images_used, "TotalQuota": images_allowed}],
                "DisasterRecoverGroupQuotaSet": [],
            },
        },
    }))
}
