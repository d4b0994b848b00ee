//! From a position on the virtual disk to the place of its bytes: the L1 table and a bounded cache of L2 tables.
//!
//! Invariant: the L1 table is held whole (its length was checked).

use std::sync::Arc;

use kiln_block::BlockDevice;

use super::entry::{Geometry, Mapping};
use super::header::Header;
use crate::Result;
use crate::cache::TableCache;

/// Most bytes of L2 tables kept for one image. With 64 KiB clusters this maps 128 GiB of disk.
const CACHE_BYTES: usize = 16 << 20;

/// Most L2 tables looked at for one run, so that an answer about a large range takes bounded time.
const TABLES_PER_RUN: usize = 16;

/// Which neighbours make one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Those whose bytes lie next to each other in the file, so that they can be read at once.
    Contiguous,
    /// Those that hold the same kind of thing.
    SameKind,
}

/// A run of the virtual disk, from the position asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Where the run's first byte is. For compressed data: where its whole cluster is.
    pub(super) mapping: Mapping,
    /// Length in bytes, never 0.
    pub(super) len: u64,
}

/// The tables of one image.
pub(super) struct Tables {
    device: Arc<dyn BlockDevice>,
    geometry: Geometry,
    table_span_bits: u32,
    /// The entries as they stand in the file.
    l1: Vec<u64>,
    cache: TableCache<u64>,
}

impl Tables {
    /// Reads the L1 table.
    pub(super) fn read(device: Arc<dyn BlockDevice>, header: &Header) -> Result<Self> {
        let geometry = Geometry::new(header, device.size_bytes());
        let l1 = read_words(&device, header.l1_offset, header.l1_entries as usize * 8)?;
        let cache = TableCache::new(CACHE_BYTES);
        Ok(Self { device, geometry, table_span_bits: header.table_span_bits(), l1, cache })
    }

    pub(super) fn device(&self) -> &dyn BlockDevice {
        &self.device
    }

    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The L1 entries that the virtual disk needs.
    pub(super) fn l1(&self) -> &[u64] {
        &self.l1
    }

    /// The L2 table at `table_offset` of the file, not cached.
    pub(super) fn read_table(&self, table_offset: u64) -> kiln_block::Result<Vec<u64>> {
        read_words(&self.device, table_offset, self.geometry.cluster_bytes() as usize)
    }

    /// The run at `offset` of the virtual disk, at most `max_len` bytes long.
    pub(super) fn run_at(&self, offset: u64, max_len: u64, join: Join) -> kiln_block::Result<Run> {
        let end = offset + max_len;
        let mut builder = RunBuilder { offset, end, join, geometry: &self.geometry, run: None };
        let mut tables_left = TABLES_PER_RUN;
        while builder.position() < end && tables_left > 0 {
            let position = builder.position();
            let index = position >> self.table_span_bits;
            let span_start = index << self.table_span_bits;
            let span_end = end.min(span_start + (1 << self.table_span_bits));
            let found = self.geometry.table_offset(self.l1[index as usize]);
            let goes_on = match found.map_err(|bad| bad.at(span_start))? {
                None => builder.push(Mapping::Hole, span_end),
                Some(table_offset) => {
                    tables_left -= 1;
                    let table = self.cache.get(index, || self.read_table(table_offset))?;
                    builder.push_table(&table, span_start, span_end)?
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(builder.run.expect("the first piece is always taken"))
    }
}

/// Joins pieces to one run until one does not fit.
struct RunBuilder<'a> {
    offset: u64,
    end: u64,
    join: Join,
    geometry: &'a Geometry,
    run: Option<Run>,
}

impl RunBuilder<'_> {
    fn position(&self) -> u64 {
        self.offset + self.run.map_or(0, |run| run.len)
    }

    /// Takes units of one table up to `span_end` and says whether the run may go on after them.
    fn push_table(&mut self, table: &[u64], span_start: u64, span_end: u64) -> kiln_block::Result<bool> {
        let unit_bits = self.geometry.unit_bits();
        while self.position() < span_end {
            let position = self.position();
            let unit = (position - span_start) >> unit_bits;
            let unit_start = span_start + (unit << unit_bits);
            let mapping = self.geometry.mapping(table, unit as usize).map_err(|bad| bad.at(unit_start))?;
            let unit_end = unit_start + (1 << unit_bits);
            let (mapping, piece_end) = match mapping {
                Mapping::Data { host } => (Mapping::Data { host: host + (position - unit_start) }, unit_end),
                // Subclusters are not compressed by themselves.
                Mapping::Compressed { .. } => {
                    (mapping, (position + 1).next_multiple_of(self.geometry.cluster_bytes()))
                }
                Mapping::Hole | Mapping::Zero => (mapping, unit_end),
            };
            if !self.push(mapping, span_end.min(piece_end)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a piece that reaches to `piece_end`, if it belongs to the run.
    fn push(&mut self, mapping: Mapping, piece_end: u64) -> bool {
        let len = piece_end.min(self.end) - self.position();
        match &mut self.run {
            None => self.run = Some(Run { mapping, len }),
            Some(run) if run.continues_with(mapping, self.join) => run.len += len,
            Some(_) => return false,
        }
        true
    }
}

impl Run {
    fn continues_with(&self, next: Mapping, join: Join) -> bool {
        match (self.mapping, next) {
            (Mapping::Hole, Mapping::Hole) | (Mapping::Zero, Mapping::Zero) => true,
            (Mapping::Data { host }, Mapping::Data { host: next }) => {
                join == Join::SameKind || host + self.len == next
            }
            (Mapping::Compressed { .. } | Mapping::Data { .. }, Mapping::Compressed { .. })
            | (Mapping::Compressed { .. }, Mapping::Data { .. }) => join == Join::SameKind,
            _ => false,
        }
    }
}

/// `len` bytes of big-endian words.
fn read_words(device: &dyn BlockDevice, offset: u64, len: usize) -> kiln_block::Result<Vec<u64>> {
    let mut bytes = vec![0; len];
    if len > 0 {
        device.read_exact_at(&mut bytes, offset)?;
    }
    Ok(bytes.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes"))).collect())
}
