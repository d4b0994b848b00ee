//! A disk in memory, kept sparse: only pages that were written take space.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::device::check_bounds;
use crate::{BlockDevice, Extent, ExtentKind, Result, WritableBlockDevice};

pub(crate) const PAGE_BYTES: u64 = 4096;
/// A page's bytes.
pub(crate) type Page = Box<[u8; PAGE_BYTES as usize]>;

/// A sparse disk in memory, for small disks that are built before they are stored, and for tests.
#[derive(Debug)]
pub struct MemoryDevice {
    size_bytes: u64,
    pages: RwLock<BTreeMap<u64, Page>>,
}

impl MemoryDevice {
    /// An empty disk of `size_bytes`: one hole.
    pub fn new(size_bytes: u64) -> Self {
        Self { size_bytes, pages: RwLock::default() }
    }

    /// A disk that holds just `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let device = Self::new(bytes.len() as u64);
        device.write_all_at(bytes, 0).expect("the device has the size of the bytes");
        device
    }
}

/// Cuts a range at page boundaries: page number, position within the page, range within the buffer.
pub(crate) fn pages_of(
    offset: u64,
    len: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let within = (position % PAGE_BYTES) as usize;
        let take = (PAGE_BYTES as usize - within).min(len - done);
        let range = done..done + take;
        done += take;
        Some((position / PAGE_BYTES, within, range))
    })
}

impl BlockDevice for MemoryDevice {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        for (page, within, range) in pages_of(offset, buf.len()) {
            let part = &mut buf[range];
            match pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + part.len()]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        check_bounds(offset, len, self.size_bytes)?;
        let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
        let first = offset / PAGE_BYTES;
        let last = (offset + len - 1) / PAGE_BYTES;
        let mut end_page = first + 1;
        let kind = if pages.contains_key(&first) {
            while end_page <= last && pages.contains_key(&end_page) {
                end_page += 1;
            }
            ExtentKind::Data
        } else {
            end_page = pages.range(first..=last).next().map_or(last + 1, |(page, _)| *page);
            ExtentKind::Hole
        };
        Ok(Extent { offset, len: (end_page * PAGE_BYTES - offset).min(len), kind })
    }
}

impl WritableBlockDevice for MemoryDevice {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        for (page, within, range) in pages_of(offset, buf.len()) {
            let part = &buf[range];
            let bytes = pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
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
    use crate::extents;

    proptest! {
        #[test]
        fn it_behaves_like_a_vector(writes in prop::collection::vec((0u64..60_000, 1usize..9_000, any::<u8>()), 0..20)) {
            const SIZE: usize = 70_001;
            let device = MemoryDevice::new(SIZE as u64);
            let mut model = vec![0u8; SIZE];
            for (offset, len, byte) in writes {
                let len = len.min(SIZE - offset as usize);
                model[offset as usize..][..len].fill(byte);
                device.write_all_at(&vec![byte; len], offset).expect("in bounds");
            }
            let mut read = vec![1u8; SIZE];
            device.read_exact_at(&mut read, 0).expect("in bounds");
            prop_assert_eq!(&read, &model);
            for extent in extents(&device, 0, SIZE as u64) {
                let extent = extent.expect("readable");
                if extent.kind.reads_as_zeros() {
                    prop_assert!(model[extent.offset as usize..extent.end() as usize].iter().all(|b| *b == 0));
                }
            }
        }
    }
}
