//! A range of the disk, read under the budget: what every parser here gets in place of the disk.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use kiln_block::BlockDevice;

use crate::budget::Budget;
use crate::error::{Error, Result};

/// A range of a disk. Positions are relative to its start; reads past its end are damage, not device errors.
#[derive(Clone)]
pub(crate) struct Window {
    disk: Arc<dyn BlockDevice>,
    budget: Budget,
    start: u64,
    len: u64,
}

impl Window {
    /// The whole disk.
    pub(crate) fn whole(disk: Arc<dyn BlockDevice>, budget: Budget) -> Self {
        let len = disk.size_bytes();
        Self { disk, budget, start: 0, len }
    }

    /// The part of this window that a range covers; the range is cut at the window's end.
    pub(crate) fn part(&self, start: u64, len: u64) -> Self {
        let start = start.min(self.len);
        let len = len.min(self.len - start);
        Self { disk: self.disk.clone(), budget: self.budget.clone(), start: self.start + start, len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = buf.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Error::Damaged(format!(
                "a reference to byte {offset} leaves its {} bytes",
                self.len
            )));
        }
        self.budget.charge_read(len)?;
        Ok(self.disk.read_exact_at(buf, self.start + offset)?)
    }

    /// The bytes of a fixed-size structure; zeros where the window ends before it.
    pub(crate) fn read_array<const N: usize>(&self, offset: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let there = self.len.saturating_sub(offset).min(N as u64) as usize;
        if there > 0 {
            self.read_at(offset, &mut bytes[..there])?;
        }
        Ok(bytes)
    }

    /// A reader with a position, for libraries that want one.
    pub(crate) fn cursor(&self) -> WindowCursor {
        WindowCursor { window: self.clone(), position: 0, block: Vec::new(), block_start: 0 }
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.read_at(start_byte, dst)?)
    }
}

/// Bytes fetched at once by a cursor: libraries read structures field by field.
const CURSOR_BLOCK_BYTES: u64 = 4096;

/// A window with a position. Writing is refused: it is there because `fatfs` asks for the trait.
pub(crate) struct WindowCursor {
    window: Window,
    position: u64,
    block: Vec<u8>,
    block_start: u64,
}

impl Read for WindowCursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.window.len.saturating_sub(self.position).min(buf.len() as u64) as usize;
        if there == 0 {
            return Ok(0);
        }
        if there as u64 >= CURSOR_BLOCK_BYTES {
            self.window.read_at(self.position, &mut buf[..there]).map_err(Error::into_io)?;
            self.position += there as u64;
            return Ok(there);
        }
        self.fetch().map_err(Error::into_io)?;
        let within = (self.position - self.block_start) as usize;
        let take = there.min(self.block.len() - within);
        buf[..take].copy_from_slice(&self.block[within..within + take]);
        self.position += take as u64;
        Ok(take)
    }
}

impl WindowCursor {
    /// Makes sure that the block around the position is at hand.
    fn fetch(&mut self) -> Result<()> {
        let start = self.position - self.position % CURSOR_BLOCK_BYTES;
        // A hit is charged as a step, so that a loop within one block ends as well.
        self.window.budget.charge_step()?;
        if !self.block.is_empty() && start == self.block_start {
            return Ok(());
        }
        let len = CURSOR_BLOCK_BYTES.min(self.window.len - start) as usize;
        self.block.clear();
        let mut block = vec![0; len];
        self.window.read_at(start, &mut block)?;
        self.block = block;
        self.block_start = start;
        Ok(())
    }
}

impl Seek for WindowCursor {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.position = seek_position(target, self.position, self.window.len)?;
        Ok(self.position)
    }
}

impl Write for WindowCursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a seek leads; positions past the end are allowed, as everywhere in `std::io`.
pub(crate) fn seek_position(target: SeekFrom, position: u64, len: u64) -> io::Result<u64> {
    let wanted = match target {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::End(offset) => len.checked_add_signed(offset),
        SeekFrom::Current(offset) => position.checked_add_signed(offset),
    };
    wanted.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
