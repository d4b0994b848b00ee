//! Dynamic VHD disks: a header, a table of blocks (the BAT), and the blocks, each behind a bitmap of its sectors.
//!
//! Invariants: the table's part that the disk needs is held whole; every block lies within the file, apart from all
//! others and from the file's own structures.

use std::sync::Arc;

use kiln_block::{BlockDevice, SECTOR_BYTES};

use super::{checksum, malformed, parent};
use crate::field::{be32, be64};
use crate::mapped::{Layout, Mapped, Place, Run};
use crate::occupied::Occupied;
use crate::{Error, Format, Limits, Result};

const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
const HEADER_BYTES: usize = 1024;
const CHECKSUM_AT: usize = 36;
/// The fields that only a differencing disk uses: the parent's identity and time, its name and its locators.
const PARENT_FIELDS: [std::ops::Range<usize>; 2] = [40..60, 64..768];
const VERSION_MAJOR: u32 = 1;
/// Longest table: 8 Mi blocks, four times what 2040 GiB have in blocks of the usual 2 MiB.
const BAT_BYTES_MAX: u64 = 32 << 20;
/// Smaller blocks have bitmaps of less than a byte, for which some readers expect a sector and QEMU expects none.
const BLOCK_BYTES_MIN: u32 = 4096;
/// The table's word for a block that is not in the file.
const UNALLOCATED: u32 = u32::MAX;

/// Opens the dynamic disk whose header lies at `header_at`.
pub(super) fn open(
    device: Arc<dyn BlockDevice>,
    size_bytes: u64,
    header_at: u64,
    footer_at: u64,
    limits: &Limits,
) -> Result<Arc<dyn BlockDevice>> {
    let header = Header::read(&device, header_at)?;
    let blocks = header.read_table(&device, size_bytes, limits)?;
    let occupied = Occupied::new(vec![
        ("the footer's copy", 0, SECTOR_BYTES),
        ("the dynamic disk header", header_at, header_at + HEADER_BYTES as u64),
        ("the block table", header.table_at, header.table_at + header.table_bytes()),
        ("the footer", footer_at, device.size_bytes()),
    ])?;
    blocks.verify(&occupied, device.size_bytes())?;
    Ok(Arc::new(Mapped::new(device, blocks)))
}

/// What readers need of the dynamic disk header.
struct Header {
    table_at: u64,
    entries: u32,
    block_bits: u32,
}

impl Header {
    fn read(device: &dyn BlockDevice, header_at: u64) -> Result<Self> {
        let what = "the dynamic disk header";
        let fits = header_at.checked_add(HEADER_BYTES as u64).is_some_and(|end| end <= device.size_bytes());
        if !fits {
            return Err(Error::OutsideFile { what, offset: header_at });
        }
        let mut header = [0; HEADER_BYTES];
        device.read_exact_at(&mut header, header_at)?;
        if !header.starts_with(HEADER_COOKIE) {
            return Err(malformed(format!("no dynamic disk header at {header_at}")));
        }
        if PARENT_FIELDS.iter().any(|field| header[field.clone()].iter().any(|byte| *byte != 0)) {
            return Err(parent());
        }
        if be32(&header, CHECKSUM_AT) != checksum(&header, CHECKSUM_AT) {
            return Err(malformed("a dynamic disk header with a wrong checksum"));
        }
        let version = be32(&header, 24);
        if version >> 16 != VERSION_MAJOR {
            return Err(Error::UnsupportedVersion { format: Format::Vhd, version });
        }
        let block_bytes = be32(&header, 32);
        if !block_bytes.is_power_of_two() || block_bytes < BLOCK_BYTES_MIN {
            return Err(malformed(format!("blocks of {block_bytes} bytes")));
        }
        let (table_at, entries) = (be64(&header, 16), be32(&header, 28));
        Ok(Self { table_at, entries, block_bits: block_bytes.trailing_zeros() })
    }

    fn table_bytes(&self) -> u64 {
        u64::from(self.entries) * 4
    }

    /// Reads the entries that the disk needs; the table may have more.
    fn read_table(&self, device: &dyn BlockDevice, size_bytes: u64, limits: &Limits) -> Result<Blocks> {
        let what = "the block table";
        let (size, limit) = (self.table_bytes(), limits.max_table_bytes.min(BAT_BYTES_MAX));
        if size > limit {
            return Err(Error::TooLarge { what, size, limit });
        }
        let needed = size_bytes.div_ceil(1 << self.block_bits);
        if needed > u64::from(self.entries) {
            let reason = format!("a block table of {} entries where the disk needs {needed}", self.entries);
            return Err(malformed(reason));
        }
        if !self.table_at.is_multiple_of(SECTOR_BYTES) {
            return Err(malformed(format!("{what} at {} does not begin a sector", self.table_at)));
        }
        if self.table_at.checked_add(size).is_none_or(|end| end > device.size_bytes()) {
            return Err(Error::OutsideFile { what, offset: self.table_at });
        }
        let mut bytes = vec![0; needed as usize * 4];
        device.read_exact_at(&mut bytes, self.table_at)?;
        let table = bytes.chunks_exact(4).map(|entry| be32(entry, 0)).collect();
        Ok(Blocks { size_bytes, block_bits: self.block_bits, table })
    }
}

/// The blocks of one disk.
struct Blocks {
    size_bytes: u64,
    block_bits: u32,
    /// The sector at which each block's bitmap begins, or [`UNALLOCATED`].
    table: Vec<u32>,
}

impl Blocks {
    /// Length of the bitmap before each block, whole sectors.
    fn bitmap_bytes(&self) -> u64 {
        let sectors = (1u64 << self.block_bits) / SECTOR_BYTES;
        sectors.div_ceil(8).next_multiple_of(SECTOR_BYTES)
    }

    fn verify(&self, occupied: &Occupied, file_bytes: u64) -> Result<()> {
        let what = "a block";
        let piece_bytes = self.bitmap_bytes() + (1 << self.block_bits);
        let mut sectors = Vec::new();
        for sector in self.table.iter().filter(|sector| **sector != UNALLOCATED) {
            let offset = u64::from(*sector) * SECTOR_BYTES;
            if offset + piece_bytes > file_bytes {
                return Err(Error::OutsideFile { what, offset });
            }
            sectors.push(*sector);
        }
        occupied.check_pieces(what, &mut sectors, piece_bytes)
    }
}

impl Layout for Blocks {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn run_at(&self, _file: &dyn BlockDevice, offset: u64, max_len: u64) -> kiln_block::Result<Run> {
        let index = (offset >> self.block_bits) as usize;
        let within = offset & ((1 << self.block_bits) - 1);
        let mut len = (1 << self.block_bits) - within;
        let place = match self.table[index] {
            UNALLOCATED => {
                // No further than the question goes: a small read must not look at a large table.
                let further = self.table[index + 1..].iter().take((max_len >> self.block_bits) as usize + 1);
                let holes = further.take_while(|entry| **entry == UNALLOCATED);
                len += (holes.count() as u64) << self.block_bits;
                Place::Hole
            }
            sector => Place::Stored { host: u64::from(sector) * SECTOR_BYTES + self.bitmap_bytes() + within },
        };
        Ok(Run { place, len: len.min(max_len) })
    }
}
