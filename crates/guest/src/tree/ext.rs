//! ext2, ext3 and ext4, read by the crate `ext4-view`.
//!
//! The crate follows what the volume says; what it could be led to do without end is checked here before it is
//! asked: absurd geometry, an endless journal, directories of absurd length.

use std::cell::RefCell;
use std::collections::HashSet;

use ext4_view::{Ext4, Ext4Error, Ext4Read};

use super::{
    DIRECTORY_BYTES_MAX, FileTree, LINK_TARGET_BYTES_MAX, LISTED_ENTRIES_MAX, Node, NodeKind, ReadSeek, split,
};
use crate::budget::Budget;
use crate::bytes::{le16, le32};
use crate::error::{Error, Result};
use crate::window::Window;

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const CHECKSUM_AT: usize = 0x3FC;
/// Block groups of a file system of 8 TiB with the usual block size.
const GROUPS_MAX: u64 = 1 << 16;
/// The largest journal that mke2fs makes.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;
const INCOMPAT_AT: usize = 0x60;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;

pub(crate) struct ExtTree {
    fs: Ext4,
    budget: Budget,
    /// Directories whose length was seen to be sane.
    sane: RefCell<HashSet<String>>,
    is_replayed: bool,
}

/// A volume that says its journal needs no replay: its files are then as they were last written back. The crate
/// replays only journals with checksums and 64-bit block numbers, so not those of ext3 and of many ext4 volumes.
struct Unreplayed(Window);

impl Ext4Read for Unreplayed {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.0.read_at(start_byte, dst)?;
        if start_byte == SUPERBLOCK_AT && dst.len() == SUPERBLOCK_BYTES {
            dst[INCOMPAT_AT] &= !(INCOMPAT_RECOVER as u8);
            let checksum = crc32c(&dst[..CHECKSUM_AT]);
            dst[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        }
        Ok(())
    }
}

impl ExtTree {
    pub(crate) fn open(volume: &Window) -> Result<Self> {
        let incompat = check_superblock(volume)?;
        let budget = volume.budget().clone();
        match Ext4::load(Box::new(volume.clone())) {
            Err(Ext4Error::Incompatible(_)) if incompat & INCOMPAT_RECOVER != 0 => {
                let fs = Ext4::load(Box::new(Unreplayed(volume.clone()))).map_err(error_of)?;
                Ok(Self { fs, budget, sane: RefCell::default(), is_replayed: false })
            }
            loaded => {
                let fs = loaded.map_err(error_of)?;
                Ok(Self { fs, budget, sane: RefCell::default(), is_replayed: true })
            }
        }
    }

    /// Sees that every directory on the way to a path may be searched.
    fn check_parents(&self, path: &str) -> Result<bool> {
        let Some((parent, _)) = split(path) else {
            return Ok(true);
        };
        if self.sane.borrow().contains(parent) {
            return Ok(true);
        }
        Ok(self.check_parents(parent)? && self.check_directory(parent)?)
    }

    /// Whether the path is a directory; an error where it is one of absurd length.
    fn check_directory(&self, path: &str) -> Result<bool> {
        self.budget.charge_step()?;
        let metadata = match self.fs.symlink_metadata(path) {
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(false),
            other => other.map_err(error_of)?,
        };
        if !metadata.is_dir() {
            return Ok(false);
        }
        if metadata.len() > DIRECTORY_BYTES_MAX {
            return Err(Error::Damaged(format!("the directory {path} says it has {} bytes", metadata.len())));
        }
        self.sane.borrow_mut().insert(path.to_owned());
        Ok(true)
    }
}

/// CRC-32C without its final inversion, as ext4 stores it.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

