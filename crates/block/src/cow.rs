//! A disk over another that is only read: what is written stays in memory, up to a cap.
//!
//! Invariants: the base is never written; a page that was written once is read from memory ever after. Deliberately
//! absent: taking writes back, and putting them into the base. What is to become of the changes is their reader's
//! business (see [`CowDevice::changes`]).

use std::collections::BTreeMap;
use std::io;
use std::sync::{PoisonError, RwLock};

use crate::device::check_bounds;
use crate::memory::{PAGE_BYTES, Page, pages_of};
use crate::{BlockDevice, Extent, ExtentKind, Result, WritableBlockDevice};

/// A copy-on-write layer in memory over `B`.
#[derive(Debug)]
pub struct CowDevice<B> {
    base: B,
    pages_max: usize,
    pages: RwLock<BTreeMap<u64, Page>>,
}

impl<B: BlockDevice> CowDevice<B> {
    /// A layer without changes over `base` that takes changes in up to `changed_bytes_max`, counted in whole pages
    /// of 4 KiB.
    pub fn new(base: B, changed_bytes_max: usize) -> Self {
        Self { base, pages_max: changed_bytes_max / PAGE_BYTES as usize, pages: RwLock::default() }
    }

    /// What was written: runs of whole pages (the disk's last one may be shorter), ascending and not adjacent.
    pub fn changes(&self) -> Vec<(u64, Vec<u8>)> {
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, page) in pages.iter() {
            let offset = index * PAGE_BYTES;
            let len = self.page_len(*index);
            match runs.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == offset => {
                    bytes.extend_from_slice(&page[..len]);
                }
                _ => runs.push((offset, page[..len].to_vec())),
            }
        }
        runs
    }

    /// The length of a page that begins within the disk.
    fn page_len(&self, page: u64) -> usize {
        (self.base.size_bytes() - page * PAGE_BYTES).min(PAGE_BYTES) as usize
    }
}

impl<B: BlockDevice> BlockDevice for CowDevice<B> {
    fn size_bytes(&self) -> u64 {
        self.base.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        // Neighbours that are not in memory are read from the base at once.
        let mut unchanged = 0..0;
        for (page, within, range) in pages_of(offset, buf.len()) {
            let Some(bytes) = pages.get(&page) else {
                unchanged.end = range.end;
                continue;
            };
            if !unchanged.is_empty() {
                self.base.read_exact_at(&mut buf[unchanged.clone()], offset + unchanged.start as u64)?;
            }
            let part = &mut buf[range.clone()];
            part.copy_from_slice(&bytes[within..within + part.len()]);
            unchanged = range.end..range.end;
        }
        if !unchanged.is_empty() {
            self.base.read_exact_at(&mut buf[unchanged.clone()], offset + unchanged.start as u64)?;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        check_bounds(offset, len, self.size_bytes())?;
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let first = offset / PAGE_BYTES;
        let last = (offset + len - 1) / PAGE_BYTES;
        if pages.contains_key(&first) {
            let changed = (first..=last).take_while(|page| pages.contains_key(page)).count() as u64;
            let end = (first + changed) * PAGE_BYTES;
            return Ok(Extent { offset, len: (end - offset).min(len), kind: ExtentKind::Data });
        }
        let unchanged = match pages.range(first..=last).next() {
            Some((page, _)) => page * PAGE_BYTES - offset,
            None => len,
        };
        self.base.extent_at(offset, unchanged)
    }
}

impl<B: BlockDevice> WritableBlockDevice for CowDevice<B> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        for (page, within, range) in pages_of(offset, buf.len()) {
            let part = &buf[range];
            if !pages.contains_key(&page) {
                if pages.len() >= self.pages_max {
                    return Err(io::Error::new(io::ErrorKind::StorageFull, "too many changes").into());
                }
                let mut bytes = Box::new([0; PAGE_BYTES as usize]);
                let len = self.page_len(page);
                if part.len() < len {
                    self.base.read_exact_at(&mut bytes[..len], page * PAGE_BYTES)?;
                }
                pages.insert(page, bytes);
            }
            let bytes = pages.get_mut(&page).expect("the page was put there if it was missing");
            bytes[within..within + part.len()].copy_from_slice(part);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Error, MemoryDevice, extents};

    const SIZE: usize = 70_001;

    fn base() -> (MemoryDevice, Vec<u8>) {
        let mut model = vec![0; SIZE];
        let device = MemoryDevice::new(SIZE as u64);
        for (at, len) in [(0, 5_000), (20_000, 9_000), (SIZE - 3_000, 3_000)] {
            let bytes: Vec<u8> = (0..len).map(|n| (at + n) as u8 | 1).collect();
            device.write_all_at(&bytes, at as u64).expect("in bounds");
            model[at..at + len].copy_from_slice(&bytes);
        }
        (device, model)
    }

    proptest! {
        #[test]
        fn reads_see_writes_and_the_base_does_not(
            writes in prop::collection::vec((0usize..SIZE, 1usize..9_000, any::<u8>()), 0..12),
            reads in prop::collection::vec((0usize..SIZE, 1usize..30_000), 1..6),
        ) {
            let (base, before) = base();
            let mut model = before.clone();
            let device = CowDevice::new(&base, SIZE + PAGE_BYTES as usize);
            for (offset, len, byte) in writes {
                let len = len.min(SIZE - offset);
                model[offset..][..len].fill(byte);
                device.write_all_at(&vec![byte; len], offset as u64).expect("in bounds");
            }
            for (offset, len) in reads {
                let mut read = vec![1; len.min(SIZE - offset)];
                device.read_exact_at(&mut read, offset as u64).expect("in bounds");
                prop_assert_eq!(&read[..], &model[offset..offset + read.len()]);
            }
            for extent in extents(&device, 0, SIZE as u64) {
                let extent = extent.expect("readable");
                if extent.kind.reads_as_zeros() {
                    prop_assert!(model[extent.offset as usize..extent.end() as usize].iter().all(|b| *b == 0));
                }
            }
            let mut base_now = vec![1; SIZE];
            base.read_exact_at(&mut base_now, 0).expect("in bounds");
            prop_assert_eq!(&base_now, &before);
            // The changes, put over the base, are the disk.
            let mut patched = before;
            let changes = device.changes();
            for (offset, bytes) in &changes {
                patched[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            prop_assert_eq!(patched, model);
            prop_assert!(changes.windows(2).all(|pair| pair[0].0 + (pair[0].1.len() as u64) < pair[1].0));
        }
    }

    #[test]
    fn the_cap_holds() {
        let (base, _) = base();
        let device = CowDevice::new(base, 2 * PAGE_BYTES as usize);
        device.write_all_at(&[1; 8192], 4096).expect("within the cap");
        device.write_all_at(&[2; 100], 5000).expect("a page that is there already");
        assert!(matches!(device.write_all_at(&[1], 0), Err(Error::Io(_))));
    }
}
