//! What the actions of the CBS service on snapshots take and mean.

use kiln_model::DiskUsage;
use kiln_service::{Command, CreateSnapshot, DescribeSnapshots, SnapshotCommand};

use super::disks::{DISK_ID, SNAPSHOT_ID, TAG, oldest_first, tags};
use super::images::{FILTER, filters};
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, only, optional, refused, required};

pub(super) const CREATE: &[Parameter] = &[
    // Optional in the public definition, for the sake of backup points, which there are none of.
    required("DiskId", Kind::Text),
    optional("SnapshotName", Kind::Text),
    refused("Deadline", "snapshots stay until they are deleted; leave it out"),
    refused("DiskBackupId", "disks have no backup points; name the disk"),
    optional("Tags", Kind::Objects(TAG)),
    only("LocalSnap", Kind::Flag, &["false"], "all snapshots are in the region's store"),
    optional("DiskUsage", Kind::Text),
];

pub(super) fn create(arguments: &Arguments) -> Result<Command, Error> {
    let usages = [("SYSTEM_DISK", DiskUsage::System), ("DATA_DISK", DiskUsage::Data)];
    Ok(Command::Snapshot(SnapshotCommand::Create(CreateSnapshot {
        disk: arguments.required_id("DiskId", DISK_ID)?,
        name: arguments.text("SnapshotName"),
        usage: arguments.choice("DiskUsage", &usages)?,
        tags: tags(arguments)?,
    })))
}

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("SnapshotIds", Kind::Texts),
    optional("Filters", Kind::Objects(FILTER)),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
    optional("Order", Kind::Text),
    only("OrderField", Kind::Text, &["CREATE_TIME"], "snapshots are sorted by nothing else"),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Snapshot(SnapshotCommand::Describe(DescribeSnapshots {
        snapshots: arguments.ids("SnapshotIds", SNAPSHOT_ID)?,
        filters: filters(arguments)?,
        oldest_first: oldest_first(arguments)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })))
}

pub(super) const DELETE: &[Parameter] =
    &[required("SnapshotIds", Kind::Texts), optional("DeleteBindImages", Kind::Flag)];

pub(super) fn delete(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Snapshot(SnapshotCommand::Delete {
        snapshots: arguments.ids("SnapshotIds", SNAPSHOT_ID)?,
        with_images: arguments.flag("DeleteBindImages"),
    }))
}
