//! Disks: where an instance keeps its data, and the life of their state.
//!
//! ```text
//!             ┌─attach─► Attaching ──attached──► Attached ──detach─► Detaching
//! Unattached ─┤              └───────────────────────┴──detached─────────┘ ──► Unattached
//!             └─terminate─► Terminated ◄──terminate── Attached (a disk that goes with its instance)
//! ```
//!
//! A system disk is attached for as long as its instance lives: it has no life of its own.

use crate::{
    DiskId, DiskUsage, Failure, IllegalTransition, InstanceId, ManifestKey, RegionId, SnapshotId, TaskId,
    Timestamp, Uin, ZoneId,
};

/// Where a disk is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskState {
    /// With no instance.
    Unattached,
    /// On its way to an instance.
    Attaching,
    /// With an instance.
    Attached,
    /// On its way from an instance.
    Detaching,
    /// Gone. Only the identifier remains.
    Terminated,
}

/// What can happen to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskEvent {
    /// Its owner gives it to an instance.
    AttachRequested,
    /// The instance has it, or has it still.
    Attached,
    /// Its owner takes it from its instance.
    DetachRequested,
    /// No instance has it any more, or it did not get to one.
    Detached,
    /// Its owner removes it, or the instance that it goes with.
    Terminated,
}

impl DiskState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: DiskEvent) -> Result<Self, IllegalTransition> {
        use DiskEvent as E;
        use DiskState as S;
        match (self, event) {
            (S::Unattached, E::AttachRequested) => Ok(S::Attaching),
            (S::Attaching | S::Detaching, E::Attached) => Ok(S::Attached),
            (S::Attached, E::DetachRequested) => Ok(S::Detaching),
            (S::Attaching | S::Attached | S::Detaching, E::Detached) => Ok(S::Unattached),
            (S::Unattached | S::Attached, E::Terminated) => Ok(S::Terminated),
            (S::Attaching | S::Attached | S::Detaching | S::Terminated, E::AttachRequested)
            | (S::Unattached | S::Attached | S::Terminated, E::Attached)
            | (S::Unattached | S::Attaching | S::Detaching | S::Terminated, E::DetachRequested)
            | (S::Unattached | S::Terminated, E::Detached)
            | (S::Attaching | S::Detaching | S::Terminated, E::Terminated) => {
                Err(IllegalTransition::new(self, event))
            }
        }
    }
}

/// The instance that a disk belongs to for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The instance.
    pub instance: InstanceId,
    /// The place among the instance's data disks, from 0, in whose order guests name them.
    pub slot: u8,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its identifier, never used again.
    pub id: DiskId,
    /// The region it is in.
    pub region: RegionId,
    /// The zone it is in.
    pub zone: ZoneId,
    /// Whose it is.
    pub owner: Uin,
    /// What its owner calls it.
    pub name: String,
    /// What it is for.
    pub usage: DiskUsage,
    /// Where it is in its life.
    pub state: DiskState,
    /// Its size as the guest sees it, in bytes.
    pub size_bytes: u64,
    /// The content that it started as, kept for as long as there is the disk; without, it started empty.
    pub base_manifest: Option<ManifestKey>,
    /// The snapshot that it was made from, which may be gone by now.
    pub snapshot: Option<SnapshotId>,
    /// The instance that has it, or is about to.
    pub attachment: Option<Attachment>,
    /// Whether it goes when the instance goes that has it.
    pub delete_with_instance: bool,
    /// The unfinished task that holds it, if any. Where an instance has it, that one's task holds it as well.
    pub task: Option<TaskId>,
    /// Why the newest operation on it failed, if it did.
    pub failure: Option<Failure>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_comes_and_goes_and_ends() {
        let path = [
            (DiskEvent::AttachRequested, DiskState::Attaching),
            (DiskEvent::Attached, DiskState::Attached),
            (DiskEvent::DetachRequested, DiskState::Detaching),
            (DiskEvent::Detached, DiskState::Unattached),
            (DiskEvent::Terminated, DiskState::Terminated),
        ];
        let mut state = DiskState::Unattached;
        for (event, expected) in path {
            state = state.transition(event).expect("a step of a normal life");
            assert_eq!(state, expected);
        }
        assert!(path.iter().all(|(event, _)| state.transition(*event).is_err()));
    }

    #[test]
    fn what_failed_is_as_it_was() {
        assert_eq!(DiskState::Attaching.transition(DiskEvent::Detached), Ok(DiskState::Unattached));
        assert_eq!(DiskState::Detaching.transition(DiskEvent::Attached), Ok(DiskState::Attached));
    }

    #[test]
    fn a_disk_under_way_is_not_removed() {
        for state in [DiskState::Attaching, DiskState::Detaching] {
            assert!(state.transition(DiskEvent::Terminated).is_err(), "{state:?}");
        }
    }
}
