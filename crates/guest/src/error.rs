//! What can keep a part of a disk from being looked at. Damage that only says what the disk is like becomes a
//! [`crate::Gap`] of the inspection; only a failing device ends one.

use std::io;

use crate::budget::Exhausted;

/// Why something on a disk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device below failed.
    #[error(transparent)]
    Device(#[from] kiln_block::Error),
    /// The inspection has used up what it may use.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// What is stored is not well formed.
    #[error("damaged: {0}")]
    Damaged(String),
    /// What is stored uses a feature that is not read here.
    #[error("not supported: {0}")]
    Unsupported(String),
}

/// The result of looking at something.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }

    /// The form in which it passes through readers that speak `std::io`.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What [`Error::into_io`] hid, or damage where the reader itself complained.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(foreign) => Self::damaged(foreign),
        }
    }
}
