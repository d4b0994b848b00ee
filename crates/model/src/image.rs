//! Images: what one is, where it came from, and the life of its state.
//!
//! ```text
//! Creating ─┐                        ┌─► Normal ──────────┐
//! Importing ├─ published / failed ───┤                    ├─ deleted ─► Deleted
//! Syncing  ─┘                        └─► …Failed ─────────┘
//! ```
//!
//! A deleted image keeps its row, since an identifier is never used twice.

use serde::{Deserialize, Serialize};

use crate::{ImageId, InstanceId, ManifestKey, RegionId, SnapshotId, TaskId, Timestamp, Uin};

/// Who an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// The operator's, for everybody.
    Public,
    /// A provider's, for everybody, at a price.
    Market,
    /// An account's own. To the accounts it is shared with it shows as a shared image.
    Custom,
}

/// Where an image is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageState {
    /// Being made from an instance.
    Creating,
    /// Being fetched and checked.
    Importing,
    /// Being copied into this region.
    Syncing,
    /// Whole, immutable, ready to launch from.
    Normal,
    /// Making or copying it failed; the reason is kept.
    CreateFailed,
    /// Importing it failed; the reason is kept.
    ImportFailed,
    /// Gone. Only the identifier remains.
    Deleted,
}

/// What can happen to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageEvent {
    /// Its content is complete and durable.
    Published,
    /// The work that was to make it ended without one.
    Failed,
    /// Its owner deletes it.
    Deleted,
}

/// A state was asked to change in a way that it cannot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen in state {state}")]
pub struct IllegalTransition {
    /// The present state.
    pub state: String,
    /// What was to happen.
    pub event: String,
}

impl IllegalTransition {
    pub(crate) fn new(state: impl std::fmt::Debug, event: impl std::fmt::Debug) -> Self {
        Self { state: format!("{state:?}"), event: format!("{event:?}") }
    }
}

impl ImageState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: ImageEvent) -> Result<Self, IllegalTransition> {
        use ImageState::{CreateFailed, Creating, Deleted, ImportFailed, Importing, Normal, Syncing};
        match (self, event) {
            (Creating | Importing | Syncing, ImageEvent::Published) => Ok(Normal),
            (Creating | Syncing, ImageEvent::Failed) => Ok(CreateFailed),
            (Importing, ImageEvent::Failed) => Ok(ImportFailed),
            (Normal | CreateFailed | ImportFailed, ImageEvent::Deleted) => Ok(Deleted),
            (Normal | CreateFailed | ImportFailed | Deleted, ImageEvent::Published | ImageEvent::Failed)
            | (Creating | Importing | Syncing | Deleted, ImageEvent::Deleted) => {
                Err(IllegalTransition::new(self, event))
            }
        }
    }

    /// Whether the image takes one of its owner's places. Failed and deleted ones do not.
    pub fn counts_towards_quota(self) -> bool {
        matches!(self, Self::Creating | Self::Importing | Self::Syncing | Self::Normal)
    }
}

/// Which operation made an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageOrigin {
    /// Fetched from a URL.
    Import,
    /// Made from an instance.
    Instance(InstanceId),
    /// Made of snapshots that its owner had.
    Snapshots,
    /// Copied from an image of another region.
    Copy {
        /// The image it was copied from.
        image: ImageId,
        /// The region that image is in.
        region: RegionId,
    },
}

/// A processor architecture, by the API's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Architecture {
    #[serde(rename = "x86_64")]
    X86_64,
    #[serde(rename = "i386")]
    I386,
    #[serde(rename = "arm64")]
    Arm64,
}

/// How a machine finds its boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootMode {
    /// Through the boot record.
    #[serde(rename = "Legacy BIOS")]
    Bios,
    /// Through an EFI system partition.
    #[serde(rename = "UEFI")]
    Uefi,
}

/// Whose licence a system runs under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LicenseType {
    /// The provider's.
    #[default]
    TencentCloud,
    /// The user's own.
    #[serde(rename = "BYOL")]
    Byol,
}

