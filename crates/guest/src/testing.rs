//! Small disks for the tests of this crate: sectors, tables and files written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice};

use crate::budget::{Budget, Limits};
use crate::error::Result;
use crate::table::SECTOR_BYTES;
use crate::tree::{FileTree, Node, NodeKind, ReadSeek, Root};
use crate::window::Window;

/// A disk in memory.
pub(crate) struct Disk(Arc<MemoryDevice>);

impl Disk {
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self(Arc::new(MemoryDevice::new(size_bytes)))
    }

    pub(crate) fn device(&self) -> Arc<dyn BlockDevice> {
        self.0.clone()
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, offset).expect("in bounds");
    }

    pub(crate) fn boot_code(&mut self, code: &[u8]) {
        self.write(0x80, code);
        self.write(510, &[0x55, 0xAA]);
    }

    /// An entry of the boot record in sector `record`.
    pub(crate) fn mbr_entry(
        &mut self,
        record: u64,
        index: u64,
        kind: u8,
        active: bool,
        start: u64,
        len: u64,
    ) {
        let at = record * SECTOR_BYTES + 446 + index * 16;
        self.write(at, &[if active { 0x80 } else { 0 }]);
        self.write(at + 4, &[kind]);
        self.write(at + 8, &(start as u32).to_le_bytes());
        self.write(at + 12, &(len as u32).to_le_bytes());
        self.write(record * SECTOR_BYTES + 510, &[0x55, 0xAA]);
    }

    /// A whole GPT: type, first and last sector, attributes of each partition.
    pub(crate) fn gpt(&mut self, partitions: &[([u8; 16], u64, u64, u64)]) {
        let sectors = self.0.size_bytes() / SECTOR_BYTES;
        self.mbr_entry(0, 0, 0xEE, false, 1, sectors - 1);
        let mut entries = vec![0u8; 128 * 128];
        for (slot, (kind, first, last, attributes)) in entries.chunks_exact_mut(128).zip(partitions) {
            slot[..16].copy_from_slice(kind);
            slot[32..40].copy_from_slice(&first.to_le_bytes());
            slot[40..48].copy_from_slice(&last.to_le_bytes());
            slot[48..56].copy_from_slice(&attributes.to_le_bytes());
        }
        for (own, other, entries_at) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
            self.write(entries_at * SECTOR_BYTES, &entries);
            self.write(own * SECTOR_BYTES, &gpt_header(own, other, entries_at, &entries));
        }
    }
}

fn gpt_header(own: u64, other: u64, entries_at: u64, entries: &[u8]) -> [u8; 92] {
    let mut header = [0u8; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[72..80].copy_from_slice(&entries_at.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(entries).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The disk under a budget of its own.
pub(crate) fn window(disk: &Disk) -> Window {
    Window::whole(disk.device(), Budget::new(Limits::default()))
}

/// Files in memory: path and content, or `-> target` for a link.
pub(crate) struct FakeTree(BTreeMap<String, String>);

impl FakeTree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}

impl FileTree for FakeTree {
    fn lookup(&self, path: &str) -> Result<Option<Node>> {
        let below = format!("{}/", path.trim_end_matches('/'));
        let node = |kind, size: usize| Some(Node { kind, size_bytes: size as u64 });
        Ok(match self.0.get(path) {
            Some(text) if text.starts_with("-> ") => node(NodeKind::Symlink, text.len() - 3),
            Some(text) => node(NodeKind::File, text.len()),
            None if self.0.keys().any(|path| path.starts_with(&below)) => node(NodeKind::Directory, 0),
            None => None,
        })
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let below = format!("{}/", directory.trim_end_matches('/'));
        let rests = self.0.keys().filter_map(|path| path.strip_prefix(&below));
        let names: BTreeSet<_> = rests.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }

    fn read_link(&self, path: &str) -> Result<String> {
        Ok(self.0[path]["-> ".len()..].to_owned())
    }

    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>> {
        Ok(Box::new(Cursor::new(self.0[path].as_bytes())))
    }
}

/// A tree of such files.
pub(crate) fn root(files: &[(&str, &str)]) -> Root {
    Root::new(Box::new(FakeTree::new(files)), Budget::new(Limits::default()))
}
