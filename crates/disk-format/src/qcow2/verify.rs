//! The check of a whole image before its first byte is used.
//!
//! Every entry must be one that a reader can follow, no two tables may share bytes, and no data may lie in a
//! table. Two virtual clusters may share one data cluster: the format allows that, and what it costs a reader is
//! bounded by the size of the disk. Memory: two words for each table.

use super::entry::Mapping;
use super::header::Header;
use super::table::Tables;
use crate::{Error, Limits, Result};

/// Checks the tables of an image.
pub(super) fn verify(header: &Header, tables: &Tables, limits: &Limits) -> Result<()> {
    let occupied = Occupied::new(structures(header, tables, limits)?)?;
    for entry in tables.l1() {
        if let Some(offset) = tables.geometry().table_offset(*entry)? {
            verify_table(tables, &tables.read_table(offset)?, &occupied)?;
        }
    }
    Ok(())
}

/// A structure's name and the bytes of the file that it takes.
type Structure = (&'static str, u64, u64);

/// The header and all tables.
fn structures(header: &Header, tables: &Tables, limits: &Limits) -> Result<Vec<Structure>> {
    let cluster_bytes = header.cluster_bytes();
    let l1_bytes = header.l1_entries * 8;
    let mut found = vec![
        ("the header", 0, cluster_bytes),
        ("the L1 table", header.l1_offset, header.l1_offset + l1_bytes),
        (
            "the refcount table",
            header.refcount_table_offset,
            header.refcount_table_offset + header.refcount_table_bytes,
        ),
    ];
    let mut table_bytes = l1_bytes;
    for entry in tables.l1() {
        let Some(offset) = tables.geometry().table_offset(*entry)? else { continue };
        table_bytes += cluster_bytes;
        if table_bytes > limits.max_table_bytes {
            let (what, limit) = ("the mapping tables", limits.max_table_bytes);
            return Err(Error::TooLarge { what, size: table_bytes, limit });
        }
        found.push(("an L2 table", offset, offset + cluster_bytes));
    }
    found.retain(|(_, start, end)| start < end);
    Ok(found)
}

/// The parts of the file that hold no data, in order and apart from each other.
struct Occupied(Vec<(u64, u64)>);

impl Occupied {
    fn new(mut structures: Vec<Structure>) -> Result<Self> {
        structures.sort_unstable_by_key(|(_, start, _)| *start);
        if let Some(pair) = structures.windows(2).find(|pair| pair[0].2 > pair[1].1) {
            return Err(Error::Overlap { what: pair[1].0, offset: pair[1].1 });
        }
        Ok(Self(structures.into_iter().map(|(_, start, end)| (start, end)).collect()))
    }

    /// Refuses data at `offset` up to `end`; an empty range is always fine.
    fn check(&self, offset: u64, end: u64) -> Result<()> {
        let before_end = self.0.partition_point(|(start, _)| *start < end);
        match self.0[..before_end].last() {
            Some((_, occupied_end)) if *occupied_end > offset => {
                Err(Error::Overlap { what: "a data cluster", offset })
            }
            _ => Ok(()),
        }
    }
}

/// Checks each unit of one table; neighbours that also lie together in the file are looked up as one.
fn verify_table(tables: &Tables, table: &[u64], occupied: &Occupied) -> Result<()> {
    let geometry = tables.geometry();
    let unit_bytes = 1u64 << geometry.unit_bits();
    let mut pending = (0, 0);
    for unit in 0..geometry.units_per_table() {
        let (start, end) = match geometry.mapping(table, unit)? {
            Mapping::Hole | Mapping::Zero => continue,
            Mapping::Data { host } => (host, host + unit_bytes),
            Mapping::Compressed { host, len } => (host, host + len),
        };
        if start == pending.1 {
            pending.1 = end;
        } else {
            occupied.check(pending.0, pending.1)?;
            pending = (start, end);
        }
    }
    occupied.check(pending.0, pending.1)
}