/// What an importer says about an image. What is in it decides whether that is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportClaim {
    /// The system by the API's names, such as `Debian`.
    pub os_type: String,
    /// Its version, such as `12`; `-` where there is none.
    pub os_version: String,
    /// What its programs are compiled for.
    pub architecture: Architecture,
    /// How it is to be started.
    pub boot_mode: BootMode,
    /// Whether it may come without cloud-init.
    pub force: bool,
    /// Whose licence it runs under.
    pub license: LicenseType,
}

/// What must be known of a system to launch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemFacts {
    /// The system's distribution and version as people write it, such as `Debian 12`.
    pub os_name: String,
    /// The platform by the API's names, such as `Debian`.
    pub platform: String,
    /// What its programs are compiled for.
    pub architecture: Architecture,
    /// How it boots.
    pub boot_mode: BootMode,
    /// Whether cloud-init (or cloudbase-init) is in it.
    pub cloud_init: bool,
    /// Whose licence it runs under.
    #[serde(default)]
    pub license: LicenseType,
}

/// Why work ended without its result: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code, in the form of the API's error codes.
    pub code: String,
    /// What went wrong and what to do.
    pub message: String,
}

/// What a disk of an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskUsage {
    /// The instance starts from it.
    System,
    /// The instance finds it attached.
    Data,
}

/// A disk of an image. To the API it is a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDisk {
    /// How the API calls it.
    pub snapshot: SnapshotId,
    /// What it is for.
    pub usage: DiskUsage,
    /// Its content in the region's store.
    pub manifest: ManifestKey,
    /// Its size as the guest sees it, in bytes.
    pub size_bytes: u64,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its identifier, never used again.
    pub id: ImageId,
    /// The region it is in.
    pub region: RegionId,
    /// Whose it is.
    pub owner: Uin,
    /// Who it is for.
    pub kind: ImageKind,
    /// Where it is in its life.
    pub state: ImageState,
    /// Unique among the owner's custom images of the region.
    pub name: String,
    /// What its owner says about it.
    pub description: String,
    /// Of what it is a version; empty where of nothing.
    pub family: String,
    /// Whether its owner would rather have another one used. It still starts.
    pub deprecated: bool,
    /// The operation that made it.
    pub origin: ImageOrigin,
    /// What must be known to launch it.
    pub facts: SystemFacts,
    /// The virtual size of its system disk in bytes; 0 until that is known.
    pub size_bytes: u64,
    /// Its disks, the system disk first; empty until it is published.
    pub disks: Vec<ImageDisk>,
    /// The task that makes it, or made it.
    pub task: TaskId,
    /// Why there is none, in a failed state.
    pub failure: Option<Failure>,
    /// The image whose fee it carries besides its own.
    pub fee_of: Option<ImageId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Image {
    /// The system disk; a published image always has one.
    pub fn system_disk(&self) -> Option<&ImageDisk> {
        self.disks.iter().find(|disk| disk.usage == DiskUsage::System)
    }
}

/// That an image is shared with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageShare {
    /// The image.
    pub image: ImageId,
    /// The account that sees it.
    pub account: Uin,
    /// Since when.
    pub shared_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_images_finish_and_only_finished_ones_are_deleted() {
        use ImageState::{CreateFailed, Creating, Deleted, ImportFailed, Importing, Normal, Syncing};
        for state in [Creating, Importing, Syncing] {
            assert_eq!(state.transition(ImageEvent::Published), Ok(Normal));
            assert!(state.transition(ImageEvent::Failed).is_ok_and(|next| !next.counts_towards_quota()));
            assert!(state.transition(ImageEvent::Deleted).is_err());
        }
        for state in [Normal, CreateFailed, ImportFailed] {
            assert_eq!(state.transition(ImageEvent::Deleted), Ok(Deleted));
            assert!(state.transition(ImageEvent::Published).is_err());
        }
        assert!(
            [ImageEvent::Published, ImageEvent::Failed, ImageEvent::Deleted]
                .into_iter()
                .all(|event| Deleted.transition(event).is_err())
        );
    }
}
