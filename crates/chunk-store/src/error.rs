//! What can go wrong in a chunk store, by cause.

use std::io;

use crate::{LedgerError, ObjectKey, PackId};

/// The crate's error. Its kinds are causes; what a user is told is decided above.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{0} does not exist")]
    NotFound(ObjectKey),
    /// An object of that key is there already: a key was used twice.
    #[error("{0} exists already")]
    AlreadyExists(ObjectKey),
    /// No space, or no quota, left for the store. Nothing of the object stays behind.
    #[error("the store is full: {key} could not be written")]
    StorageFull {
        /// The object that was being written.
        key: ObjectKey,
        /// What the system said.
        source: io::Error,
    },
    /// An object is not well formed, or not what was written.
    #[error("{key} is corrupt at byte {offset}: {reason}")]
    Corrupt {
        /// The object.
        key: ObjectKey,
        /// Where in the object, in bytes.
        offset: u64,
        /// What was found, as a sentence without its full stop.
        reason: String,
    },
    /// The storage below failed.
    #[error("{what}: {source}")]
    Storage {
        /// What was attempted, with the object or directory it was attempted on.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk that was to be stored could not be read.
    #[error("the source disk could not be read: {0}")]
    Source(#[source] kiln_block::Error),
    /// A pack that the work depends on may be deleted at any time, or is gone.
    #[error("packs/{0} is not live")]
    PackNotLive(PackId),
    /// A disk has more chunks, packs or bytes than the format can describe.
    #[error("{what}: {found} is more than the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was found.
        found: u64,
    },
    /// An overlay that is smaller than the disk it lies on.
    #[error("the overlay has {overlay_bytes} bytes, its base {base_bytes}: an overlay cannot shrink a disk")]
    OverlayShrinks {
        /// Size of the overlay in bytes.
        overlay_bytes: u64,
        /// Size of the base in bytes.
        base_bytes: u64,
    },
    /// The job's lease ran out; another worker may go on in its place.
    #[error("the job's lease was lost")]
    LeaseLost,
    /// The job was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The ledger failed.
    #[error("the ledger failed: {0}")]
    Ledger(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of a chunk store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the system while an object was being written.
    pub(crate) fn writing(key: ObjectKey, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull { key, source },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists(key),
            _ => Self::Storage { what: format!("writing {key}"), source },
        }
    }

    /// An error of the system while an object was being read, from `offset` on.
    pub(crate) fn reading(key: ObjectKey, offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(key),
            io::ErrorKind::UnexpectedEof => {
                Self::Corrupt { key, offset, reason: "the object ends too early".into() }
            }
            _ => Self::Storage { what: format!("reading {key}"), source },
        }
    }

    pub(crate) fn corrupt(key: ObjectKey, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { key, offset, reason: reason.into() }
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::LeaseLost => Self::LeaseLost,
            LedgerError::Cancelled => Self::Cancelled,
            LedgerError::Failed(source) => Self::Ledger(source),
        }
    }
}
