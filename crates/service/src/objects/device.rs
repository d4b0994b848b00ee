//! An object as a block device: imports read it where it is.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_block::{BlockDevice, Error, Extent, FileDevice, check_bounds};

use super::read::{OpenObject, place};

/// Files that are kept open.
const OPEN_FILES: usize = 8;

/// An object's bytes, at any position, from any thread.
pub(crate) struct ObjectDevice {
    source: OpenObject,
    opened: Mutex<VecDeque<(usize, Arc<FileDevice>)>>,
}

impl ObjectDevice {
    pub(crate) fn new(source: OpenObject) -> Self {
        Self { source, opened: Mutex::default() }
    }

    fn part(&self, index: usize) -> Result<Arc<FileDevice>, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = opened.iter().find(|(number, _)| *number == index) {
            return Ok(Arc::clone(device));
        }
        let path = self.source.files.path(&self.source.parts[index].id);
        let device = Arc::new(FileDevice::new(File::open(path)?)?);
        opened.push_front((index, Arc::clone(&device)));
        opened.truncate(OPEN_FILES);
        Ok(device)
    }
}

impl BlockDevice for ObjectDevice {
    fn size_bytes(&self) -> u64 {
        self.source.object.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let mut done = 0;
        while done < buf.len() {
            let (index, within, left) = place(&self.source.parts, offset + done as u64);
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len() - done);
            self.part(index)?.read_exact_at(&mut buf[done..done + now], within)?;
            done += now;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent, Error> {
        check_bounds(offset, len, self.size_bytes())?;
        let (index, within, left) = place(&self.source.parts, offset);
        let extent = self.part(index)?.extent_at(within, len.min(left))?;
        Ok(Extent { offset, ..extent })
    }
}
