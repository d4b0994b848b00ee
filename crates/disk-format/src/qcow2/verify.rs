//! The check of a whole image before its first byte is used.
//!
//! Every entry must be one that a reader can follow, no two tables may share bytes, and no data may lie in a
//! table. Two virtual clusters may share one data cluster: the format allows that, and what it costs a reader is
//! bounded by the size of the disk. Memory: two words for each table.

use super::entry::Mapping;
use super::header::Header;
use super::table::Tables;
use crate::occupied::{Occupied, Structure};
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

/// The header and all tables.
fn structures(header: &Header, tables: &Tables, limits: &Limits) -> Result<Vec<Structure>> {
    let cluster_bytes = header.cluster_bytes();
    let l1_bytes = header.l1_entries * 8;
    let mut found = vec![
        ("the header", 0, cluster_bytes),
        // Nothing else may share a cluster with it, though the table may end within one.
        ("the L1 table", header.l1_offset, header.l1_offset + l1_bytes.next_multiple_of(cluster_bytes)),
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
    Ok(found)
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
            occupied.check("a data cluster", pending.0, pending.1)?;
            pending = (start, end);
        }
    }
    occupied.check("a data cluster", pending.0, pending.1)
}