impl FileTree for ExtTree {
    fn caveat(&self) -> Option<&'static str> {
        let caveat =
            "the volume was copied while it was in use, and the latest changes in its journal are not seen";
        (!self.is_replayed).then_some(caveat)
    }

    fn lookup(&self, path: &str) -> Result<Option<Node>> {
        if !self.check_parents(path)? {
            return Ok(None);
        }
        let metadata = match self.fs.symlink_metadata(path) {
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(None),
            other => other.map_err(error_of)?,
        };
        let file_type = metadata.file_type();
        let kind = if file_type.is_regular_file() {
            NodeKind::File
        } else if file_type.is_dir() {
            NodeKind::Directory
        } else if file_type.is_symlink() {
            NodeKind::Symlink
        } else {
            NodeKind::Other
        };
        Ok(Some(Node { kind, size_bytes: metadata.len() }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        if !self.check_parents(directory)? || !self.check_directory(directory)? {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in self.fs.read_dir(directory).map_err(error_of)?.take(LISTED_ENTRIES_MAX) {
            self.budget.charge_step()?;
            let entry = entry.map_err(error_of)?;
            match entry.file_name().as_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn read_link(&self, path: &str) -> Result<String> {
        let metadata = self.fs.symlink_metadata(path).map_err(error_of)?;
        if metadata.len() > LINK_TARGET_BYTES_MAX {
            return Err(Error::Damaged(format!("the link {path} says it has {} bytes", metadata.len())));
        }
        let target = self.fs.read_link(path).map_err(error_of)?;
        Ok(target.to_str().map_err(Error::damaged)?.to_owned())
    }

    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>> {
        Ok(Box::new(self.fs.open(path).map_err(error_of)?))
    }
}

fn error_of(error: Ext4Error) -> Error {
    match error {
        Ext4Error::Io(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(foreign) => Error::damaged(foreign),
        },
        Ext4Error::Incompatible(what) => Error::Unsupported(what.to_string()),
        Ext4Error::Encrypted => Error::Unsupported("an encrypted directory".to_owned()),
        other => Error::damaged(other),
    }
}

/// Refuses geometry that would make the crate allocate or loop without measure.
/// The answer is the word of incompatible features.
fn check_superblock(volume: &Window) -> Result<u32> {
    let bytes: [u8; SUPERBLOCK_BYTES] = volume.read_array(SUPERBLOCK_AT)?;
    let word = |at| u64::from(le32(&bytes, at).unwrap_or(0));
    let log_block = word(0x18);
    if log_block > 6 {
        return Err(Error::Damaged("the block size is absurd".to_owned()));
    }
    let block_bytes = 1024u64 << log_block;
    let incompat = word(INCOMPAT_AT) as u32;
    let high = if incompat & INCOMPAT_64BIT != 0 { word(0x150) } else { 0 };
    let blocks = high << 32 | word(0x4);
    if blocks.checked_mul(block_bytes).is_none_or(|size| size > volume.len()) {
        return Err(Error::Damaged(format!(
            "{blocks} blocks of {block_bytes} bytes do not fit its partition"
        )));
    }
    let per_group = word(0x20).max(1);
    if blocks / per_group > GROUPS_MAX {
        return Err(Error::Damaged(format!("groups of {per_group} blocks are absurd")));
    }
    if incompat & INCOMPAT_RECOVER != 0 {
        check_journal(volume, &bytes, block_bytes)?;
    }
    Ok(incompat)
}

/// Sees that the journal's inode says a sane length.
fn check_journal(volume: &Window, superblock: &[u8; SUPERBLOCK_BYTES], block_bytes: u64) -> Result<()> {
    let word = |at| u64::from(le32(superblock, at).unwrap_or(0));
    let index = word(0xE0).saturating_sub(1);
    let per_group = word(0x28).max(1);
    let inode_bytes = u64::from(le16(superblock, 0x58).unwrap_or(0));
    let is_64bit = word(INCOMPAT_AT) as u32 & INCOMPAT_64BIT != 0;
    let descriptor_bytes = if is_64bit { u64::from(le16(superblock, 0xFE).unwrap_or(0)) } else { 32 };
    let first_descriptor = (word(0x14) + 1) * block_bytes;
    let descriptor: [u8; 64] = volume.read_array(first_descriptor + index / per_group * descriptor_bytes)?;
    let high = if descriptor_bytes >= 64 { u64::from(le32(&descriptor, 0x28).unwrap_or(0)) } else { 0 };
    let table = (high << 32 | u64::from(le32(&descriptor, 8).unwrap_or(0))).saturating_mul(block_bytes);
    let inode: [u8; 128] = volume.read_array(table.saturating_add(index % per_group * inode_bytes))?;
    let half = |at| u64::from(le32(&inode, at).unwrap_or(0));
    let size = half(0x6C) << 32 | half(0x4);
    if size > JOURNAL_BYTES_MAX {
        return Err(Error::Damaged(format!("the journal says it has {size} bytes")));
    }
    Ok(())
}
