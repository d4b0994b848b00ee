//! Object storage as the chunk store sees it: immutable objects under random keys.
//!
//! Not a file system: there is no overwriting, no appending and no renaming, so a directory and a bucket can both
//! stand behind [`ObjectStore`].

use std::fmt;
use std::str::FromStr;

use crate::{ManifestId, PackId, ParseIdError, Result};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Chunks.
    Pack,
    /// The description of a disk.
    Manifest,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Pack, Self::Manifest];

    /// The first part of the keys of this kind, without the slash.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Pack => "packs",
            Self::Manifest => "manifests",
        }
    }
}

/// The key of an object: `packs/<id>` or `manifests/<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// A pack.
    Pack(PackId),
    /// A manifest.
    Manifest(ManifestId),
}

impl ObjectKey {
    /// What the key is the key of.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Pack(_) => ObjectKind::Pack,
            Self::Manifest(_) => ObjectKind::Manifest,
        }
    }

    /// The key's second part: 32 hexadecimal digits.
    pub fn id_text(&self) -> String {
        match self {
            Self::Pack(id) => id.to_string(),
            Self::Manifest(id) => id.to_string(),
        }
    }

    /// The key of that kind and id.
    ///
    /// # Errors
    /// Where `id` is not 32 hexadecimal digits.
    pub fn from_parts(kind: ObjectKind, id: &str) -> Result<Self, ParseIdError> {
        Ok(match kind {
            ObjectKind::Pack => Self::Pack(id.parse()?),
            ObjectKind::Manifest => Self::Manifest(id.parse()?),
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind().prefix(), self.id_text())
    }
}

impl FromStr for ObjectKey {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, id) = text.split_once('/').ok_or(ParseIdError)?;
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.prefix() == prefix).ok_or(ParseIdError)?;
        Self::from_parts(kind, id)
    }
}

impl From<PackId> for ObjectKey {
    fn from(id: PackId) -> Self {
        Self::Pack(id)
    }
}

impl From<ManifestId> for ObjectKey {
    fn from(id: ManifestId) -> Self {
        Self::Manifest(id)
    }
}

/// Where objects are kept. Synchronous; any number of threads may call it at once.
pub trait ObjectStore: Send + Sync {
    /// Begins an object. Nothing is visible under `key` before [`ObjectWriter::finish`] has returned.
    ///
    /// # Errors
    /// [`crate::Error::StorageFull`] or what the storage says.
    fn create(&self, key: ObjectKey) -> Result<Box<dyn ObjectWriter>>;

    /// Fills `buf` with the object's bytes at `offset`.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`]; [`crate::Error::Corrupt`] where the object ends before the range does.
    fn read_exact_at(&self, key: ObjectKey, buf: &mut [u8], offset: u64) -> Result<()>;

    /// The object's length in bytes.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], or what the storage says.
    fn len(&self, key: ObjectKey) -> Result<u64>;

    /// Removes the object. One that is not there is no error, so a deletion can be repeated.
    ///
    /// # Errors
    /// What the storage says.
    fn delete(&self, key: ObjectKey) -> Result<()>;

    /// The keys of all finished objects of a kind, in no order. What is no object's name is passed over.
    ///
    /// # Errors
    /// What the storage says.
    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectKey>>;
}

/// An object being written, front to back. Dropped without [`ObjectWriter::finish`], it leaves nothing.
pub trait ObjectWriter: Send {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`crate::Error::StorageFull`] or what the storage says; the object can then only be dropped.
    fn write_all(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the object durable and then visible, both before it returns.
    ///
    /// # Errors
    /// [`crate::Error::AlreadyExists`], [`crate::Error::StorageFull`], or what the storage says; nothing is visible
    /// then, unless the failure was that of the last step, telling the disk of the new name.
    fn finish(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_paths_are_no_keys() {
        let key = ObjectKey::Manifest(ManifestId::random());
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["packs", "packs/", "packs/../x", "other/00000000000000000000000000000000"] {
            assert_eq!(text.parse::<ObjectKey>(), Err(ParseIdError), "{text}");
        }
    }
}
