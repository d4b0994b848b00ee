//! Snapshots, as the CBS service shows them.

use kiln_model::SnapshotState;
use kiln_service::{Answer, SeenSnapshot};
use serde_json::{Value, json};

use super::{disk, gib, members, tag};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// The snapshot that is being made.
pub(crate) fn accepted(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::SnapshotAccepted(snapshot) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"SnapshotId": snapshot}))
}

/// A list of snapshots.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Snapshots { snapshots, total } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let snapshots: Vec<Value> = snapshots.iter().map(snapshot).collect();
    members(json!({"TotalCount": total, "SnapshotSet": snapshots}))
}

/// The public `Snapshot`: what Kiln knows, and for what it has not, the value that says so.
fn snapshot(seen: &SeenSnapshot) -> Value {
    let snapshot = &seen.snapshot;
    let images: Vec<Value> =
        seen.images.iter().map(|(id, name)| json!({"ImageId": id, "ImageName": name})).collect();
    json!({
        "SnapshotId": snapshot.id,
        "SnapshotName": snapshot.name,
        "SnapshotState": match snapshot.state {
            SnapshotState::Creating => "CREATING",
            SnapshotState::Normal => "NORMAL",
            SnapshotState::Deleted => "TORECYCLE",
        },
        "Percent": seen.percent,
        "DiskId": snapshot.disk.as_ref().map_or("", |disk| disk.as_str()),
        "DiskUsage": disk::usage_name(snapshot.usage),
        "DiskSize": gib(snapshot.size_bytes),
        "Placement": disk::placement(snapshot.zone.as_ref().map_or("", |zone| zone.as_str())),
        "CreateTime": snapshot.created_at.plain(),
        "ImageCount": images.len(),
        "Images": images,
        "Tags": tag::of_resource(&seen.tags),
        "IsPermanent": true,
        "DeadlineTime": "",
        "Encrypt": false,
        "CopyFromRemote": false,
        "CopyingToRegions": [],
        "SnapshotType": "PRIVATE_SNAPSHOT",
        "SnapshotMode": "STANDARD_SNAPSHOT",
        "ShareReference": 0,
        "TimeStartShare": "",
        "IsLocked": false,
    })
}
