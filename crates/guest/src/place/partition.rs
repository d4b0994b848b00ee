//! A partition as the file system crates want to see it: positions from its own start, and nothing beyond its end.

use std::io;
use std::sync::Arc;

use kiln_block::{WritableBlockDevice, check_bounds};

/// A range of a disk.
pub(super) struct Partition {
    device: Arc<dyn WritableBlockDevice>,
    start: u64,
    len: u64,
}

impl Partition {
    /// The `len` bytes at `start` of `device`.
    ///
    /// # Errors
    /// [`kiln_block::Error::OutOfBounds`] where they do not lie on it.
    pub(super) fn new(
        device: Arc<dyn WritableBlockDevice>,
        start: u64,
        len: u64,
    ) -> Result<Self, kiln_block::Error> {
        check_bounds(start, len, device.size_bytes())?;
        Ok(Self { device, start, len })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), kiln_block::Error> {
        check_bounds(offset, buf.len() as u64, self.len)?;
        self.device.read_exact_at(buf, self.start + offset)
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), kiln_block::Error> {
        check_bounds(offset, buf.len() as u64, self.len)?;
        self.device.write_all_at(buf, self.start + offset)
    }
}

impl fs_ext4::block_io::BlockDevice for Partition {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> fs_ext4::error::Result<()> {
        self.read(offset, buf).map_err(|error| io::Error::other(error).into())
    }

    fn size_bytes(&self) -> u64 {
        self.len
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> fs_ext4::error::Result<()> {
        self.write(offset, buf).map_err(|error| io::Error::other(error).into())
    }

    fn is_writable(&self) -> bool {
        true
    }
}

impl fs_ntfs::block_io::BlockIo for Partition {
    fn read_exact_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), String> {
        self.read(offset, buf).map_err(|error| error.to_string())
    }

    fn write_all_at(&mut self, offset: u64, buf: &[u8]) -> Result<(), String> {
        self.write(offset, buf).map_err(|error| error.to_string())
    }

    fn size(&self) -> u64 {
        self.len
    }
}
