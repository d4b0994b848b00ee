//! Block devices: the one interface of the data plane.
//!
//! A [`BlockDevice`] is a disk that can be read at any position from any thread, and that knows which of its
//! ranges hold data. Formats, the chunk store and the NBD server meet only here: they know neither image names
//! nor accounts nor HTTP. Deliberately absent: asynchronous reads (callers own their threads) and caching.

#![deny(unsafe_code)]

mod cow;
mod device;
mod digest;
mod extent;
mod file;
mod memory;

pub use cow::CowDevice;
pub use device::{BlockDevice, Error, Result, WritableBlockDevice, check_bounds};
pub use digest::{Digest, ParseDigestError};
pub use extent::{Extent, ExtentKind, Extents, extents};
pub use file::FileDevice;
pub use memory::MemoryDevice;

/// The unit in which guests address a disk, in bytes. Every image's virtual size is a multiple of it.
pub const SECTOR_BYTES: u64 = 512;
