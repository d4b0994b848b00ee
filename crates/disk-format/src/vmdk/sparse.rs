//! The grains of a sparse VMDK: a directory of tables of sectors.
//!
//! Everything is checked when the file is opened: each table and each grain lies within the file and apart from all
//! others. Of compressed grains only the beginning is known then; each says how long it is and which part of the
//! disk it holds, and both are checked when it is read. The redundant tables are not looked at.

use std::sync::Arc;

use kiln_block::{BlockDevice, SECTOR_BYTES};

use super::header::Header;
use crate::cache::TableCache;
use crate::compressed::{CompressedClusters, Compression};
use crate::field::{le32, le64};
use crate::mapped::{Layout, Mapped, Place, Run};
use crate::occupied::Occupied;
use crate::{Error, Limits, Result};

/// Most bytes of grain tables kept for one image: with grains of 64 KiB they map 128 GiB.
const CACHE_BYTES: usize = 8 << 20;
/// Most bytes of grain tables: 2 TiB, the format's own bound, in grains of 64 KiB.
const TABLES_BYTES_MAX: u64 = 128 << 20;
/// An entry's word for a grain of zeros, where the header allows it.
const ZERO_GRAIN: u32 = 1;
/// What a grain is called in a refusal.
const GRAIN: &str = "a grain";
/// What precedes a compressed grain: its first sector on the disk, and its length.
const MARKER_BYTES: usize = 12;

/// Opens the disk that the header, which was checked, describes.
pub(super) fn open(
    device: Arc<dyn BlockDevice>,
    header: &Header,
    descriptor: (u64, u64),
    limits: &Limits,
) -> Result<Arc<dyn BlockDevice>> {
    let grains = Grains::read(&device, header)?;
    grains.verify(&device, header, descriptor, limits)?;
    Ok(Arc::new(Mapped::new(device, grains)))
}

/// The grains of one disk.
struct Grains {
    size_bytes: u64,
    grain_bytes: u64,
    table_entries: u64,
    zero_grains: bool,
    /// The sector of each grain table, 0 where there is none.
    directory: Vec<u32>,
    tables: TableCache<u32>,
    compressed: Option<CompressedClusters>,
}

impl Grains {
    fn read(device: &dyn BlockDevice, header: &Header) -> Result<Self> {
        let grain_bytes = header.grain_sectors * SECTOR_BYTES;
        let directory = read_entries(device, header.directory_at(), header.directory_entries() as usize)?;
        Ok(Self {
            size_bytes: header.size_bytes(),
            grain_bytes,
            table_entries: u64::from(header.table_entries),
            zero_grains: header.has_zero_grains(),
            directory,
            tables: TableCache::new(CACHE_BYTES),
            compressed: header
                .is_compressed()
                .then(|| CompressedClusters::new(Compression::Zlib, grain_bytes)),
        })
    }

    /// What a grain takes of the file at least: how long compressed ones are is not known before they are read.
    fn least_bytes(&self) -> u64 {
        if self.compressed.is_some() { SECTOR_BYTES } else { self.grain_bytes }
    }

    /// Length of the part of the disk that one table maps.
    fn table_span(&self) -> u64 {
        self.table_entries * self.grain_bytes
    }

    /// The entries of the table `index` that the disk needs.
    fn read_table(&self, file: &dyn BlockDevice, index: u64, sector: u32) -> kiln_block::Result<Vec<u32>> {
        let mapped = (self.size_bytes - index * self.table_span()).min(self.table_span());
        let needed = mapped.div_ceil(self.grain_bytes) as usize;
        read_entries(file, u64::from(sector) * SECTOR_BYTES, needed)
    }

    fn verify(
        &self,
        file: &dyn BlockDevice,
        header: &Header,
        descriptor: (u64, u64),
        limits: &Limits,
    ) -> Result<()> {
        let occupied = self.check_tables(file.size_bytes(), header, descriptor, limits)?;
        let mut sectors = Vec::new();
        for (index, sector) in self.directory.iter().enumerate().filter(|(_, sector)| **sector != 0) {
            let table = self.read_table(file, index as u64, *sector)?;
            self.check_grains(index as u64, &table, file.size_bytes(), &mut sectors)?;
        }
        occupied.check_pieces(GRAIN, &mut sectors, self.least_bytes())
    }

    /// Checks where the tables lie and returns all structures of the file.
    fn check_tables(
        &self,
        file_bytes: u64,
        header: &Header,
        descriptor: (u64, u64),
        limits: &Limits,
    ) -> Result<Occupied> {
        let directory_bytes = self.directory.len() as u64 * 4;
        let mut found = vec![
            ("the header", 0, SECTOR_BYTES),
            ("the descriptor", descriptor.0, descriptor.1),
            ("the grain directory", header.directory_at(), header.directory_at() + directory_bytes),
        ];
        if let Some(footer_at) = header.footer_at {
            found.push(("the second header", footer_at, footer_at + SECTOR_BYTES));
        }
        let (table_bytes, what) = (self.table_entries * 4, "a grain table");
        let limit = limits.max_table_bytes.min(TABLES_BYTES_MAX);
        let mut size = directory_bytes;
        for sector in self.directory.iter().filter(|sector| **sector != 0) {
            let offset = u64::from(*sector) * SECTOR_BYTES;
            if offset + table_bytes > file_bytes {
                return Err(Error::OutsideFile { what, offset });
            }
            size += table_bytes;
            if size > limit {
                return Err(Error::TooLarge { what: "the grain tables", size, limit });
            }
            found.push((what, offset, offset + table_bytes));
        }
        Occupied::new(found)
    }

