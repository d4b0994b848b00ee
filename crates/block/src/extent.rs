//! Extents: which ranges of a disk hold data, and the walk over them.

use crate::{BlockDevice, Result};

/// What a range of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// Stored bytes, which may happen to be zero.
    Data,
    /// Known to read as zeros, by a record of the format.
    Zero,
    /// Not stored at this layer. It reads as zeros; in an overlay it means that the layer below decides.
    Hole,
}

impl ExtentKind {
    /// Whether a reader gets zeros without looking at any stored bytes.
    pub fn reads_as_zeros(self) -> bool {
        !matches!(self, Self::Data)
    }
}

/// A run of bytes of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// First byte on the device.
    pub offset: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// What the run holds.
    pub kind: ExtentKind,
}

impl Extent {
    /// The first byte after the run.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Walks the extents of `len` bytes at `offset`, with neighbours of one kind merged.
pub fn extents<D: BlockDevice + ?Sized>(device: &D, offset: u64, len: u64) -> Extents<'_, D> {
    Extents { device, position: offset, end: offset.saturating_add(len), pending: None }
}

/// The iterator of [`extents`]. It ends after the first error.
pub struct Extents<'a, D: ?Sized> {
    device: &'a D,
    position: u64,
    end: u64,
    /// The extent after the last one returned, read while looking for that one's end.
    pending: Option<Extent>,
}

impl<D: BlockDevice + ?Sized> Extents<'_, D> {
    fn read_next(&mut self) -> Option<Result<Extent>> {
        if self.position >= self.end {
            return None;
        }
        let answer = self.device.extent_at(self.position, self.end - self.position);
        match &answer {
            Ok(extent) => self.position = extent.end(),
            Err(_) => self.position = self.end,
        }
        Some(answer)
    }
}

impl<D: BlockDevice + ?Sized> Iterator for Extents<'_, D> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut run = match self.pending.take() {
            Some(extent) => extent,
            None => match self.read_next()? {
                Ok(extent) => extent,
                Err(error) => return Some(Err(error)),
            },
        };
        while let Some(answer) = self.read_next() {
            match answer {
                Ok(extent) if extent.kind == run.kind => run.len += extent.len,
                Ok(extent) => {
                    self.pending = Some(extent);
                    break;
                }
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryDevice, WritableBlockDevice};

    #[test]
    fn neighbours_of_one_kind_are_merged() {
        let device = MemoryDevice::new(256 * 1024);
        device.write_all_at(&[1; 4096], 64 * 1024).expect("in bounds");
        device.write_all_at(&[1; 4096], 128 * 1024 - 4096).expect("in bounds");
        let found: Vec<_> = extents(&device, 0, device.size_bytes()).map(|e| e.expect("readable")).collect();
        assert!(found.windows(2).all(|pair| pair[0].kind != pair[1].kind && pair[0].end() == pair[1].offset));
        assert_eq!(found.iter().map(|e| e.len).sum::<u64>(), device.size_bytes());
    }
}
