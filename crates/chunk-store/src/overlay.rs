//! Storing a disk that differs from a stored one only in what an overlay holds.
//!
//! The cost follows the overlay: chunks that it does not touch keep the base's entries, and are not read. A chunk
//! that it covers in part is read from both, and stored anew.

use std::ops::Range;

use kiln_block::{BlockDevice, Extent, ExtentKind, check_bounds, extents};

use crate::chunk::CHUNK_BYTES;
use crate::ingest::{store_regions, write_manifest};
use crate::sink::with_sink;
use crate::units::next_boundary;
use crate::{Entry, Error, Manifest, ManifestDevice, Result, Stored, Target};

/// Stores the disk that is `base` with `overlay` over it: where the overlay has data or zeros they replace the
/// base's, where it has a hole the base shows. Beyond the base's end a hole reads as zeros.
///
/// The base is in the target's store. Its packs are held before anything relies on them.
///
/// # Errors
/// As for [`crate::ingest()`]; [`Error::PackNotLive`] where the base is being deleted; [`Error::OverlayShrinks`].
pub fn ingest_overlay(
    target: &Target<'_>,
    base: &ManifestDevice,
    overlay: &dyn BlockDevice,
) -> Result<Stored> {
    let (base_bytes, overlay_bytes) = (base.size_bytes(), overlay.size_bytes());
    if overlay_bytes < base_bytes {
        return Err(Error::OverlayShrinks { overlay_bytes, base_bytes });
    }
    let manifest = base.manifest();
    hold_all(target, manifest)?;
    let regions = changed_regions(manifest, overlay)?;
    let mut kept = unchanged_entries(manifest.entries(), &regions);
    let changed_bytes: u64 = regions.iter().map(|region| region.end - region.start).sum();
    let layered = Layered { base, overlay };
    let mut taken = with_sink(target, overlay_bytes, manifest.packs(), |sink| {
        sink.advance(overlay_bytes - changed_bytes)?;
        store_regions(sink, &layered, regions)
    })?;
    kept.append(&mut taken.entries);
    // Two sorted runs: the stable sort finds and merges them.
    kept.sort_by_key(|entry| entry.offset);
    taken.entries = kept;
    write_manifest(target, overlay_bytes, taken)
}

fn hold_all(target: &Target<'_>, manifest: &Manifest) -> Result<()> {
    let held = target.ledger.hold(manifest.packs())?;
    if held.len() >= manifest.packs().len() {
        return Ok(());
    }
    let lost = manifest.packs().iter().find(|pack| !held.contains(pack));
    lost.map_or(Ok(()), |pack| Err(Error::PackNotLive(*pack)))
}

/// What has to be stored anew: the parts of the overlay that are no hole, widened to the chunk grid and to the
/// base's chunks that they touch, sorted, without overlaps.
fn changed_regions(base: &Manifest, overlay: &dyn BlockDevice) -> Result<Vec<Range<u64>>> {
    let size_bytes = overlay.size_bytes();
    let mut regions: Vec<Range<u64>> = Vec::new();
    for extent in extents(overlay, 0, size_bytes) {
        let extent = extent.map_err(Error::Source)?;
        if extent.kind == ExtentKind::Hole {
            continue;
        }
        let start = extent.offset / CHUNK_BYTES * CHUNK_BYTES;
        let end = next_boundary(extent.end() - 1).min(size_bytes);
        let widened = widen(base.entries(), start..end);
        match regions.last_mut() {
            Some(last) if last.end >= widened.start => last.end = last.end.max(widened.end),
            _ => regions.push(widened),
        }
    }
    Ok(regions)
}

/// The range with the whole of every entry that it touches.
fn widen(entries: &[Entry], range: Range<u64>) -> Range<u64> {
    let first = entries.partition_point(|entry| entry.end() <= range.start);
    let after = entries.partition_point(|entry| entry.offset < range.end);
    match &entries[first..after.max(first)] {
        [] => range,
        touched => {
            let end = touched.last().map_or(range.end, Entry::end);
            touched[0].offset.min(range.start)..end.max(range.end)
        }
    }
}

/// The entries outside the regions, none of which cuts an entry.
fn unchanged_entries(entries: &[Entry], regions: &[Range<u64>]) -> Vec<Entry> {
    let mut kept = Vec::with_capacity(entries.len());
    let mut rest = entries;
    for region in regions {
        let (before, from) = rest.split_at(rest.partition_point(|entry| entry.end() <= region.start));
        kept.extend_from_slice(before);
        rest = &from[from.partition_point(|entry| entry.offset < region.end)..];
    }
    kept.extend_from_slice(rest);
    kept
}

/// The disk as its guest sees it: the overlay, and the base where that has holes.
struct Layered<'a> {
    base: &'a ManifestDevice,
    overlay: &'a dyn BlockDevice,
}

impl Layered<'_> {
    fn read_base(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        let covered = self.base.size_bytes().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (covered, beyond) = buf.split_at_mut(covered);
        beyond.fill(0);
        if covered.is_empty() { Ok(()) } else { self.base.read_exact_at(covered, offset) }
    }
}

impl BlockDevice for Layered<'_> {
    fn size_bytes(&self) -> u64 {
        self.overlay.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        for extent in extents(self.overlay, offset, buf.len() as u64) {
            let Extent { offset: start, len, kind } = extent?;
            let part = &mut buf[(start - offset) as usize..][..len as usize];
            match kind {
                ExtentKind::Data => self.overlay.read_exact_at(part, start)?,
                ExtentKind::Zero => part.fill(0),
                ExtentKind::Hole => self.read_base(part, start)?,
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        let extent = self.overlay.extent_at(offset, len)?;
        if extent.kind != ExtentKind::Hole {
            return Ok(extent);
        }
        match self.base.size_bytes().checked_sub(offset) {
            None | Some(0) => Ok(extent),
            Some(covered) => self.base.extent_at(offset, extent.len.min(covered)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_block::{Digest, MemoryDevice, WritableBlockDevice};

    use super::*;
    use crate::{Chunk, PackId, StoredForm};

    fn entry(offset: u64, len: u32) -> Entry {
        let chunk = Chunk { digest: Digest::of(&[]), len, position: 16, stored: StoredForm::raw(len) };
        Entry { offset, pack: 0, chunk }
    }

    #[test]
    fn regions_cover_whole_chunks_of_the_base_also_off_the_grid() {
        let entries =
            vec![entry(0, 50_000), entry(50_000, 50_000), entry(100_000, 50_000), entry(500_000, 10)];
        let base = Manifest::new(1 << 20, &[PackId::random()], entries).expect("within limits");
        let overlay = MemoryDevice::new(1 << 20);
        overlay.write_all_at(&[1; 4096], 65536).expect("in bounds");
        let regions = changed_regions(&base, &overlay).expect("readable");
        assert_eq!(regions.as_slice(), std::slice::from_ref(&(50_000..150_000)));
        let kept = unchanged_entries(base.entries(), &regions);
        assert_eq!(kept.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [0, 500_000]);
    }
}
