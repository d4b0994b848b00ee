//! The root disk's block graph while it is frozen and merged, as QMP commands. No files are touched here.
//!
//! ```text
//!            freeze                         merge: job runs       pivot
//! disk─root ───────► disk─live─root ───────► disk─filter─live─root ─────► disk─root
//! ```

use serde_json::{Value, json};

use crate::command_line::{DISK_DEVICE, LIVE_NODE, ROOT_NODE, overlay};
use crate::error::{Error, Result};
use crate::layout::LIVE;
use crate::qmp::Qmp;

/// The merge's job, and the node it puts above the disk while it runs.
const MERGE_JOB: &str = "merge";
const MERGE_FILTER: &str = "merge-filter";

/// What the guest's disk is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Top {
    /// The root overlay; `spare` says that the live layer's node exists beside it.
    Root { spare: bool },
    /// The live layer above the root overlay.
    Live,
}

/// What the merge job is doing.
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

pub(crate) async fn top(qmp: &mut Qmp) -> Result<Top> {
    let devices = qmp.execute("query-block", json!({})).await?;
    let path = format!("/machine/peripheral/{DISK_DEVICE}/");
    let is_disk = |device: &&Value| device["qdev"].as_str().is_some_and(|qdev| qdev.starts_with(&path));
    let disk = devices.as_array().and_then(|devices| devices.iter().find(is_disk));
    let node = disk.and_then(|disk| disk["inserted"]["node-name"].as_str());
    match node {
        Some(ROOT_NODE) => Ok(Top::Root { spare: live_node_exists(qmp).await? }),
        Some(LIVE_NODE | MERGE_FILTER) => Ok(Top::Live),
        other => Err(Error::Monitor(format!("the root disk is connected to {other:?}"))),
    }
}

async fn live_node_exists(qmp: &mut Qmp) -> Result<bool> {
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    let nodes = nodes.as_array().ok_or_else(|| Error::Monitor("no list of block nodes".into()))?;
    Ok(nodes.iter().any(|node| node["node-name"] == LIVE_NODE))
}

/// Puts the live layer, whose file is in place, above the root overlay. All the guest's earlier writes are then in
/// root.qcow2 (QEMU drains and flushes it), later ones go to live.qcow2.
pub(crate) async fn freeze(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("blockdev-add", overlay(LIVE_NODE, LIVE, Value::Null)).await?;
    qmp.execute("blockdev-snapshot", json!({ "node": ROOT_NODE, "overlay": LIVE_NODE })).await?;
    Ok(())
}

/// Removes the live layer's node, which nothing uses.
pub(crate) async fn forget_live(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("blockdev-del", json!({ "node-name": LIVE_NODE })).await.map(drop)
}

pub(crate) async fn start_merge(qmp: &mut Qmp) -> Result<()> {
    let arguments = json!({
        "job-id": MERGE_JOB,
        "device": LIVE_NODE,
        "base-node": ROOT_NODE,
        "filter-node-name": MERGE_FILTER,
        // The job stays to be asked how it ended, also by a Kiln that was not there at the time.
        "auto-dismiss": false,
    });
    qmp.execute("block-commit", arguments).await.map(drop)
}

pub(crate) async fn merge_job(qmp: &mut Qmp) -> Result<MergeJob> {
    let jobs = qmp.execute("query-jobs", json!({})).await?;
    let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == MERGE_JOB));
    let Some(job) = job else { return Ok(MergeJob::Absent) };
    Ok(match job["status"].as_str() {
        Some("ready") => MergeJob::Ready,
        Some("concluded") => MergeJob::Concluded(job["error"].as_str().map(str::to_owned)),
        _ => MergeJob::Working,
    })
}

pub(crate) async fn complete_merge(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("job-complete", json!({ "id": MERGE_JOB })).await.map(drop)
}

pub(crate) async fn dismiss_merge(qmp: &mut Qmp) -> Result<()> {
    qmp.execute("job-dismiss", json!({ "id": MERGE_JOB })).await.map(drop)
}
