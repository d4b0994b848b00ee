//! Commands on snapshots, and what they answer.

use kiln_model::{DiskId, DiskUsage, ImageId, Snapshot, SnapshotId, Tag};

use crate::Filter;

/// What is asked about snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum SnapshotCommand {
    Create(CreateSnapshot),
    Describe(DescribeSnapshots),
    Delete { snapshots: Vec<SnapshotId>, with_images: bool },
}

impl SnapshotCommand {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Describe(_))
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        match self {
            Self::Create(request) => ("CreateSnapshot", request.disk.to_string()),
            Self::Describe(_) => ("DescribeSnapshots", String::new()),
            Self::Delete { snapshots, .. } => {
                let ids: Vec<_> = snapshots.iter().map(SnapshotId::as_str).collect();
                ("DeleteSnapshots", ids.join(" "))
            }
        }
    }
}

/// Makes a snapshot of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreateSnapshot {
    pub disk: DiskId,
    pub name: Option<String>,
    /// What disks made of it are for; as its own disk where absent.
    pub usage: Option<DiskUsage>,
    pub tags: Vec<Tag>,
}

/// Lists the caller's snapshots, those of its images included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeSnapshots {
    pub snapshots: Vec<SnapshotId>,
    pub filters: Vec<Filter>,
    pub oldest_first: bool,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// A snapshot with what its API form needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSnapshot {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// How far the task that makes it has come, 0 to 100.
    pub percent: u8,
    /// The images that have it as a disk, with their names.
    pub images: Vec<(ImageId, String)>,
    /// The owner's tags on it.
    pub tags: Vec<Tag>,
}
