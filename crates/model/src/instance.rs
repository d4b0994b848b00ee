//! Instances: virtual machines launched from an image, and the life of their state.
//!
//! ```text
//! Pending ──ran──► Running ◄──ran── Starting ◄──start── Stopped
//!    │              │  ▲ │                                 ▲
//!    │       reboot ▼  │ └──stop──► Stopping ──stopped─────┤
//!    │          Rebooting           (a guest that powers itself off: Running ──stopped──► Stopped)
//!    └─failed─► LaunchFailed        any but Terminated ──terminate──► Terminating ──gone──► Terminated
//! ```
//!
//! A reinstallation begins a new life of the system disk: Running, Stopped or LaunchFailed ──reset──► Pending.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{
    DiskId, Failure, IllegalTransition, ImageId, InstanceId, KeyPairId, ManifestKey, Price, RegionId, TaskId,
    Timestamp, Uin, ZoneId,
};

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// Accepted, its machine not yet running.
    Pending,
    /// It never ran; the reason is kept.
    LaunchFailed,
    /// Its machine runs.
    Running,
    /// Its machine is off.
    Stopped,
    /// Being switched on.
    Starting,
    /// Being switched off.
    Stopping,
    /// Being reset.
    Rebooting,
    /// Being removed.
    Terminating,
    /// Gone. Only the identifier remains.
    Terminated,
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceEvent {
    /// Its machine was seen running.
    Ran,
    /// Its machine ended, or was found not running.
    Stopped,
    /// The launch ended without a machine.
    LaunchFailed,
    /// Its owner starts it.
    StartRequested,
    /// Its owner stops it.
    StopRequested,
    /// Its owner reboots it.
    RebootRequested,
    /// Its owner has its system disk made anew.
    ResetRequested,
    /// Its owner removes it.
    TerminateRequested,
    /// Nothing of it is left.
    Gone,
}

impl InstanceState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: InstanceEvent) -> Result<Self, IllegalTransition> {
        use InstanceEvent as E;
        use InstanceState as S;
        match (self, event) {
            (S::Pending | S::Starting | S::Rebooting | S::Stopping | S::Running, E::Ran) => Ok(S::Running),
            (S::Running | S::Stopping | S::Starting | S::Rebooting, E::Stopped) => Ok(S::Stopped),
            (S::Pending, E::LaunchFailed) => Ok(S::LaunchFailed),
            (S::Stopped, E::StartRequested) => Ok(S::Starting),
            (S::Running, E::StopRequested) => Ok(S::Stopping),
            (S::Running, E::RebootRequested) => Ok(S::Rebooting),
            (S::Running | S::Stopped | S::LaunchFailed, E::ResetRequested) => Ok(S::Pending),
            (S::Terminated, _) => Err(IllegalTransition::new(self, event)),
            (_, E::TerminateRequested) => Ok(S::Terminating),
            (S::Terminating, E::Gone) => Ok(S::Terminated),
            (_, E::Ran | E::Stopped | E::LaunchFailed | E::StartRequested | E::StopRequested)
            | (_, E::RebootRequested | E::ResetRequested | E::Gone) => {
                Err(IllegalTransition::new(self, event))
            }
        }
    }
}

/// How far the newest operation on an instance has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum OperationState {
    Operating,
    Success,
    Failed,
}

/// The newest operation on an instance, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastOperation {
    /// The action's name, such as `RunInstances`.
    pub action: String,
    /// How far it has come.
    pub state: OperationState,
    /// The request that asked for it.
    pub request_id: String,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// A size of machine that can be launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Such as `S5.MEDIUM4`.
    pub name: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// What a machine of it costs.
    #[serde(default)]
    pub price: Price,
}

