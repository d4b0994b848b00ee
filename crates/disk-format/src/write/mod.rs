//! Writing a disk as an image file: raw, qcow2, VHD and VMDK, in one pass over the disk and in bounded memory.
//!
//! An image begins with tables, and where things lie is known only once everything was read, compressed and found to
//! be zero or not. A raw disk, a fixed VHD and a streamed VMDK can do without; a qcow2's L1 table and a dynamic
//! VHD's block table cannot move to the end of the file, because readers find them through the first bytes. So those
//! formats have a *head* of known length whose contents come last, and a [`Sink`] is something that can wait for
//! them: a file ([`FileSink`]), or a multipart upload that keeps its first part back. Where neither is at hand,
//! [`write_stream`] makes two passes: the first finds the head, the second writes it and then the rest.
//!
//! Stretches of zeros are found by content as well as by the disk's extents, and are not stored.
//!
//! The disk must not change meanwhile. Not here: making what was written durable.

mod pump;
mod qcow2;
mod raw;
mod sink;
mod vhd;
mod vmdk;

use std::io::Write;
use std::ops::ControlFlow;

use kiln_block::{BlockDevice, SECTOR_BYTES};

pub use self::sink::{FileSink, Sink};
use self::sink::{Output, Rehearsal, Replay};
use crate::{Error, Result};

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// The disk's bytes; sparse where the sink is a file.
    Raw,
    /// qcow2, version 3, 64 KiB clusters.
    Qcow2,
    /// The same with clusters compressed by Zstandard.
    Qcow2Zstd,
    /// VHD that holds only the blocks in use.
    VhdDynamic,
    /// VHD that is the disk's bytes and a footer.
    VhdFixed,
    /// VMDK of the kind `streamOptimized`: compressed, what VMware imports.
    Vmdk,
}

impl OutputFormat {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Raw, Self::Qcow2, Self::Qcow2Zstd, Self::VhdDynamic, Self::VhdFixed, Self::Vmdk];

    /// The size of the largest disk that the format holds, in bytes.
    pub fn disk_bytes_max(self) -> u64 {
        match self {
            Self::Raw => u64::MAX,
            Self::Qcow2 | Self::Qcow2Zstd => crate::qcow2::layout::SIZE_BYTES_MAX,
            Self::VhdDynamic | Self::VhdFixed => vhd::SIZE_BYTES_MAX,
            Self::Vmdk => vmdk::SIZE_BYTES_MAX,
        }
    }

    /// Whether the format has a head, so that [`write_stream`] needs two passes.
    pub fn has_head(self) -> bool {
        matches!(self, Self::Qcow2 | Self::Qcow2Zstd | Self::VhdDynamic)
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Length of the image file in bytes.
    pub file_bytes: u64,
    /// How many bytes of the disk it stores, the rest being zeros; counted in whole clusters, blocks or grains.
    pub stored_bytes: u64,
}

/// Told from time to time how many bytes of the disk are done, which never becomes less; may stop the work.
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Writes the disk that `device` holds to `sink`.
///
/// # Errors
/// [`Error::InvalidSize`] where the format cannot hold a disk of this size, [`Error::Cancelled`] where `progress`
/// said so, else what the device or the sink says. What was written so far is no image then.
pub fn write(
    device: &dyn BlockDevice,
    format: OutputFormat,
    sink: &mut dyn Sink,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let size = device.size_bytes();
    let uneven = size == 0 || !size.is_multiple_of(SECTOR_BYTES);
    if format != OutputFormat::Raw && uneven || size > format.disk_bytes_max() {
        return Err(Error::InvalidSize(size));
    }
    let output = Output::new(sink);
    match format {
        OutputFormat::Raw => raw::write(device, output, progress),
        OutputFormat::Qcow2 => qcow2::write(device, output, false, progress),
        OutputFormat::Qcow2Zstd => qcow2::write(device, output, true, progress),
        OutputFormat::VhdDynamic => vhd::write_dynamic(device, output, progress),
        OutputFormat::VhdFixed => vhd::write_fixed(device, output, progress),
        OutputFormat::Vmdk => vmdk::write(device, output, progress),
    }
}

/// Writes the disk to something that can only be written from its beginning to its end. Formats with a head take
/// two passes over the disk; `progress` is told half of what either has done.
///
/// # Errors
/// As [`write()`].
pub fn write_stream(
    device: &dyn BlockDevice,
    format: OutputFormat,
    stream: &mut dyn Write,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    if !format.has_head() {
        return write(device, format, &mut Replay::new(stream, Vec::new()), progress);
    }
    let mut rehearsal = Rehearsal::default();
    write(device, format, &mut rehearsal, &mut |done| progress(done / 2))?;
    let half = device.size_bytes() / 2;
    let mut replay = Replay::new(stream, rehearsal.head);
    write(device, format, &mut replay, &mut |done| progress(half + done / 2))
}
