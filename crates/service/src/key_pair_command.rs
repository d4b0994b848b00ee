//! Commands on key pairs, and what they answer.

use kiln_model::{InstanceId, KeyPair, KeyPairId, Tag};

use crate::Filter;

/// What is asked about key pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the action of that name")]
pub enum KeyPairCommand {
    Create { name: String, tags: Vec<Tag> },
    Import { name: String, public_key: String, tags: Vec<Tag> },
    Modify { key_pair: KeyPairId, name: Option<String>, description: Option<String> },
    Describe { key_pairs: Vec<KeyPairId>, filters: Vec<Filter> },
    Delete { key_pairs: Vec<KeyPairId> },
}

impl KeyPairCommand {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Describe { .. })
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        match self {
            Self::Create { name, .. } => ("CreateKeyPair", name.clone()),
            Self::Import { name, .. } => ("ImportKeyPair", name.clone()),
            Self::Modify { key_pair, .. } => ("ModifyKeyPairAttribute", key_pair.to_string()),
            Self::Describe { .. } => ("DescribeKeyPairs", String::new()),
            Self::Delete { key_pairs } => {
                ("DeleteKeyPairs", key_pairs.iter().map(KeyPairId::as_str).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

/// A key pair with what its API form needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SeenKeyPair {
    pub pair: KeyPair,
    /// The instances that it opens.
    pub instances: Vec<InstanceId>,
    pub tags: Vec<Tag>,
}

/// The secret half of a key pair, in PEM. Written without it, so that no log holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(pub String);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}
