//! Commands on disks, and what they answer.

use kiln_catalog::SnapshotTotals;
use kiln_model::{Disk, DiskId, InstanceId, SnapshotId, Tag, ZoneId};

use crate::Filter;

/// What is asked about disks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum DiskCommand {
    Create(CreateDisks),
    Describe(DescribeDisks),
    Attach(AttachDisks),
    Detach { disks: Vec<DiskId>, instance: Option<InstanceId> },
    Terminate { disks: Vec<DiskId> },
}

impl DiskCommand {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Describe(_))
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        let list = |disks: &[DiskId]| disks.iter().map(DiskId::as_str).collect::<Vec<_>>().join(" ");
        match self {
            Self::Create(request) => ("CreateDisks", request.name.clone().unwrap_or_default()),
            Self::Describe(_) => ("DescribeDisks", String::new()),
            Self::Attach(request) => {
                ("AttachDisks", format!("{} {}", list(&request.disks), request.instance))
            }
            Self::Detach { disks, .. } => ("DetachDisks", list(disks)),
            Self::Terminate { disks } => ("TerminateDisks", list(disks)),
        }
    }
}

/// Makes data disks that belong to no instance yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreateDisks {
    pub zone: ZoneId,
    pub name: Option<String>,
    pub count: u32,
    /// Absent only where there is a snapshot, whose size it is then.
    pub size_gib: Option<u64>,
    /// What they begin as; empty where absent.
    pub snapshot: Option<SnapshotId>,
    pub tags: Vec<Tag>,
    /// Makes a repeated request answer with what the first one made.
    pub client_token: Option<String>,
}

/// Lists the caller's disks, system disks included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeDisks {
    pub disks: Vec<DiskId>,
    pub filters: Vec<Filter>,
    pub oldest_first: bool,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// Gives data disks to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct AttachDisks {
    pub instance: InstanceId,
    pub disks: Vec<DiskId>,
    pub delete_with_instance: bool,
}

/// A data disk that a launch makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct NewDataDisk {
    pub name: Option<String>,
    /// The least, where it is made from a snapshot that is larger.
    pub size_gib: u64,
    pub snapshot: Option<SnapshotId>,
    pub delete_with_instance: bool,
}

/// A disk with what its API form needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SeenDisk {
    pub disk: Disk,
    /// What snapshots there are of it.
    pub snapshots: SnapshotTotals,
    pub tags: Vec<Tag>,
}
