//! Disks, as the CBS service shows them, and as the CVM service shows them with their instance.

use kiln_model::{Disk, DiskState, DiskUsage};
use kiln_service::{Answer, SeenDisk};
use serde_json::{Value, json};

use super::{gib, members, tag};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// The kind that all disks are shown as: the default of clients that compare what they asked for with what is there.
pub(crate) const DISK_TYPE: &str = "CLOUD_PREMIUM";

/// The disks that were made.
pub(crate) fn created(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::DisksCreated(disks) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"DiskIdSet": disks}))
}

/// A list of disks.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Disks { disks, total } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let disks: Vec<Value> = disks.iter().map(disk).collect();
    members(json!({"TotalCount": total, "DiskSet": disks}))
}

/// The public `Disk`: what Kiln knows, and for what it has not, the value that says so.
fn disk(seen: &SeenDisk) -> Value {
    let mut shape = fixed_members();
    shape.extend(own_members(&seen.disk));
    shape.insert("SnapshotCount".to_owned(), seen.snapshots.count.into());
    shape.insert("SnapshotSize".to_owned(), (seen.snapshots.size_bytes >> 20).into());
    shape.insert("Tags".to_owned(), tag::of_resource(&seen.tags));
    Value::Object(shape)
}

fn own_members(disk: &Disk) -> Object {
    let instance = disk.attachment.as_ref().map_or("", |at| at.instance.as_str());
    let failure = disk.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message));
    let shape = json!({
        "DiskId": disk.id,
        "DiskName": disk.name,
        "DiskUsage": usage_name(disk.usage),
        "DiskSize": gib(disk.size_bytes),
        "DiskState": state_name(disk.state),
        "Attached": matches!(disk.state, DiskState::Attached | DiskState::Detaching),
        "InstanceId": instance,
        "InstanceType": if instance.is_empty() { "" } else { "CVM" },
        "LastAttachInsId": instance,
        "Placement": placement(disk.zone.as_str()),
        "Portable": disk.usage == DiskUsage::Data,
        "DeleteWithInstance": disk.delete_with_instance,
        "CreateTime": disk.created_at.plain(),
        "ErrorPrompt": failure.unwrap_or_default(),
    });
    members(shape).unwrap_or_default()
}

/// What is the same for every disk.
fn fixed_members() -> Object {
    let shape = json!({
        "DiskType": DISK_TYPE,
        "DiskChargeType": "POSTPAID_BY_HOUR",
        "RenewFlag": "",
        "DeadlineTime": "",
        "DeadlineError": false,
        "DifferDaysOfDeadline": 0,
        "AutoRenewFlagError": false,
        "IsReturnable": false,
        "ReturnFailCode": 10,
        "BackupDisk": false,
        "Encrypt": false,
        "Shareable": false,
        "InstanceIdList": [],
        "AttachMode": "",
        "AutoSnapshotPolicyIds": [],
        "SnapshotAbility": true,
        "DeleteSnapshot": 0,
        "DiskBackupQuota": 0,
        "DiskBackupCount": 0,
        "Rollbacking": false,
        "RollbackPercent": 0,
        "Migrating": false,
        "MigratePercent": 0,
        "ThroughputPerformance": 0,
        "BurstPerformance": false,
    });
    members(shape).unwrap_or_default()
}

/// Where a disk or a snapshot is.
pub(crate) fn placement(zone: &str) -> Value {
    json!({
        "Zone": zone, "ProjectId": 0, "ProjectName": "", "CageId": "", "CdcId": "", "CdcName": "",
        "DedicatedClusterId": "",
    })
}

/// The `DataDisk` that is shown with an instance.
pub(crate) fn of_instance(disk: &Disk) -> Value {
    json!({
        "DiskId": disk.id,
        "DiskType": DISK_TYPE,
        "DiskSize": gib(disk.size_bytes),
        "DiskName": disk.name,
        "SnapshotId": disk.snapshot.as_ref().map_or("", |snapshot| snapshot.as_str()),
        "DeleteWithInstance": disk.delete_with_instance,
        "Encrypt": false,
        "KmsKeyId": "",
        "ThroughputPerformance": 0,
        "CdcId": "",
        "BurstPerformance": false,
    })
}

/// The public word for what a disk is for.
pub(crate) fn usage_name(usage: DiskUsage) -> &'static str {
    match usage {
        DiskUsage::System => "SYSTEM_DISK",
        DiskUsage::Data => "DATA_DISK",
    }
}

fn state_name(state: DiskState) -> &'static str {
    match state {
        DiskState::Unattached => "UNATTACHED",
        DiskState::Attaching => "ATTACHING",
        DiskState::Attached => "ATTACHED",
        DiskState::Detaching => "DETACHING",
        DiskState::Terminated => "TORECYCLE",
    }
}