    /// Checks that the grains of one table lie within the file, and adds where they begin.
    fn check_grains(&self, index: u64, table: &[u32], file_bytes: u64, sectors: &mut Vec<u32>) -> Result<()> {
        for (number, entry) in table.iter().enumerate() {
            let Place::Stored { host } = self.place(*entry) else { continue };
            let first = index * self.table_span() + number as u64 * self.grain_bytes;
            // Of the last grain only what the disk needs must be there.
            let needed = if self.compressed.is_some() {
                MARKER_BYTES as u64
            } else {
                self.grain_bytes.min(self.size_bytes - first)
            };
            if host + needed > file_bytes {
                return Err(Error::OutsideFile { what: GRAIN, offset: host });
            }
            sectors.push(*entry);
        }
        // More than fit into the file must share its bytes; they need not all be looked at.
        let most = file_bytes / self.least_bytes() + 1;
        let too_many = sectors.len() as u64 > most;
        if too_many { Err(Error::Overlap { what: GRAIN, offset: 0 }) } else { Ok(()) }
    }

    /// What an entry says of its grain.
    fn place(&self, entry: u32) -> Place {
        match entry {
            0 => Place::Hole,
            ZERO_GRAIN if self.zero_grains => Place::Zero,
            sector => Place::Stored { host: u64::from(sector) * SECTOR_BYTES },
        }
    }
}

impl Layout for Grains {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn run_at(&self, file: &dyn BlockDevice, offset: u64, max_len: u64) -> kiln_block::Result<Run> {
        let index = offset / self.table_span();
        let in_table = offset % self.table_span();
        let sector = self.directory[index as usize];
        if sector == 0 {
            let following = self.directory[index as usize + 1..].iter();
            // No further than the question goes: a small read must not look at a large directory.
            let empty = following.take((max_len / self.table_span()) as usize + 1).take_while(|s| **s == 0);
            let len = (1 + empty.count() as u64) * self.table_span() - in_table;
            return Ok(Run { place: Place::Hole, len: len.min(max_len) });
        }
        let max_len = max_len.min(self.table_span() - in_table);
        let table = self.tables.get(index, || self.read_table(file, index, sector))?;
        let (number, within) = ((in_table / self.grain_bytes) as usize, in_table % self.grain_bytes);
        let first = self.place(table[number]);
        let mut len = self.grain_bytes - within;
        if let (Some(_), Place::Stored { host }) = (&self.compressed, first) {
            return Ok(Run { place: Place::Compressed { host }, len: len.min(max_len) });
        }
        for entry in &table[number + 1..] {
            let goes_on = match (first, self.place(*entry)) {
                (Place::Stored { host }, Place::Stored { host: next }) => host + within + len == next,
                (first, next) => first == next,
            };
            if len >= max_len || !goes_on {
                break;
            }
            len += self.grain_bytes;
        }
        let place = match first {
            Place::Stored { host } => Place::Stored { host: host + within },
            other => other,
        };
        Ok(Run { place, len: len.min(max_len) })
    }

    fn decompress(
        &self,
        file: &dyn BlockDevice,
        host: u64,
        offset: u64,
        buf: &mut [u8],
    ) -> kiln_block::Result<()> {
        let clusters = self.compressed.as_ref().expect("only compressed disks have compressed runs");
        let within = offset % self.grain_bytes;
        let mut marker = [0; MARKER_BYTES];
        file.read_exact_at(&mut marker, host)?;
        let (sector, len) = (le64(&marker, 0), u64::from(le32(&marker, 8)));
        let corrupt = |reason: String| Err(kiln_block::Error::Corrupt { offset: host, reason });
        if sector.checked_mul(SECTOR_BYTES) != Some(offset - within) {
            return corrupt(format!("the grain is marked as that of sector {sector}"));
        }
        let start = host + MARKER_BYTES as u64;
        // What cannot be compressed becomes a little longer, never twice as long.
        if len == 0 || len > 2 * self.grain_bytes || start + len > file.size_bytes() {
            return corrupt(format!("a compressed grain of {len} bytes"));
        }
        clusters.read(file, (start, len), within as usize, buf)
    }
}

/// `count` little-endian entries.
fn read_entries(device: &dyn BlockDevice, offset: u64, count: usize) -> kiln_block::Result<Vec<u32>> {
    let mut bytes = vec![0; count * 4];
    if count > 0 {
        device.read_exact_at(&mut bytes, offset)?;
    }
    Ok(bytes.chunks_exact(4).map(|entry| le32(entry, 0)).collect())
}
