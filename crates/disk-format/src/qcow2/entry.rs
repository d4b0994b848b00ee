//! What one entry of an L1 or L2 table says.
//!
//! Pure: no I/O, and the same answers whether an image is checked when it is opened or read later. The *unit* is
//! the smallest piece that is mapped by itself: a cluster, or a subcluster where L2 entries are extended.
//!
//! Invariant: a [`Mapping`] points into the file and, but for compressed data, at a whole unit.

use super::header::{Header, malformed};
use crate::Error;

/// The host offset in an L1 entry and in an L2 entry of an uncompressed cluster.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Set in an L2 entry of a compressed cluster.
const COMPRESSED: u64 = 1 << 62;
/// Set in a standard L2 entry whose cluster reads as zeros.
const READS_AS_ZEROS: u64 = 1;
/// Subclusters of a cluster, as a power of two.
const SUBCLUSTER_BITS: u32 = 5;
/// Compressed data is measured in these.
const SECTOR: u64 = 512;

/// Where the contents of a unit are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Not in this file.
    Hole,
    /// Zeros, by the table's word.
    Zero,
    /// Stored at `host`. The file may end within the unit, the rest of which is zeros then.
    Data { host: u64 },
    /// Compressed with its whole cluster into at most `len` bytes at `host`.
    Compressed { host: u64, len: u64 },
}

/// An entry that no reader can follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadEntry {
    Outside { what: &'static str, offset: u64 },
    Unaligned { what: &'static str, offset: u64 },
    ZeroInVersion2,
    Contradiction,
}

impl BadEntry {
    /// The complaint of a reader that meets the entry at this position of the virtual disk.
    pub(super) fn at(&self, offset: u64) -> kiln_block::Error {
        kiln_block::Error::Corrupt { offset, reason: self.to_string() }
    }
}

impl std::fmt::Display for BadEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Outside { what, offset } => write!(f, "{what} at {offset} lies outside the file"),
            Self::Unaligned { what, offset } => write!(f, "{what} at {offset} does not begin a cluster"),
            Self::ZeroInVersion2 => f.write_str("a zero cluster in a version 2 image"),
            Self::Contradiction => f.write_str("a subcluster with contradicting states"),
        }
    }
}

impl From<BadEntry> for Error {
    fn from(bad: BadEntry) -> Self {
        match bad {
            BadEntry::Outside { what, offset } => Self::OutsideFile { what, offset },
            other => malformed(other.to_string()),
        }
    }
}

/// The shape of an image's tables.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) cluster_bits: u32,
    extended_l2: bool,
    version: u32,
    /// Length of the file in bytes.
    file_bytes: u64,
}

impl Geometry {
    pub(super) fn new(header: &Header, file_bytes: u64) -> Self {
        let Header { cluster_bits, extended_l2, version, .. } = *header;
        Self { cluster_bits, extended_l2, version, file_bytes }
    }

    /// Length of a cluster in bytes.
    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Length of a unit in bytes, as a power of two.
    pub(super) fn unit_bits(&self) -> u32 {
        if self.extended_l2 { self.cluster_bits - SUBCLUSTER_BITS } else { self.cluster_bits }
    }

    /// How many units one L2 table maps.
    pub(super) fn units_per_table(&self) -> usize {
        let clusters_bits = self.cluster_bits - if self.extended_l2 { 4 } else { 3 };
        1 << (clusters_bits + self.cluster_bits - self.unit_bits())
    }

    /// The L2 table that an L1 entry leads to; none where the whole span is unallocated.
    pub(super) fn table_offset(&self, l1_entry: u64) -> Result<Option<u64>, BadEntry> {
        let offset = l1_entry & OFFSET_MASK;
        let what = "an L2 table";
        if offset == 0 {
            Ok(None)
        } else if !offset.is_multiple_of(self.cluster_bytes()) {
            Err(BadEntry::Unaligned { what, offset })
        } else if self.file_bytes.saturating_sub(offset) < self.cluster_bytes() {
            Err(BadEntry::Outside { what, offset })
        } else {
            Ok(Some(offset))
        }
    }

    /// The mapping of the table's `unit`-th unit. `table` holds the words of one L2 table.
    pub(super) fn mapping(&self, table: &[u64], unit: usize) -> Result<Mapping, BadEntry> {
        if self.extended_l2 {
            let (cluster, subcluster) = (unit >> SUBCLUSTER_BITS, unit & ((1 << SUBCLUSTER_BITS) - 1));
            self.extended(table[2 * cluster], table[2 * cluster + 1], subcluster as u32)
        } else {
            self.standard(table[unit])
        }
    }

    fn standard(&self, entry: u64) -> Result<Mapping, BadEntry> {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let host = self.aligned(entry & OFFSET_MASK)?;
        if entry & READS_AS_ZEROS != 0 {
            return if self.version >= 3 { Ok(Mapping::Zero) } else { Err(BadEntry::ZeroInVersion2) };
        }
        if host == 0 { Ok(Mapping::Hole) } else { self.data(host) }
    }

