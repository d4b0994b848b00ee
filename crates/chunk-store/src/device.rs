//! A stored disk as a block device.
//!
//! Nothing is unpacked beforehand: a read finds the chunks that it touches, reads their runs from the packs,
//! decompresses, verifies, and answers. Reads of many threads share nothing but the reader's cache.

use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, ExtentKind, check_bounds};

use crate::reader::ChunkList;
use crate::{ChunkReader, Entry, Error, Manifest};

/// Entries merged into one extent at most, so that asking about a large disk takes bounded time.
const MAX_MERGED_ENTRIES: usize = 16 * 1024;

/// The disk that a manifest describes. Read-only; clones are cheap and share everything.
#[derive(Clone)]
pub struct ManifestDevice {
    reader: Arc<ChunkReader>,
    manifest: Arc<Manifest>,
}

impl ManifestDevice {
    /// The disk of `manifest`, whose packs are in the store of `reader`.
    pub fn new(reader: Arc<ChunkReader>, manifest: Arc<Manifest>) -> Self {
        Self { reader, manifest }
    }

    /// The manifest that is read.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The entries that touch the range.
    fn touched(&self, offset: u64, len: u64) -> &[Entry] {
        let entries = self.manifest.entries();
        let first = entries.partition_point(|entry| entry.end() <= offset);
        let rest = &entries[first..];
        // Reads are short, so walking is quicker than another binary search.
        let count = rest.iter().take_while(|entry| entry.offset < offset + len).count();
        &rest[..count]
    }
}

/// A block error for a failure at `offset` of the disk.
fn at_offset(offset: u64, error: Error) -> kiln_block::Error {
    match error {
        Error::Corrupt { .. } => kiln_block::Error::Corrupt { offset, reason: error.to_string() },
        Error::NotFound(_) => std::io::Error::new(std::io::ErrorKind::NotFound, error).into(),
        other => std::io::Error::other(other).into(),
    }
}

impl BlockDevice for ManifestDevice {
    fn size_bytes(&self) -> u64 {
        self.manifest.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes())?;
        let end = offset + buf.len() as u64;
        let list =
            ChunkList { packs: self.manifest.packs(), entries: self.touched(offset, buf.len() as u64) };
        let mut position = offset;
        if !list.entries.is_empty() {
            let mut session = self.reader.session().map_err(|error| at_offset(offset, error))?;
            for (at, entry) in list.entries.iter().enumerate() {
                let start = entry.offset.max(offset);
                let stop = entry.end().min(end);
                buf[(position - offset) as usize..(start - offset) as usize].fill(0);
                let part = &mut buf[(start - offset) as usize..(stop - offset) as usize];
                let read = session.read(list, at, (start - entry.offset) as usize, part);
                read.map_err(|error| at_offset(entry.offset, error))?;
                position = stop;
            }
        }
        buf[(position - offset) as usize..].fill(0);
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        check_bounds(offset, len, self.size_bytes())?;
        let entries = self.manifest.entries();
        let first = entries.partition_point(|entry| entry.end() <= offset);
        let (kind, end) = match entries.get(first) {
            Some(entry) if entry.offset <= offset => {
                let mut end = entry.end();
                for next in entries[first + 1..].iter().take(MAX_MERGED_ENTRIES) {
                    if next.offset != end || end >= offset + len {
                        break;
                    }
                    end = next.end();
                }
                (ExtentKind::Data, end)
            }
            Some(entry) => (ExtentKind::Hole, entry.offset),
            None => (ExtentKind::Hole, self.size_bytes()),
        };
        Ok(Extent { offset, len: (end - offset).min(len), kind })
    }
}
