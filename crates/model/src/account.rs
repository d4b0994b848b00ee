//! Accounts, the keys that sign their requests, and the key pairs that open their instances.

use crate::id::random_secret;
use crate::{AppId, KeyPairId, SecretId, Timestamp, Uin};

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
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key that signs API requests.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The half that requests carry.
    pub secret_id: SecretId,
    /// The half that signs. Kept as it is, since verifying a signature needs it.
    pub secret_key: String,
    /// Whose key it is.
    pub uin: Uin,
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
            enabled: true,
            created_at,
        }
    }
}

/// Written without the secret, so that no log holds it.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("secret_id", &self.secret_id)
            .field("uin", &self.uin)
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
