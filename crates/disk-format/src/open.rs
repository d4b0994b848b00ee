//! Opening a standalone image: detection, then the format's own reader.
//!
//! Everything that makes an image unacceptable as a file is refused here; what its disk holds is not looked at.

use std::sync::Arc;

use kiln_block::BlockDevice;

use crate::{Error, Format, Result, detect, qcow2, raw, vhd, vmdk};

/// How much an image may claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest virtual disk, in bytes.
    pub max_virtual_size_bytes: u64,
    /// Most bytes of mapping tables that one image may make its reader read. They are never held all at once.
    pub max_table_bytes: u64,
}

impl Default for Limits {
    /// 16 TiB of disk, 1 GiB of tables: what the densest tables of a full 50 GiB disk need, and as much as can be
    /// checked in about a second.
    fn default() -> Self {
        Self { max_virtual_size_bytes: 16 << 40, max_table_bytes: 1 << 30 }
    }
}

/// A standalone image and the disk that it holds.
#[derive(Clone)]
pub struct OpenedImage {
    /// What the file is.
    pub format: Format,
    /// Size of the disk, a multiple of 512 bytes.
    pub virtual_size_bytes: u64,
    /// The disk as its guest sees it.
    pub device: Arc<dyn BlockDevice>,
}

impl std::fmt::Debug for OpenedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedImage")
            .field("format", &self.format)
            .field("virtual_size_bytes", &self.virtual_size_bytes)
            .finish_non_exhaustive()
    }
}

/// Opens the image that `device` holds.
///
/// # Errors
/// As [`detect`]; [`Error::UnsupportedFormat`] for formats that are only recognised; else the cause for which the
/// image is unacceptable.
pub fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<OpenedImage> {
    let format = detect(&device)?;
    let device: Arc<dyn BlockDevice> = match format {
        Format::Raw => raw::open(device, limits)?,
        Format::Qcow2 => Arc::new(qcow2::Image::open(device, limits)?),
        Format::Vhd => vhd::open(device, limits)?,
        Format::Vmdk => vmdk::open(device, limits)?,
        other => return Err(Error::UnsupportedFormat(other)),
    };
    Ok(OpenedImage { format, virtual_size_bytes: device.size_bytes(), device })
}

/// Refuses a virtual disk that is larger than the limit.
pub(crate) fn check_virtual_size(size: u64, limits: &Limits) -> Result<()> {
    let limit = limits.max_virtual_size_bytes;
    if size > limit { Err(Error::TooLarge { what: "the virtual disk", size, limit }) } else { Ok(()) }
}
