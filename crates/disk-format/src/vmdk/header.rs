//! The header of a sparse VMDK file, checked before its tables are read.
//!
//! A file that was written as a stream has a second header at its end, because only then was it known where the
//! grain directory is; that one counts. Invariant: a header that passed [`Header::check`] states a disk and tables
//! of possible sizes, and a directory within the file.

use kiln_block::{BlockDevice, SECTOR_BYTES};

use super::malformed;
use crate::field::{le16, le32, le64};
use crate::{Error, Format, Result};

/// What a sparse file begins with.
pub(super) const MAGIC: &[u8; 4] = b"KDMV";

/// Bytes of a header that have a meaning.
const HEADER_BYTES: usize = 79;
/// Version 2 brought grains known to be zero, version 3 the tracking of changes.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;

const FLAG_NEWLINES: u32 = 1 << 0;
const FLAG_REDUNDANT_TABLES: u32 = 1 << 1;
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;
const FLAGS_KNOWN: u32 =
    FLAG_NEWLINES | FLAG_REDUNDANT_TABLES | FLAG_ZERO_GRAINS | FLAG_COMPRESSED | FLAG_MARKERS;

/// Characters that a transfer as text would have changed, and where they stand.
const NEWLINES: &[u8; 4] = b"\n \r\n";
const NEWLINES_AT: usize = 73;

const COMPRESSION_NONE: u16 = 0;
const COMPRESSION_DEFLATE: u16 = 1;

/// The directory's place where only the second header knows it.
const DIRECTORY_AT_END: u64 = u64::MAX;
/// The second header lies before the last sector, behind its marker.
const FOOTER_SECTORS: u64 = 3;
const MARKER_END: u32 = 0;
const MARKER_FOOTER: u32 = 3;

/// Where an embedded descriptor begins, in sectors. QEMU looks for parents there whatever the header says.
const DESCRIPTOR_SECTOR: u64 = 1;
/// 16 MiB: more than any program makes, and what a compressed grain may take in memory.
const GRAIN_SECTORS_MAX: u64 = 32768;
/// QEMU's own bound, and the only value that VMware writes.
const TABLE_ENTRIES_MAX: u32 = 512;
/// QEMU's own bound on the grain directory.
const DIRECTORY_BYTES_MAX: u64 = 32 << 20;

/// What readers need of a header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    flags: u32,
    /// Size of the disk in sectors.
    pub(super) capacity: u64,
    /// Sectors of a grain, the piece that is mapped by itself.
    pub(super) grain_sectors: u64,
    descriptor_sector: u64,
    descriptor_sectors: u64,
    /// Entries of a grain table.
    pub(super) table_entries: u32,
    redundant_sector: u64,
    /// Where the grain directory begins, in sectors.
    directory_sector: u64,
    /// The sectors before the first grain.
    overhead_sectors: u64,
    compression: u16,
    /// Where the header itself lies, when it is the second one.
    pub(super) footer_at: Option<u64>,
}

impl Header {
    /// Reads the fields of a sector that begins with the magic, and refuses what is not known here.
    pub(super) fn parse(sector: &[u8]) -> Result<Self> {
        if sector.len() < HEADER_BYTES {
            return Err(malformed("the file ends within its header"));
        }
        let version = le32(sector, 4);
        if !VERSIONS.contains(&version) {
            return Err(Error::UnsupportedVersion { format: Format::Vmdk, version });
        }
        let flags = le32(sector, 8);
        if flags & !FLAGS_KNOWN != 0 {
            let bits = u64::from(flags & !FLAGS_KNOWN);
            return Err(Error::UnsupportedFeatures { format: Format::Vmdk, bits });
        }
        if flags & FLAG_NEWLINES != 0 && !sector[NEWLINES_AT..].starts_with(NEWLINES) {
            return Err(malformed("its line ends were changed: transfer it as binary, not as text"));
        }
        Ok(Self {
            flags,
            capacity: le64(sector, 12),
            grain_sectors: le64(sector, 20),
            descriptor_sector: le64(sector, 28),
            descriptor_sectors: le64(sector, 36),
            table_entries: le32(sector, 44),
            redundant_sector: le64(sector, 48),
            directory_sector: le64(sector, 56),
            overhead_sectors: le64(sector, 64),
            compression: le16(sector, 77),
            footer_at: None,
        })
    }

