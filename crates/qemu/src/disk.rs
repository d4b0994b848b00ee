//! The block graph of a machine's disks while they are frozen and merged, as QMP commands. No files are touched here.
//!
//! ```text
//!            freeze                         merge: job runs       pivot
//! disk─root ───────► disk─live─root ───────► disk─filter─live─root ─────► disk─root
//! ```
//! Several disks are frozen in one transaction, at one moment of the guest. They are merged one after the other.

use serde_json::{Value, json};

use crate::command_line::overlay;
use crate::error::{Error, Result};
use crate::layout::DiskName;
use crate::qmp::Qmp;

/// Where QEMU lists the devices that have names.
pub(crate) const DEVICES: &str = "/machine/peripheral";

/// The names that QEMU knows a disk's parts by.
impl DiskName {
    /// The guest's side of it.
    pub(crate) fn device(&self) -> String {
        self.named("disk", "data")
    }

    /// The overlay.
    pub(crate) fn node(&self) -> String {
        self.named("root", "data")
    }

    /// The layer above it while it is frozen.
    pub(crate) fn live_node(&self) -> String {
        self.named("live", "live")
    }

    /// What the overlay is backed by.
    pub(crate) fn base_node(&self) -> String {
        self.named("base", "base")
    }

    /// The merge's job.
    fn job(&self) -> String {
        self.named("merge", "merge")
    }

    /// The node that the merge puts above the disk while it runs. QEMU's names end at 31 bytes.
    fn filter_node(&self) -> String {
        self.named("merge-filter", "merging")
    }

    fn named(&self, root: &str, data: &str) -> String {
        match self {
            Self::Root => root.to_owned(),
            Self::Data(serial) => format!("{data}-{serial}"),
        }
    }

    /// The disk that a device is the guest's side of.
    pub(crate) fn of_device(device: &str) -> Option<Self> {
        match device.strip_prefix("data-") {
            Some(serial) => Some(Self::Data(serial.to_owned())),
            None => (device == "disk").then_some(Self::Root),
        }
    }
}

/// What the guest's disk is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Top {
    /// The overlay; `spare` says that the live layer's node exists beside it.
    Overlay { spare: bool },
    /// The live layer above the overlay.
    Live,
}

/// What a merge job is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MergeJob {
    /// There is none.
    Absent,
    /// Copying, or on its way from one state to the next.
    Working,
    /// All copied; copies new writes until it is told to complete.
    Ready,
    /// Ended, with QEMU's message if it failed. To be dismissed.
    Concluded(Option<String>),
}

/// Every disk that the guest has, and what it is connected to.
pub(crate) async fn tops(qmp: &mut Qmp) -> Result<Vec<(DiskName, Top)>> {
    let devices = qmp.execute("query-block", json!({})).await?;
    let nodes = node_names(qmp).await?;
    let mut tops = Vec::new();
    for device in devices.as_array().into_iter().flatten() {
        let path = device["qdev"].as_str().and_then(|path| path.strip_prefix(DEVICES)?.strip_prefix('/'));
        let named = path.and_then(|path| DiskName::of_device(path.split('/').next().unwrap_or_default()));
        let Some(name) = named else { continue };
        let node = device["inserted"]["node-name"].as_str().unwrap_or_default();
        let top = if node == name.node() {
            Top::Overlay { spare: nodes.contains(&name.live_node()) }
        } else if node == name.live_node() || node == name.filter_node() {
            Top::Live
        } else {
            return Err(Error::Monitor(format!("{name} is connected to {node:?}")));
        };
        tops.push((name, top));
    }
    if tops.iter().any(|(name, _)| *name == DiskName::Root) {
        return Ok(tops);
    }
    Err(Error::Monitor("there is no root disk".into()))
}

/// What one disk is connected to.
pub(crate) async fn top(qmp: &mut Qmp, name: &DiskName) -> Result<Top> {
    let found = tops(qmp).await?.into_iter().find(|(disk, _)| disk == name);
    found.map(|(_, top)| top).ok_or_else(|| Error::Monitor(format!("the guest has no {name}")))
}

/// The names of all block nodes.
pub(crate) async fn node_names(qmp: &mut Qmp) -> Result<Vec<String>> {
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let nodes = nodes.as_array().ok_or_else(|| Error::Monitor("no list of block nodes".into()))?;
    Ok(nodes.iter().filter_map(|node| node["node-name"].as_str().map(str::to_owned)).collect())
}

/// Puts the live layers, whose files are in place, above the overlays, all at one moment. All the guest's earlier writes
/// are then in the overlays (QEMU drains and flushes them), later ones go to the live layers.
pub(crate) async fn freeze(qmp: &mut Qmp, disks: &[DiskName]) -> Result<()> {
    let mut actions = Vec::with_capacity(disks.len());
    for disk in disks {
        qmp.execute("blockdev-add", overlay(&disk.live_node(), &disk.live_file(), Value::Null)).await?;
        let snapshot = json!({ "node": disk.node(), "overlay": disk.live_node() });
        actions.push(json!({ "type": "blockdev-snapshot", "data": snapshot }));
    }
    qmp.execute("transaction", json!({ "actions": actions })).await.map(drop)
}

/// Removes a live layer's node, which nothing uses.
pub(crate) async fn forget_live(qmp: &mut Qmp, disk: &DiskName) -> Result<()> {
    qmp.execute("blockdev-del", json!({ "node-name": disk.live_node() })).await.map(drop)
}

pub(crate) async fn start_merge(qmp: &mut Qmp, disk: &DiskName) -> Result<()> {
    let arguments = json!({
        "job-id": disk.job(),
        "device": disk.live_node(),
        "base-node": disk.node(),
        "filter-node-name": disk.filter_node(),
        // The job stays to be asked how it ended, also by a Kiln that was not there at the time.
        "auto-dismiss": false,
    });
    qmp.execute("block-commit", arguments).await.map(drop)
}

pub(crate) async fn merge_job(qmp: &mut Qmp, disk: &DiskName) -> Result<MergeJob> {
    let jobs = qmp.execute("query-jobs", json!({})).await?;
    let id = Value::String(disk.job());
    let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == id));
    let Some(job) = job else { return Ok(MergeJob::Absent) };
    Ok(match job["status"].as_str() {
        Some("ready") => MergeJob::Ready,
        Some("concluded") => MergeJob::Concluded(job["error"].as_str().map(str::to_owned)),
        _ => MergeJob::Working,
    })
}

pub(crate) async fn complete_merge(qmp: &mut Qmp, disk: &DiskName) -> Result<()> {
    qmp.execute("job-complete", json!({ "id": disk.job() })).await.map(drop)
}

pub(crate) async fn dismiss_merge(qmp: &mut Qmp, disk: &DiskName) -> Result<()> {
    qmp.execute("job-dismiss", json!({ "id": disk.job() })).await.map(drop)
}
