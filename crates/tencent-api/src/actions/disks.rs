//! What the actions of the CBS service on disks take and mean.

use kiln_model::{Tag, ZoneId};
use kiln_service::{AttachDisks, Command, CreateDisks, DescribeDisks, DiskCommand};

use super::images::{FILTER, filters};
use super::launch::{NO_ENCRYPTION, NO_HOSTS};
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, harmless, only, optional, refused, required};

/// The error code for a disk's or snapshot's id of the wrong form: that there can be none.
pub(super) const DISK_ID: &str = "InvalidDiskId.NotFound";
pub(super) const SNAPSHOT_ID: &str = "InvalidSnapshotId.NotFound";
const NO_BACKUPS: &str = "disks have no backup points; make snapshots";
const NO_PERFORMANCE: &str = "all disks are as fast as the host; leave it out";

const PLACEMENT: &[Parameter] = &[
    required("Zone", Kind::Text),
    refused("CageId", NO_HOSTS),
    refused("CdcId", NO_HOSTS),
    harmless("CdcName", Kind::Text),
    refused("DedicatedClusterId", NO_HOSTS),
    harmless("ProjectId", Kind::Integer),
    harmless("ProjectName", Kind::Text),
];

/// The tags of a new disk or snapshot.
pub(super) const TAG: &[Parameter] = &[required("Key", Kind::Text), required("Value", Kind::Text)];

/// The tags that a request of the CBS service gives.
pub(super) fn tags(arguments: &Arguments) -> Result<Vec<Tag>, Error> {
    let tag = |given: &Arguments| {
        Ok(Tag { key: given.required_text("Key")?, value: given.required_text("Value")? })
    };
    arguments.objects("Tags").iter().map(tag).collect()
}

pub(super) const CREATE: &[Parameter] = &[
    required("Placement", Kind::Object(PLACEMENT)),
    required("DiskChargeType", Kind::Text),
    // One kind of disk stands for all.
    required("DiskType", Kind::Text),
    optional("DiskName", Kind::Text),
    optional("Tags", Kind::Objects(TAG)),
    optional("SnapshotId", Kind::Text),
    optional("DiskCount", Kind::Integer),
    only("ThroughputPerformance", Kind::Integer, &["0"], NO_PERFORMANCE),
    refused("KmsKeyId", NO_ENCRYPTION),
    optional("DiskSize", Kind::Integer),
    only("Shareable", Kind::Flag, &["false"], "a disk belongs to one instance at a time"),
    optional("ClientToken", Kind::Text),
    refused("Encrypt", NO_ENCRYPTION),
    refused("DiskChargePrepaid", "nothing is charged in advance; leave it out"),
    only("DeleteSnapshot", Kind::Integer, &["0"], "snapshots outlive their disks; delete them yourself"),
    refused("AutoMountConfiguration", "nothing works inside guests; mount the disk yourself"),
    only("DiskBackupQuota", Kind::Integer, &["0"], NO_BACKUPS),
    only("BurstPerformance", Kind::Flag, &["false"], NO_PERFORMANCE),
    refused("EncryptType", NO_ENCRYPTION),
];

pub(super) fn create(arguments: &Arguments) -> Result<Command, Error> {
    let placement = arguments.object("Placement").ok_or_else(|| missing("Placement"))?;
    // Nothing is charged in advance.
    arguments.choice("DiskChargeType", &[("POSTPAID_BY_HOUR", ())])?;
    Ok(Command::Disk(DiskCommand::Create(CreateDisks {
        // Zones have no form of their own; whether there is one of that name, the service looks up.
        zone: ZoneId::from_trusted(placement.required_text("Zone")?),
        name: arguments.text("DiskName"),
        count: arguments.optional_u32("DiskCount")?.unwrap_or(1),
        size_gib: arguments.integer("DiskSize"),
        snapshot: arguments.id("SnapshotId", SNAPSHOT_ID)?,
        tags: tags(arguments)?,
        client_token: arguments.text("ClientToken"),
    })))
}

fn missing(name: &str) -> Error {
    Error::MissingParameter(name.to_owned())
}

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("DiskIds", Kind::Texts),
    optional("Filters", Kind::Objects(FILTER)),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
    optional("Order", Kind::Text),
    only("OrderField", Kind::Text, &["CREATE_TIME"], "disks have no end to be sorted by"),
    // There are no policies, so none is bound.
    harmless("ReturnBindAutoSnapshotPolicy", Kind::Flag),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Disk(DiskCommand::Describe(DescribeDisks {
        disks: arguments.ids("DiskIds", DISK_ID)?,
        filters: filters(arguments)?,
        oldest_first: oldest_first(arguments)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })))
}

/// Whether a list of the CBS service begins with the oldest.
pub(super) fn oldest_first(arguments: &Arguments) -> Result<bool, Error> {
    Ok(arguments.choice("Order", &[("ASC", true), ("DESC", false)])?.unwrap_or(false))
}

pub(super) const ATTACH: &[Parameter] = &[
    required("InstanceId", Kind::Text),
    required("DiskIds", Kind::Texts),
    optional("DeleteWithInstance", Kind::Flag),
    // Only bare metal knows the difference.
    harmless("AttachMode", Kind::Text),
];

pub(super) fn attach(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Disk(DiskCommand::Attach(AttachDisks {
        instance: arguments.required_id("InstanceId", INSTANCE)?,
        disks: arguments.ids("DiskIds", DISK_ID)?,
        delete_with_instance: arguments.flag("DeleteWithInstance"),
    })))
}

/// The CBS service has no code for an instance's id of the wrong form.
const INSTANCE: &str = "InvalidInstanceId.NotFound";

pub(super) const DETACH: &[Parameter] =
    &[required("DiskIds", Kind::Texts), optional("InstanceId", Kind::Text)];

pub(super) fn detach(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Disk(DiskCommand::Detach {
        disks: arguments.ids("DiskIds", DISK_ID)?,
        instance: arguments.id("InstanceId", INSTANCE)?,
    }))
}

pub(super) const TERMINATE: &[Parameter] = &[
    required("DiskIds", Kind::Texts),
    only("DeleteSnapshot", Kind::Integer, &["0"], "snapshots outlive their disks; delete them yourself"),
];

pub(super) fn terminate(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Disk(DiskCommand::Terminate { disks: arguments.ids("DiskIds", DISK_ID)? }))
}
