//! Tasks: long pieces of work, each a row that outlives the process that does it.
//!
//! ```text
//! Queued ──claimed──► Running ──succeeded──► Succeeded
//!    │                  │  └───failed──────► Failed
//!    └─────cancelled────┴──────cancelled───► Cancelled
//! ```
//!
//! A running task whose lease runs out is claimed again under a higher fence; what was done under a lower fence can
//! no longer be recorded.

use serde::{Deserialize, Serialize};

use crate::{
    BucketName, DiskId, Failure, IllegalTransition, ImageId, ImportClaim, InstanceId, ManifestKey, RegionId,
    SnapshotId, TaskId, Timestamp, Uin,
};

/// What a task does. Stored as JSON, so variants and fields keep their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskKind {
    /// Fetches an image file, checks it, stores it.
    ImportImage {
        /// The image being made.
        image: ImageId,
        /// Where the file is.
        url: String,
        /// What the importer says is in it.
        claim: ImportClaim,
        /// The SHA-256 that the file must have, in hexadecimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// Stores an instance's system disk, and data disks with it, as an image.
    CreateImage {
        /// The image being made.
        image: ImageId,
        /// The instance it is made from.
        instance: InstanceId,
        /// Whether the instance is switched off first.
        power_off: bool,
        /// The data disks that are part of the image.
        #[serde(default)]
        data_disks: Vec<DiskId>,
    },
    /// Makes an image of snapshots, which its row names.
    AssembleImage {
        /// The image being made.
        image: ImageId,
    },
    /// Stores a disk as a snapshot.
    CreateSnapshot {
        /// The snapshot being made.
        snapshot: SnapshotId,
        /// The disk it is made of.
        disk: DiskId,
        /// The instance that has the disk.
        instance: Option<InstanceId>,
    },
    /// Copies an image from another region.
    CopyImage {
        /// The image being made.
        image: ImageId,
        /// The image it is copied from.
        source: ImageId,
        /// The region of that image.
        source_region: RegionId,
    },
    /// Writes disks of images into a bucket, each as an image file.
    ExportImages {
        /// The bucket.
        bucket: BucketName,
        /// What the files are.
        format: ExportFormat,
        /// What is written; at least one.
        files: Vec<ExportFile>,
    },
    /// Makes an instance's disk and switches it on for the first time.
    LaunchInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// Switches an instance on.
    StartInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// Switches an instance off.
    StopInstance {
        /// The instance.
        instance: InstanceId,
        /// How hard.
        stop: StopMode,
    },
    /// Restarts an instance.
    RebootInstance {
        /// The instance.
        instance: InstanceId,
        /// How hard.
        stop: StopMode,
    },
    /// Makes an instance's system disk anew, from the image that its row names, and switches it on.
    ResetInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// Gives disks to an instance.
    AttachDisks {
        /// The instance.
        instance: InstanceId,
        /// The disks.
        disks: Vec<DiskId>,
    },
    /// Takes disks from an instance.
    DetachDisks {
        /// The instance.
        instance: InstanceId,
        /// The disks.
        disks: Vec<DiskId>,
    },
    /// Removes an instance, its system disk, and the disks that go with it.
    TerminateInstance {
        /// The instance.
        instance: InstanceId,
    },
}

/// The format of an exported image file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say all")]
pub enum ExportFormat {
    #[default]
    Raw,
    Qcow2,
    Vhd,
    Vmdk,
}

impl ExportFormat {
    /// How the names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vmdk => "vmdk",
        }
    }
}

/// A disk of an image, and the object that it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFile {
    /// The image, which may be deleted before the disk is written.
    pub image: ImageId,
    /// The disk's content, which the task keeps.
    pub manifest: ManifestKey,
    /// The disk's size in bytes.
    pub size_bytes: u64,
    /// The object's key.
    pub key: String,
}

/// How an instance is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// The guest is asked; if it does not, the operation fails.
    Soft,
    /// The guest is asked, then the machine is switched off.
    SoftFirst,
    /// The machine is switched off.
    Hard,
}

impl TaskKind {
    /// The name of exports.
    pub const EXPORT_IMAGES: &str = "export_images";

    /// The image that the task makes, if it makes one.
    pub fn image(&self) -> Option<&ImageId> {
        match self {
            Self::ImportImage { image, .. }
            | Self::CreateImage { image, .. }
            | Self::AssembleImage { image }
            | Self::CopyImage { image, .. } => Some(image),
            _ => None,
        }
    }

    /// The snapshot that the task makes, if it makes one.
    pub fn snapshot(&self) -> Option<&SnapshotId> {
        match self {
            Self::CreateSnapshot { snapshot, .. } => Some(snapshot),
            _ => None,
        }
    }

