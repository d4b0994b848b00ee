//! Snapshots: frozen copies of disks, and the life of their state.
//!
//! ```text
//! Creating ──published──► Normal ──deleted──► Deleted
//!     └────────failed───────────────────────────┘
//! ```
//!
//! An image's disks are snapshots as well: those that were made with it go with it, others were there before it.

use crate::{
    DiskId, DiskUsage, IllegalTransition, ImageId, ManifestKey, RegionId, SnapshotId, TaskId, Timestamp, Uin,
    ZoneId,
};

/// Where a snapshot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotState {
    /// Being made.
    Creating,
    /// Whole, immutable, ready to make disks and images of.
    Normal,
    /// Gone, or never made. Only the identifier remains.
    Deleted,
}

/// What can happen to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotEvent {
    /// Its content is complete and durable.
    Published,
    /// The work that was to make it ended without one.
    Failed,
    /// Its owner deletes it, or the image that it goes with.
    Deleted,
}

impl SnapshotState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: SnapshotEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Creating, SnapshotEvent::Published) => Ok(Self::Normal),
            (Self::Creating, SnapshotEvent::Failed) | (Self::Normal, SnapshotEvent::Deleted) => {
                Ok(Self::Deleted)
            }
            (Self::Creating, SnapshotEvent::Deleted)
            | (Self::Normal, SnapshotEvent::Published | SnapshotEvent::Failed)
            | (Self::Deleted, _) => Err(IllegalTransition::new(self, event)),
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier, never used again.
    pub id: SnapshotId,
    /// The region it is in.
    pub region: RegionId,
    /// The zone of its disk; an image's has none.
    pub zone: Option<ZoneId>,
    /// Whose it is.
    pub owner: Uin,
    /// What its owner calls it.
    pub name: String,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// What a disk that is made of it is for.
    pub usage: DiskUsage,
    /// The disk that it is a copy of, if it was made of one. That may be gone by now.
    pub disk: Option<DiskId>,
    /// Its content in the region's store, once it is published.
    pub manifest: Option<ManifestKey>,
    /// The size of the disk in bytes.
    pub size_bytes: u64,
    /// The image that says what is on it, where that is a system.
    pub source_image: Option<ImageId>,
    /// The image that it was made with and goes with.
    pub of_image: Option<ImageId>,
    /// The task that makes it, or made it.
    pub task: TaskId,
    /// When it was asked for.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_deleted() {
        use SnapshotEvent::{Deleted, Failed, Published};
        assert_eq!(SnapshotState::Creating.transition(Published), Ok(SnapshotState::Normal));
        assert_eq!(SnapshotState::Creating.transition(Failed), Ok(SnapshotState::Deleted));
        assert!(SnapshotState::Creating.transition(Deleted).is_err());
        assert_eq!(SnapshotState::Normal.transition(Deleted), Ok(SnapshotState::Deleted));
        assert!(
            [Deleted, Failed, Published]
                .iter()
                .all(|event| SnapshotState::Deleted.transition(*event).is_err())
        );
    }
}
