//! A part of a file that is a disk: what a fixed VHD and a flat VMDK hold.
//!
//! Invariant: the part lies within the file.

use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, check_bounds};

/// The bytes of a device from a position on.
pub(crate) struct Window {
    device: Arc<dyn BlockDevice>,
    start: u64,
    size_bytes: u64,
}

impl Window {
    /// `size_bytes` at `start` of `device`; none where they do not lie within it.
    pub(crate) fn new(device: Arc<dyn BlockDevice>, start: u64, size_bytes: u64) -> Option<Self> {
        check_bounds(start, size_bytes, device.size_bytes()).ok()?;
        Some(Self { device, start, size_bytes })
    }
}

impl BlockDevice for Window {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        self.device.read_exact_at(buf, self.start + offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        check_bounds(offset, len, self.size_bytes)?;
        let found = self.device.extent_at(self.start + offset, len)?;
        Ok(Extent { offset, ..found })
    }
}

#[cfg(test)]
mod tests {
    use kiln_block::MemoryDevice;

    use super::*;

    #[test]
    fn only_the_part_is_seen() {
        let bytes: Vec<u8> = (0..100).collect();
        let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::from_bytes(&bytes));
        assert!(Window::new(Arc::clone(&device), 50, 51).is_none());
        assert!(Window::new(Arc::clone(&device), u64::MAX, 2).is_none());
        let window = Window::new(device, 50, 20).expect("within");
        let mut read = [0; 20];
        window.read_exact_at(&mut read, 0).expect("in bounds");
        assert_eq!(read[..], bytes[50..70]);
        assert!(window.read_exact_at(&mut read, 1).is_err());
        assert_eq!(window.extent_at(10, 10).expect("in bounds").end(), 20);
    }
}
