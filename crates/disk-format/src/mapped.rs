//! Disks whose format says where each range lies: the loop that reads them exists once, here.
//!
//! A format implements [`Layout`], which only looks things up; reading, filling with zeros and extents follow.

use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, ExtentKind, check_bounds};

/// Where the contents of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not in the file.
    Hole,
    /// Zeros, by the table's word.
    Zero,
    /// Stored at `host`.
    Stored { host: u64 },
    /// Stored at `host` in the format's own compressed form.
    Compressed { host: u64 },
}

/// A run of the virtual disk, from the position asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) place: Place,
    /// Length in bytes, never 0.
    pub(crate) len: u64,
}

/// What a format knows of its disk.
pub(crate) trait Layout: Send + Sync {
    /// Size of the disk.
    fn size_bytes(&self) -> u64;

    /// The run at `offset`, at most `max_len` bytes long and within the disk. What is stored lies in one piece, and
    /// a compressed run in one compressed unit.
    fn run_at(&self, file: &dyn BlockDevice, offset: u64, max_len: u64) -> kiln_block::Result<Run>;

    /// Fills `buf` with the bytes at `offset` of the disk, which lie in the compressed unit at `host`. Never called
    /// where [`Layout::run_at`] gives no compressed runs.
    fn decompress(
        &self,
        _file: &dyn BlockDevice,
        _host: u64,
        _offset: u64,
        _buf: &mut [u8],
    ) -> kiln_block::Result<()> {
        unreachable!("the format has no compressed units")
    }
}

/// The disk that a file holds by a layout.
pub(crate) struct Mapped<L> {
    file: Arc<dyn BlockDevice>,
    layout: L,
}

impl<L: Layout> Mapped<L> {
    pub(crate) fn new(file: Arc<dyn BlockDevice>, layout: L) -> Self {
        Self { file, layout }
    }
}

impl<L: Layout> BlockDevice for Mapped<L> {
    fn size_bytes(&self) -> u64 {
        self.layout.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let mut done = 0;
        while done < buf.len() {
            let position = offset + done as u64;
            let run = self.layout.run_at(&self.file, position, (buf.len() - done) as u64)?;
            let part = &mut buf[done..done + run.len as usize];
            match run.place {
                Place::Hole | Place::Zero => part.fill(0),
                Place::Stored { host } => self.file.read_exact_at(part, host)?,
                Place::Compressed { host } => self.layout.decompress(&self.file, host, position, part)?,
            }
            done += part.len();
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        check_bounds(offset, len, self.size_bytes())?;
        let run = self.layout.run_at(&self.file, offset, len)?;
        let kind = match run.place {
            Place::Hole => ExtentKind::Hole,
            Place::Zero => ExtentKind::Zero,
            Place::Stored { .. } | Place::Compressed { .. } => ExtentKind::Data,
        };
        Ok(Extent { offset, len: run.len, kind })
    }
}
