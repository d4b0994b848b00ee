//! A raw disk in a file. Holes are found with `SEEK_HOLE`, so a sparse file is read sparsely.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::device::check_bounds;
use crate::{BlockDevice, Extent, ExtentKind, Result, WritableBlockDevice};

/// A file whose bytes are the disk's bytes.
///
/// Invariant: nothing else truncates the file while the device is open.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    size_bytes: u64,
}

impl FileDevice {
    /// Takes an open file; its present length is the size of the disk.
    ///
    /// # Errors
    /// Where the file's metadata cannot be read.
    pub fn new(file: File) -> Result<Self> {
        let size_bytes = file.metadata()?.len();
        Ok(Self { file, size_bytes })
    }

    /// The first byte at or after `offset` that `whence` asks for, or the end of the file.
    fn seek(&self, whence: SeekFrom) -> Result<u64> {
        match rustix::fs::seek(&self.file, whence) {
            Ok(found) => Ok(found),
            Err(Errno::NXIO) => Ok(self.size_bytes),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}

impl BlockDevice for FileDevice {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        Ok(self.file.read_exact_at(buf, offset)?)
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        check_bounds(offset, len, self.size_bytes)?;
        // The file position that lseek moves is never used for reading, so threads cannot disturb each other.
        let data = self.seek(SeekFrom::Data(offset))?;
        let (kind, end) = if data > offset {
            (ExtentKind::Hole, data)
        } else {
            (ExtentKind::Data, self.seek(SeekFrom::Hole(offset))?)
        };
        Ok(Extent { offset, len: (end - offset).min(len), kind })
    }
}

impl WritableBlockDevice for FileDevice {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        Ok(self.file.write_all_at(buf, offset)?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, extents};

    #[test]
    fn a_sparse_file_shows_its_hole_and_its_data() {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(8 << 20).expect("sized");
        let device = FileDevice::new(file).expect("device");
        device.write_all_at(&[7; 65536], 4 << 20).expect("in bounds");
        let found: Vec<_> = extents(&device, 0, 8 << 20).map(|e| e.expect("readable")).collect();
        assert!(found.iter().any(|e| e.kind == ExtentKind::Data && e.offset <= 4 << 20 && e.end() > 4 << 20));
        assert!(found.iter().any(|e| e.kind == ExtentKind::Hole));
        assert_eq!(found.iter().map(|e| e.len).sum::<u64>(), 8 << 20);
    }

    #[test]
    fn a_read_past_the_end_is_refused() {
        let file = tempfile::tempfile().expect("temporary file");
        file.set_len(1024).expect("sized");
        let device = FileDevice::new(file).expect("device");
        assert!(matches!(device.read_exact_at(&mut [0; 2], 1023), Err(Error::OutOfBounds { .. })));
        assert!(matches!(device.read_exact_at(&mut [0; 2], u64::MAX), Err(Error::OutOfBounds { .. })));
    }
}
