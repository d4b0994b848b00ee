//! The block device traits and their error.
//!
//! Invariant: a device's size never changes while it is open, and a read either fills the whole buffer or fails.

use std::io;
use std::sync::Arc;

use crate::Extent;

/// What can go wrong when a block device is read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The range does not lie within the device; a mistake of the caller.
    #[error("{len} bytes at {offset} lie outside the device of {size_bytes} bytes")]
    OutOfBounds {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        len: u64,
        /// The device's size.
        size_bytes: u64,
    },
    /// What is stored is not what was written, or not well formed.
    #[error("corrupt data at {offset}: {reason}")]
    Corrupt {
        /// Position on the device at which it was noticed, in bytes.
        offset: u64,
        /// What was found, as a sentence without its full stop.
        reason: String,
    },
    /// The operating system, or the storage below, failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of a block device operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A disk that can be read: positioned, synchronous, shared between threads.
pub trait BlockDevice: Send + Sync {
    /// The size of the disk in bytes, as its guest sees it.
    fn size_bytes(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`. Zero extents and holes read as zeros.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] where the range leaves the device, else what the storage says; the contents of `buf`
    /// are then unspecified.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// The extent that begins at `offset`: its kind, and how far that kind holds, up to `len` bytes.
    ///
    /// The answer begins at `offset`, is at least one byte and at most `len` bytes long; `len` is at least 1. It
    /// may end earlier than the kind does, so callers that want whole runs merge neighbours (see [`crate::extents`]).
    ///
    /// # Errors
    /// As for [`BlockDevice::read_exact_at`].
    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent>;
}

/// A disk that can also be written.
pub trait WritableBlockDevice: BlockDevice {
    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// As for [`BlockDevice::read_exact_at`]; which part was written is then unspecified.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// Returns once everything written before is durable.
    ///
    /// # Errors
    /// What the storage says.
    fn sync(&self) -> Result<()>;
}

impl<T: BlockDevice + ?Sized> BlockDevice for Arc<T> {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        (**self).extent_at(offset, len)
    }
}

impl<T: BlockDevice + ?Sized> BlockDevice for &T {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        (**self).extent_at(offset, len)
    }
}

/// Checks that `len` bytes at `offset` lie within a device of `size_bytes`.
///
/// # Errors
/// [`Error::OutOfBounds`] where they do not, also where the sum overflows.
pub fn check_bounds(offset: u64, len: u64, size_bytes: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size_bytes => Ok(()),
        _ => Err(Error::OutOfBounds { offset, len, size_bytes }),
    }
}
