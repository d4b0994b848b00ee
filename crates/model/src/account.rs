//! Accounts, the keys that sign their requests, and the key pairs that open their instances.

use crate::id::random_secret;
use crate::{AppId, Contact, KeyPairId, SecretId, Timestamp, Uin};

const SECRET_KEY_CHARS: usize = 40;

/// What an account may do beyond its own resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs the service: creates accounts, publishes images, sees everything.
    Operator,
    /// A customer's main account.
    Main,
}

/// A main account. It owns images, instances and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uin: Uin,
    /// The number its buckets carry.
    pub app_id: AppId,
    /// What people call it.
    pub nickname: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may import images.
    pub may_import: bool,
    /// Where its owner is reached.
    pub contact: Contact,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a sub-account may do in its main account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubAccountRole {
    /// Whatever its main account may, but for managing accounts and others' keys, and sharing.
    Full,
    /// Look, and change nothing.
    ReadOnly,
}

/// A collaborator of a main account, with keys of its own. It owns nothing: what it makes is the main account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAccount {
    /// Its number. No main account has the same.
    pub uin: Uin,
    /// The main account that it belongs to.
    pub owner: Uin,
    /// Unique among the main account's sub-accounts.
    pub name: String,
    /// What it may do.
    pub role: SubAccountRole,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How far an account has come that asked for the permission to import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationState {
    /// The operator has not decided yet.
    Pending,
    /// The operator gave the permission.
    Granted,
    /// The operator did not give it, or took it back.
    Refused,
}

/// What happens to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationEvent {
    /// The account asks, or asks again after a refusal.
    Applied,
    /// The operator gives the permission.
    Granted,
    /// The operator does not give it, or takes it back.
    Refused,
}

impl ApplicationState {
    /// The state after an event; `None` where it cannot happen in this one.
    pub fn transition(self, event: ApplicationEvent) -> Option<Self> {
        match (self, event) {
            (Self::Refused, ApplicationEvent::Applied) => Some(Self::Pending),
            (Self::Pending | Self::Granted, ApplicationEvent::Applied) => None,
            (_, ApplicationEvent::Granted) => Some(Self::Granted),
            (_, ApplicationEvent::Refused) => Some(Self::Refused),
        }
    }
}

/// An account's newest application for the permission to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportApplication {
    /// Who applies.
    pub account: Uin,
    /// Why, in its own words.
    pub reason: String,
    /// How far it has come.
    pub state: ApplicationState,
    /// When it was made.
    pub applied_at: Timestamp,
    /// When the operator decided.
    pub decided_at: Option<Timestamp>,
    /// What the operator said with the decision.
    pub answer: String,
}

/// A key that signs API requests.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The half that requests carry.
    pub secret_id: SecretId,
    /// The half that signs. Kept as it is, since verifying a signature needs it.
    pub secret_key: String,
    /// The main account that it signs for.
    pub uin: Uin,
    /// The sub-account whose key it is; without one, it is the main account's own.
    pub sub_account: Option<Uin>,
    /// A disabled key signs nothing.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl ApiKey {
    /// A new, enabled key of an account.
    pub fn random(uin: Uin, created_at: Timestamp) -> Self {
        Self {
            secret_id: SecretId::random(),
            secret_key: random_secret(SECRET_KEY_CHARS),
            uin,
            sub_account: None,
            enabled: true,
            created_at,
        }
    }

    /// A new, enabled key of a sub-account.
    pub fn random_of(sub_account: &SubAccount, created_at: Timestamp) -> Self {
        Self { sub_account: Some(sub_account.uin), ..Self::random(sub_account.owner, created_at) }
    }

    /// The account or sub-account that signs with it.
    pub fn holder(&self) -> Uin {
        self.sub_account.unwrap_or(self.uin)
    }
}

/// Written without the secret, so that no log holds it.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("secret_id", &self.secret_id)
            .field("uin", &self.holder())
            .finish_non_exhaustive()
    }
}

/// A public key that is put into instances, for logging in by SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Its identifier.
    pub id: KeyPairId,
    /// Whose it is.
    pub owner: Uin,
    /// Unique among the owner's key pairs.
    pub name: String,
    /// One line in OpenSSH's `authorized_keys` form.
    pub public_key: String,
    /// What its owner says about it.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::{ApplicationEvent::*, ApplicationState as State};

    #[test]
    fn who_has_applied_or_has_the_permission_does_not_apply_again() {
        assert_eq!(State::Pending.transition(Applied), None);
        assert_eq!(State::Granted.transition(Applied), None);
        assert_eq!(State::Refused.transition(Applied), Some(State::Pending));
        for state in [State::Pending, State::Granted, State::Refused] {
            assert_eq!(state.transition(Granted), Some(State::Granted));
            assert_eq!(state.transition(Refused), Some(State::Refused));
        }
    }
}