    /// Where the embedded descriptor lies: first byte and length.
    pub(super) fn descriptor_place(&self) -> Result<(u64, u64)> {
        if self.descriptor_sector == 0 || self.descriptor_sectors == 0 {
            return Err(malformed("it has no descriptor, so it is a part of a disk in several files"));
        }
        if self.descriptor_sector != DESCRIPTOR_SECTOR {
            return Err(malformed(format!("its descriptor at sector {}", self.descriptor_sector)));
        }
        Ok((SECTOR_BYTES, self.descriptor_sectors.saturating_mul(SECTOR_BYTES)))
    }

    /// The header that counts: this one, or the one at the end that it leads to.
    pub(super) fn effective(self, device: &dyn BlockDevice) -> Result<Self> {
        if self.directory_sector != DIRECTORY_AT_END {
            return Ok(self);
        }
        let bad = || malformed("the header at its end is missing, so it is not complete");
        let sectors = device.size_bytes().div_ceil(SECTOR_BYTES);
        let marker_at = sectors.checked_sub(FOOTER_SECTORS).ok_or_else(bad)? * SECTOR_BYTES;
        let mut end = [0; (FOOTER_SECTORS * SECTOR_BYTES) as usize];
        let stored = (device.size_bytes() - marker_at) as usize;
        device.read_exact_at(&mut end[..stored], marker_at)?;
        let sector = SECTOR_BYTES as usize;
        let (marker, footer, last) = (&end[..sector], &end[sector..2 * sector], &end[2 * sector..]);
        let is_marker = |marker: &[u8], kind| le32(marker, 8) == 0 && le32(marker, 12) == kind;
        if !is_marker(marker, MARKER_FOOTER) || !footer.starts_with(MAGIC) {
            return Err(bad());
        }
        if le64(last, 0) != 0 || !is_marker(last, MARKER_END) {
            return Err(bad());
        }
        let footer = Self::parse(footer)?;
        if footer.directory_sector == DIRECTORY_AT_END {
            return Err(malformed("neither of its headers says where its tables are"));
        }
        Ok(Self { footer_at: Some(marker_at + SECTOR_BYTES), ..footer })
    }

    /// Checks the sizes and places that the header states.
    pub(super) fn check(&self, file_bytes: u64) -> Result<()> {
        match (self.compression, self.flags & FLAG_COMPRESSED != 0, self.flags & FLAG_MARKERS != 0) {
            (COMPRESSION_NONE, false, _) | (COMPRESSION_DEFLATE, true, true) => {}
            (other, ..) => {
                return Err(malformed(format!("compression {other} does not agree with the flags")));
            }
        }
        let grain = self.grain_sectors;
        if !grain.is_power_of_two() || grain > GRAIN_SECTORS_MAX {
            return Err(malformed(format!("grains of {grain} sectors")));
        }
        if !(1..=TABLE_ENTRIES_MAX).contains(&self.table_entries) {
            return Err(malformed(format!("grain tables of {} entries", self.table_entries)));
        }
        if self.capacity == 0 {
            return Err(malformed("a disk without a sector"));
        }
        let size = self.directory_entries().saturating_mul(4);
        if size > DIRECTORY_BYTES_MAX {
            let limit = DIRECTORY_BYTES_MAX;
            return Err(Error::TooLarge { what: "the grain directory", size, limit });
        }
        check_place("the grain directory", self.directory_sector, size, file_bytes)?;
        if self.flags & FLAG_REDUNDANT_TABLES != 0 {
            check_place("the redundant grain directory", self.redundant_sector, size, file_bytes)?;
        }
        check_place("the first grain", self.overhead_sectors, 0, file_bytes)
    }

    /// Size of the disk, or more than anybody allows.
    pub(super) fn size_bytes(&self) -> u64 {
        self.capacity.saturating_mul(SECTOR_BYTES)
    }

    /// How many grain tables the disk needs.
    pub(super) fn directory_entries(&self) -> u64 {
        self.capacity.div_ceil(u64::from(self.table_entries) * self.grain_sectors)
    }

    /// Where the grain directory begins, in bytes.
    pub(super) fn directory_at(&self) -> u64 {
        self.directory_sector * SECTOR_BYTES
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compression == COMPRESSION_DEFLATE
    }

    /// Whether a table may say that a grain is zero.
    pub(super) fn has_zero_grains(&self) -> bool {
        self.flags & FLAG_ZERO_GRAINS != 0
    }
}

/// Refuses `len` bytes at a sector where they do not lie within the file.
fn check_place(what: &'static str, sector: u64, len: u64, file_bytes: u64) -> Result<()> {
    let start = sector.saturating_mul(SECTOR_BYTES);
    match start.checked_add(len) {
        Some(end) if end <= file_bytes => Ok(()),
        _ => Err(Error::OutsideFile { what, offset: start }),
    }
}
