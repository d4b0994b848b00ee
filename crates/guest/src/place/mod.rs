//! Putting one small file into a file system that nobody has mounted: the network file of an image without
//! cloud-init, before its first boot.
//!
//! The file systems' own work is done by two crates; the choice and its evidence are in
//! `docs/decisions/0007-offline-write.md`. What is decided here is what they are let loose on: a file system that was
//! taken down in order, says of no error, and has no feature that the tests do not cover. Afterwards the file is read
//! back through a fresh look at the disk. The base is never written: what changed is the result.
//!
//! The disk is a stranger's. These functions bound what they keep, but neither the time nor the memory that a made-up
//! file system may cost: they are to be run in a process that can be killed. Deliberately absent: replaying journals,
//! making directories, and anything but ext2, ext3, ext4 and NTFS.

mod ext;
mod network_file;
mod ntfs;
mod partition;

use std::sync::Arc;

use kiln_block::{BlockDevice, CowDevice, WritableBlockDevice};

pub use network_file::{LINUX_PATH, NetworkFacts, WINDOWS_PATH, linux_text, windows_text};
use partition::Partition;

use crate::budget::{Budget, Limits};
use crate::content::Content;
use crate::inspection;

/// Longest file that is put anywhere, in bytes.
pub const CONTENT_BYTES_MAX: usize = 64 << 10;
/// What one file may change on a disk, the journal's blocks included, in bytes.
pub const CHANGED_BYTES_MAX: usize = 16 << 20;

/// Why a file was not put where it belongs. Every text completes "the file is missing because".
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// There is nothing to put it into.
    #[error("no system was found on its disk")]
    NoSystem,
    /// The file system is sound, as far as can be told, but not one to write into offline.
    #[error("the file system {0}")]
    Unsuitable(String),
    /// The file system contradicts itself, or is too full.
    #[error("the file system could not take it: {0}")]
    FileSystem(String),
    /// A directory on the way is missing.
    #[error("the file system has no directory {0}")]
    NoDirectory(String),
    /// Something that is no file has the name.
    #[error("{0} is a directory")]
    IsDirectory(String),
    /// The content is longer than [`CONTENT_BYTES_MAX`], or the path is not absolute.
    #[error("it cannot be put into a file system: {0}")]
    Invalid(&'static str),
    /// The disk cannot be read, or too much of it would change.
    #[error("the disk: {0}")]
    Device(#[from] kiln_block::Error),
}

/// Runs of changed bytes, ascending, each at its offset on the disk.
pub type Changes = Vec<(u64, Vec<u8>)>;

/// A kind of file system, told by its superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ext,
    Ntfs,
}

/// Puts the network file into the system on `disk`, and returns what that changes.
///
/// The system is the one that an inspection finds, whatever else on the disk has an `/etc`.
///
/// # Errors
/// [`PlaceError`].
pub fn network_file(disk: Arc<dyn BlockDevice>, facts: &NetworkFacts) -> Result<Changes, PlaceError> {
    let root = match inspection::root_partition(&disk, &Budget::new(Limits::default())) {
        Ok(Some(root)) => root,
        Err(crate::Error::Device(error)) => return Err(error.into()),
        // What cannot be read leads to no system.
        Ok(None) | Err(_) => return Err(PlaceError::NoSystem),
    };
    let layer = Arc::new(CowDevice::new(disk, CHANGED_BYTES_MAX));
    let mut partition = Partition::new(layer.clone(), root.start_bytes, root.len_bytes)?;
    match root.content {
        Content::Ext2 | Content::Ext3 | Content::Ext4 => {
            ext::place(partition, LINUX_PATH, linux_text(facts).as_bytes())?;
        }
        Content::Ntfs => ntfs::place(&mut partition, WINDOWS_PATH, windows_text(facts).as_bytes())?,
        other => return Err(PlaceError::Unsuitable(format!("is {other:?}, which is not written offline"))),
    }
    Ok(layer.changes())
}

/// Puts a file at the absolute `path` (`/` separates) into the file system on `len` bytes at `offset` of `device`:
/// readable by all, writable by its owner, the system's administrator. A file or symbolic link of that name is
/// replaced, the latter never followed.
///
/// # Errors
/// [`PlaceError`]; the device may be changed in part then.
pub fn file(
    device: Arc<dyn WritableBlockDevice>,
    (offset, len): (u64, u64),
    path: &str,
    content: &[u8],
) -> Result<(), PlaceError> {
    let mut partition = Partition::new(device, offset, len)?;
    match kind(&partition)? {
        Some(Kind::Ext) => ext::place(partition, path, content),
        Some(Kind::Ntfs) => ntfs::place(&mut partition, path, content),
        None => Err(PlaceError::NoSystem),
    }
}

fn kind(partition: &Partition) -> Result<Option<Kind>, PlaceError> {
    const EXT_MAGIC: (u64, &[u8]) = (1024 + 56, &[0x53, 0xEF]);
    const NTFS_MAGIC: (u64, &[u8]) = (3, b"NTFS    ");
    for (kind, (offset, magic)) in [(Kind::Ntfs, NTFS_MAGIC), (Kind::Ext, EXT_MAGIC)] {
        let mut found = vec![0; magic.len()];
        if offset + magic.len() as u64 <= partition.len() {
            partition.read(offset, &mut found)?;
            if found == magic {
                return Ok(Some(kind));
            }
        }
    }
    Ok(None)
}

/// The directories on the way of an absolute path, and its last name.
fn split(path: &str) -> Result<(Vec<&str>, &str), PlaceError> {
    let path = path.strip_prefix('/').ok_or(PlaceError::Invalid("its path is not absolute"))?;
    let mut names: Vec<_> = path.split('/').collect();
    if names.iter().any(|name| name.is_empty() || *name == "." || *name == ".." || name.contains('\0')) {
        return Err(PlaceError::Invalid("its path names no file"));
    }
    let name = names.pop().ok_or(PlaceError::Invalid("its path is empty"))?;
    Ok((names, name))
}

fn check_length(content: &[u8]) -> Result<(), PlaceError> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(PlaceError::Invalid("it is too long"));
    }
    Ok(())
}
