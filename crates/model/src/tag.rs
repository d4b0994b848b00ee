//! Tags: an account's own notes on its resources, a key and a value each.

use serde::{Deserialize, Serialize};

use crate::{DiskId, ImageId, InstanceId, KeyPairId, SnapshotId};

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// Something that can carry tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Resource {
    Image(ImageId),
    Instance(InstanceId),
    Disk(DiskId),
    Snapshot(SnapshotId),
    KeyPair(KeyPairId),
}

impl Resource {
    /// Its identifier.
    pub fn id(&self) -> &str {
        match self {
            Self::Image(id) => id.as_str(),
            Self::Instance(id) => id.as_str(),
            Self::Disk(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
            Self::KeyPair(id) => id.as_str(),
        }
    }
}
