//! Which parts of a disk have to be read: pieces of bounded length, cut on the chunk grid, in order.
//!
//! Only extents are looked at. A chunk that any data extent touches is read whole; whether its bytes happen to be
//! zero is found out later.

use std::ops::Range;

use kiln_block::BlockDevice;

use crate::chunk::CHUNK_BYTES;
use crate::sink::BATCH_BYTES;
use crate::{Error, Result};

/// A piece of a disk that one worker stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where on the disk; at most [`BATCH_BYTES`] long.
    pub(crate) range: Range<u64>,
    /// Bytes before it, after the unit before, that read as zeros.
    pub(crate) zero_bytes: u64,
}

/// Hands out the units of some regions of a disk.
pub(crate) struct Units<'a> {
    device: &'a dyn BlockDevice,
    regions: std::vec::IntoIter<Range<u64>>,
    region: Range<u64>,
}

/// The first chunk boundary after `offset`.
pub(crate) fn next_boundary(offset: u64) -> u64 {
    (offset / CHUNK_BYTES + 1).saturating_mul(CHUNK_BYTES)
}

impl<'a> Units<'a> {
    /// `regions` are sorted and do not overlap. Chunks are cut at the grid within each, and at its ends.
    pub(crate) fn new(device: &'a dyn BlockDevice, regions: Vec<Range<u64>>) -> Self {
        Self { device, regions: regions.into_iter(), region: 0..0 }
    }

    /// The next unit; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Unit>> {
        let mut zero_bytes = 0;
        loop {
            let Range { start, end } = self.region;
            if start >= end {
                match self.regions.next() {
                    Some(region) => self.region = region,
                    None => return Ok(None),
                }
                continue;
            }
            let (is_zero, piece_end) = self.piece(start, end)?;
            if is_zero {
                zero_bytes += piece_end - start;
                self.region.start = piece_end;
                continue;
            }
            let unit_end = self.extend(piece_end, longest_unit_end(start).min(end))?;
            self.region.start = unit_end;
            return Ok(Some(Unit { range: start..unit_end, zero_bytes }));
        }
    }

    /// Whether the chunks from `start` on are zero or have to be read, and up to where that holds.
    fn piece(&self, start: u64, end: u64) -> Result<(bool, u64)> {
        let extent = self.device.extent_at(start, end - start).map_err(Error::Source)?;
        if extent.kind.reads_as_zeros() {
            let whole_chunks_end =
                if extent.end() >= end { end } else { extent.end() / CHUNK_BYTES * CHUNK_BYTES };
            if whole_chunks_end > start {
                return Ok((true, whole_chunks_end));
            }
        }
        Ok((false, next_boundary(extent.end() - 1).min(end)))
    }

    /// The end of what has to be read, with what follows up to `limit`: many small extents make one unit.
    fn extend(&self, mut unit_end: u64, limit: u64) -> Result<u64> {
        while unit_end < limit {
            let (is_zero, piece_end) = self.piece(unit_end, limit)?;
            if is_zero {
                break;
            }
            unit_end = piece_end;
        }
        Ok(unit_end.min(limit))
    }
}

/// The last chunk boundary that a unit beginning at `start` can reach.
fn longest_unit_end(start: u64) -> u64 {
    start.saturating_add(BATCH_BYTES as u64) / CHUNK_BYTES * CHUNK_BYTES
}

/// Cuts a range at chunk boundaries.
pub(crate) fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let piece = start..next_boundary(start).min(range.end);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use kiln_block::{MemoryDevice, WritableBlockDevice};

    use super::*;

    fn units(device: &dyn BlockDevice, regions: Vec<Range<u64>>) -> Vec<Range<u64>> {
        let mut units = Units::new(device, regions);
        std::iter::from_fn(|| units.next().expect("readable")).map(|unit| unit.range).collect()
    }

    #[test]
    fn only_chunks_with_data_are_read() {
        let device = MemoryDevice::new(10 * CHUNK_BYTES + 100);
        device.write_all_at(&[1; 4096], 3 * CHUNK_BYTES + 8192).expect("in bounds");
        device.write_all_at(&[1; 10], 5 * CHUNK_BYTES - 5).expect("in bounds");
        device.write_all_at(&[1], 10 * CHUNK_BYTES + 50).expect("in bounds");
        let found = units(&device, std::iter::once(0..device.size_bytes()).collect());
        let whole = |first: u64, last: u64| first * CHUNK_BYTES..(last + 1) * CHUNK_BYTES;
        assert_eq!(found, [whole(3, 5), 10 * CHUNK_BYTES..10 * CHUNK_BYTES + 100]);
    }

    #[test]
    fn units_are_bounded_and_stay_in_their_regions() {
        let device = MemoryDevice::from_bytes(&vec![1; 5 << 20]);
        let regions = vec![1000..70_000, 100_000..4 << 20];
        let found = units(&device, regions);
        assert!(found.iter().all(|unit| unit.end - unit.start <= BATCH_BYTES as u64));
        assert_eq!(found.iter().map(|unit| unit.end - unit.start).sum::<u64>(), 69_000 + (4 << 20) - 100_000);
        let pieces: Vec<_> = found.into_iter().flat_map(cut).collect();
        assert_eq!(pieces[0], 1000..CHUNK_BYTES);
        assert!(pieces.iter().all(|piece| piece.end - piece.start <= CHUNK_BYTES));
    }
}
