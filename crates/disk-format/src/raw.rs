//! Raw images: the file is the disk.
//!
//! Guests address sectors, so a file that ends within one is continued with zeros to the sector's end, which is
//! also what `qemu-img convert` does.

use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, SECTOR_BYTES, check_bounds};

use crate::open::check_virtual_size;
use crate::{Limits, Result};

/// Opens a raw image; one of whole sectors is its own disk.
pub(crate) fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Arc<dyn BlockDevice>> {
    check_virtual_size(device.size_bytes(), limits)?;
    if device.size_bytes().is_multiple_of(SECTOR_BYTES) {
        Ok(device)
    } else {
        Ok(Arc::new(Padded { device }))
    }
}

/// A device whose last sector is incomplete, continued with zeros.
struct Padded {
    device: Arc<dyn BlockDevice>,
}

impl BlockDevice for Padded {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes().next_multiple_of(SECTOR_BYTES)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let stored = self.device.size_bytes().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (inside, padding) = buf.split_at_mut(stored);
        padding.fill(0);
        if inside.is_empty() { Ok(()) } else { self.device.read_exact_at(inside, offset) }
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        check_bounds(offset, len, self.size_bytes())?;
        let stored_end = self.device.size_bytes();
        if offset >= stored_end {
            // The rest of a sector that is partly stored counts as stored.
            return Ok(Extent { offset, len, kind: kiln_block::ExtentKind::Data });
        }
        self.device.extent_at(offset, len.min(stored_end - offset))
    }
}

#[cfg(test)]
mod tests {
    use kiln_block::MemoryDevice;

    use super::*;

    #[test]
    fn the_last_sector_is_filled_up_with_zeros() {
        let device = Arc::new(MemoryDevice::from_bytes(&[7; 1000]));
        let disk = open(device, &Limits::default()).expect("opens");
        assert_eq!(disk.size_bytes(), 1024);
        let mut read = [1; 1024];
        disk.read_exact_at(&mut read, 0).expect("in bounds");
        assert!(read[..1000].iter().all(|b| *b == 7) && read[1000..].iter().all(|b| *b == 0));
        let mut end = [1; 10];
        disk.read_exact_at(&mut end, 1010).expect("in bounds");
        assert_eq!(end, [0; 10]);
        assert!(disk.read_exact_at(&mut end, 1015).is_err());
        assert_eq!(disk.extent_at(1000, 24).expect("in bounds").len, 24);
    }
}