impl InstanceType {
    /// The series that it belongs to: what stands before the size.
    pub fn family(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// A password for a user of the guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPassword {
    /// Whose.
    pub user: String,
    /// The password.
    pub secret: String,
}

/// Written without the secret, so that no log holds it.
impl std::fmt::Debug for GuestPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What the guest is to find at its next start, because its owner changed it since the last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestChange {
    /// The newest request that asked for it: a guest that knows this one has carried the change out.
    pub request_id: String,
    /// Users whose passwords are set.
    pub passwords: Vec<GuestPassword>,
    /// Public keys that no longer open the guest.
    pub former_keys: Vec<String>,
    /// Whether passwords open the guest's SSH; as it is, where absent.
    pub password_login: Option<bool>,
}

/// What a guest gets at its first boot besides what is in its image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    /// Names of packages, as the guest's own package manager knows them.
    pub packages: Vec<String>,
    /// A script that is run afterwards.
    pub script: Option<String>,
}

impl Components {
    /// Whether there is nothing to get.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.script.is_none()
    }
}

/// What the guest is told at its first boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSettings {
    /// The guest's host name.
    pub hostname: String,
    /// The password of the default user, if one is set.
    pub password: Option<String>,
    /// Key pairs whose public keys the default user accepts.
    pub key_pairs: Vec<KeyPairId>,
    /// What the launching user passed for cloud-init, base64-encoded as it came.
    pub user_data_base64: Option<String>,
    /// Why the guest does not find its network file, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_file_missing: Option<String>,
    /// What it gets besides what is in its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<Components>,
    /// What it is to be told at its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<GuestChange>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its identifier, never used again.
    pub id: InstanceId,
    /// The region it is in.
    pub region: RegionId,
    /// The zone it is in.
    pub zone: ZoneId,
    /// Whose it is.
    pub owner: Uin,
    /// What its owner calls it.
    pub name: String,
    /// Where it is in its life.
    pub state: InstanceState,
    /// The image that its system disk was made from.
    pub image: ImageId,
    /// The content that its system disk started as. It outlives the image.
    pub base_manifest: ManifestKey,
    /// Its system disk.
    pub system_disk: DiskId,
    /// The size of its system disk as the guest sees it, in bytes.
    pub system_disk_bytes: u64,
    /// The size of its machine.
    pub instance_type: InstanceType,
    /// Its address on its own network.
    pub private_address: Ipv4Addr,
    /// The loopback port that leads to the guest's SSH, where its network is QEMU's own.
    pub ssh_port: Option<u16>,
    /// A number that no other living instance has; its process identity and MAC address are made from it.
    pub ordinal: u32,
    /// What the guest is told at its first boot.
    pub settings: LaunchSettings,
    /// The newest operation on it.
    pub last_operation: LastOperation,
    /// The unfinished task that holds it, if any. While one does, no other operation is accepted.
    pub task: Option<TaskId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_runs_stops_starts_and_ends() {
        use InstanceEvent as E;
        let path = [
            (E::Ran, InstanceState::Running),
            (E::StopRequested, InstanceState::Stopping),
            (E::Stopped, InstanceState::Stopped),
            (E::StartRequested, InstanceState::Starting),
            (E::Ran, InstanceState::Running),
            (E::RebootRequested, InstanceState::Rebooting),
            (E::Ran, InstanceState::Running),
            (E::TerminateRequested, InstanceState::Terminating),
            (E::Gone, InstanceState::Terminated),
        ];
        let mut state = InstanceState::Pending;
        for (event, expected) in path {
            state = state.transition(event).expect("a step of a normal life");
            assert_eq!(state, expected);
        }
        assert!(state.transition(E::TerminateRequested).is_err());
    }

    #[test]
    fn a_stopped_instance_cannot_be_stopped_again() {
        assert!(InstanceState::Stopped.transition(InstanceEvent::StopRequested).is_err());
        assert!(InstanceState::Pending.transition(InstanceEvent::RebootRequested).is_err());
    }

    #[test]
    fn a_reinstallation_is_a_launch_again_and_needs_an_instance_at_rest() {
        for state in [InstanceState::Running, InstanceState::Stopped, InstanceState::LaunchFailed] {
            assert_eq!(state.transition(InstanceEvent::ResetRequested), Ok(InstanceState::Pending));
        }
        for state in [InstanceState::Pending, InstanceState::Stopping, InstanceState::Terminated] {
            assert!(state.transition(InstanceEvent::ResetRequested).is_err(), "{state:?}");
        }
    }
}