    /// The instance that the task works on, if any.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::ImportImage { .. } | Self::CopyImage { .. } | Self::ExportImages { .. } => None,
            Self::AssembleImage { .. } => None,
            Self::CreateSnapshot { instance, .. } => instance.as_ref(),
            Self::CreateImage { instance, .. }
            | Self::LaunchInstance { instance }
            | Self::StartInstance { instance }
            | Self::StopInstance { instance, .. }
            | Self::RebootInstance { instance, .. }
            | Self::ResetInstance { instance }
            | Self::AttachDisks { instance, .. }
            | Self::DetachDisks { instance, .. }
            | Self::TerminateInstance { instance } => Some(instance),
        }
    }

    /// The name of the kind, as it is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ImportImage { .. } => "import_image",
            Self::CreateImage { .. } => "create_image",
            Self::AssembleImage { .. } => "assemble_image",
            Self::CreateSnapshot { .. } => "create_snapshot",
            Self::CopyImage { .. } => "copy_image",
            Self::ExportImages { .. } => Self::EXPORT_IMAGES,
            Self::LaunchInstance { .. } => "launch_instance",
            Self::StartInstance { .. } => "start_instance",
            Self::StopInstance { .. } => "stop_instance",
            Self::RebootInstance { .. } => "reboot_instance",
            Self::ResetInstance { .. } => "reset_instance",
            Self::AttachDisks { .. } => "attach_disks",
            Self::DetachDisks { .. } => "detach_disks",
            Self::TerminateInstance { .. } => "terminate_instance",
        }
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Waiting for a worker.
    Queued,
    /// Held by a worker, under a lease.
    Running,
    /// Done.
    Succeeded,
    /// Ended without its result; the reason is kept.
    Failed,
    /// Ended because its owner asked.
    Cancelled,
}

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub enum TaskEvent {
    Claimed,
    Succeeded,
    Failed,
    Cancelled,
}

impl TaskState {
    /// The state after `event`. A running task may be claimed again: that is how a lost worker's work goes on.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Queued | Self::Running, TaskEvent::Claimed) => Ok(Self::Running),
            (Self::Running, TaskEvent::Succeeded) => Ok(Self::Succeeded),
            (Self::Running, TaskEvent::Failed) => Ok(Self::Failed),
            (Self::Queued | Self::Running, TaskEvent::Cancelled) => Ok(Self::Cancelled),
            (Self::Queued, TaskEvent::Succeeded | TaskEvent::Failed)
            | (Self::Succeeded | Self::Failed | Self::Cancelled, _) => {
                Err(IllegalTransition::new(self, event))
            }
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// How far a task has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskProgress {
    /// What is being done, in a word or two: `fetch`, `check`, `store`.
    pub stage: String,
    /// Bytes of this stage done.
    pub bytes_done: u64,
    /// Bytes of this stage in all; 0 where that is not known.
    pub bytes_total: u64,
    /// Bytes per second, over the last moments.
    pub bytes_per_second: u64,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its identifier.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// Whose it is.
    pub owner: Uin,
    /// The region it works in.
    pub region: RegionId,
    /// The request that asked for it.
    pub request_id: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// Grows with every claim. Only the holder of the present fence can record anything.
    pub fence: i64,
    /// Until when the present holder has it.
    pub lease_until: Timestamp,
    /// What the finished steps left for the next ones, as JSON.
    pub checkpoint: serde_json::Value,
    /// How far it has come.
    pub progress: TaskProgress,
    /// Whether its owner wants it to stop.
    pub cancel_requested: bool,
    /// How often it was claimed.
    pub attempts: u32,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_task_stays_as_it_is() {
        for state in [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled] {
            assert!(state.is_final());
            for event in [TaskEvent::Claimed, TaskEvent::Succeeded, TaskEvent::Failed, TaskEvent::Cancelled] {
                assert!(state.transition(event).is_err());
            }
        }
    }

    #[test]
    fn a_lost_task_can_be_claimed_again() {
        assert_eq!(TaskState::Running.transition(TaskEvent::Claimed), Ok(TaskState::Running));
    }

    #[test]
    fn the_stored_form_of_a_kind_carries_its_name() {
        let kind = TaskKind::LaunchInstance { instance: InstanceId::random() };
        let stored = serde_json::to_value(&kind).expect("plain data");
        assert_eq!(stored["kind"], kind.name());
        assert_eq!(serde_json::from_value::<TaskKind>(stored).expect("reads back"), kind);
    }
}