    /// An extended entry: its second word has a bit "allocated" and a bit "zeros" for each subcluster.
    fn extended(&self, entry: u64, bitmap: u64, subcluster: u32) -> Result<Mapping, BadEntry> {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let (allocated, zeros) = (bitmap as u32, (bitmap >> 32) as u32);
        let cluster = self.aligned(entry & OFFSET_MASK)?;
        if allocated & zeros != 0 || (cluster == 0 && allocated != 0) {
            return Err(BadEntry::Contradiction);
        }
        if zeros >> subcluster & 1 != 0 {
            Ok(Mapping::Zero)
        } else if allocated >> subcluster & 1 != 0 {
            self.data(cluster + (u64::from(subcluster) << self.unit_bits()))
        } else {
            Ok(Mapping::Hole)
        }
    }

    fn aligned(&self, offset: u64) -> Result<u64, BadEntry> {
        if offset.is_multiple_of(self.cluster_bytes()) {
            Ok(offset)
        } else {
            Err(BadEntry::Unaligned { what: "a data cluster", offset })
        }
    }

    fn data(&self, host: u64) -> Result<Mapping, BadEntry> {
        if host < self.file_bytes {
            Ok(Mapping::Data { host })
        } else {
            Err(BadEntry::Outside { what: "a data cluster", offset: host })
        }
    }

    /// A compressed entry: the offset in the low bits, above it how many sectors beyond the first are touched.
    fn compressed(&self, entry: u64) -> Result<Mapping, BadEntry> {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let host = entry & ((1 << offset_bits) - 1);
        let further_sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        let len = (further_sectors + 1) * SECTOR - host % SECTOR;
        if host >= self.file_bytes {
            return Err(BadEntry::Outside { what: "a compressed cluster", offset: host });
        }
        // The last sector need not be complete.
        Ok(Mapping::Compressed { host, len: len.min(self.file_bytes - host) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_BYTES: u64 = 1 << 30;

    fn geometry(cluster_bits: u32, extended_l2: bool, version: u32) -> Geometry {
        Geometry { cluster_bits, extended_l2, version, file_bytes: FILE_BYTES }
    }

    #[test]
    fn standard_entries() {
        let v3 = geometry(16, false, 3);
        let check = |entry: u64| v3.mapping(&[entry], 0);
        assert_eq!(check(0), Ok(Mapping::Hole));
        assert_eq!(check(1), Ok(Mapping::Zero));
        assert_eq!(check(0x50001), Ok(Mapping::Zero));
        assert_eq!(check(1 << 63 | 0x50000), Ok(Mapping::Data { host: 0x50000 }));
        assert_eq!(check(0x50200), Err(BadEntry::Unaligned { what: "a data cluster", offset: 0x50200 }));
        assert_eq!(check(FILE_BYTES), Err(BadEntry::Outside { what: "a data cluster", offset: FILE_BYTES }));
        assert_eq!(geometry(16, false, 2).mapping(&[1], 0), Err(BadEntry::ZeroInVersion2));
    }

    #[test]
    fn compressed_entries() {
        let v3 = geometry(16, false, 3);
        // 64 KiB clusters leave 54 bits for the offset.
        let entry = COMPRESSED | 3 << 54 | 0x50123;
        assert_eq!(v3.mapping(&[entry], 0), Ok(Mapping::Compressed { host: 0x50123, len: 2048 - 0x123 }));
        let last = COMPRESSED | 3 << 54 | (FILE_BYTES - 100);
        assert_eq!(v3.mapping(&[last], 0), Ok(Mapping::Compressed { host: FILE_BYTES - 100, len: 100 }));
        assert!(v3.mapping(&[COMPRESSED | FILE_BYTES], 0).is_err());
    }

    #[test]
    fn extended_entries() {
        let v3 = geometry(16, true, 3);
        let table = [0x50000, 0b100 << 32 | 0b1010, 0, 1 << 32];
        assert_eq!(v3.mapping(&table, 0), Ok(Mapping::Hole));
        assert_eq!(v3.mapping(&table, 1), Ok(Mapping::Data { host: 0x50000 + 2048 }));
        assert_eq!(v3.mapping(&table, 2), Ok(Mapping::Zero));
        assert_eq!(v3.mapping(&table, 32), Ok(Mapping::Zero));
        assert_eq!(v3.mapping(&table, 33), Ok(Mapping::Hole));
        assert_eq!(v3.mapping(&[0x50000, 1 << 32 | 1], 5), Err(BadEntry::Contradiction));
        assert_eq!(v3.mapping(&[0, 1], 5), Err(BadEntry::Contradiction));
    }

    #[test]
    fn level_one_entries() {
        let v3 = geometry(16, false, 3);
        assert_eq!(v3.table_offset(1 << 63), Ok(None));
        assert_eq!(v3.table_offset(1 << 63 | 0x40000), Ok(Some(0x40000)));
        assert!(v3.table_offset(0x40200).is_err());
        assert!(v3.table_offset(FILE_BYTES).is_err());
    }
}
