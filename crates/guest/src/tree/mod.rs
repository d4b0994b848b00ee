//! Reading the files of a volume: one trait for all file systems, and [`Root`], which mounts several into one tree
//! and resolves symbolic links inside it.
//!
//! Paths are absolute, of `/`-separated names. Nothing is written, and nothing outside the volume is ever opened.

mod ext;
mod fat;
mod ntfs;
mod root;
mod runs;
mod xfs;

use std::io::{Read, Seek};

pub(crate) use root::Root;

use crate::content::Content;
use crate::error::{Error, Result};
use crate::window::Window;

/// Larger directories are taken for damage: this one has room for some 100,000 entries.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;
/// A directory with more entries is cut off there.
const LISTED_ENTRIES_MAX: usize = 50_000;
/// Longer link targets exist on no system.
const LINK_TARGET_BYTES_MAX: u64 = 4096;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    File,
    Directory,
    Symlink,
    /// Devices, pipes, sockets, reparse points.
    Other,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) size_bytes: u64,
}

/// A file's content.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A volume's files. Every path's parents are directories of this volume, with no symbolic link among them.
pub(crate) trait FileTree {
    /// Why what is read may not be what the system last saw, as a sentence without its full stop.
    fn caveat(&self) -> Option<&'static str> {
        None
    }
    /// The node of a path, itself and not what it links to; `None` where there is none.
    fn lookup(&self, path: &str) -> Result<Option<Node>>;
    /// The names in a directory, without `.` and `..`, and without those that are no UTF-8.
    fn list(&self, directory: &str) -> Result<Vec<String>>;
    /// Where a symbolic link leads.
    fn read_link(&self, path: &str) -> Result<String>;
    /// The content of a regular file.
    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>>;
}

/// Opens the files of a volume, where its file system is one that is read here.
pub(crate) fn open(content: Content, volume: &Window) -> Result<Box<dyn FileTree>> {
    Ok(match content {
        Content::Ext2 | Content::Ext3 | Content::Ext4 => Box::new(ext::ExtTree::open(volume)?),
        Content::Xfs => Box::new(xfs::XfsTree::open(volume)?),
        Content::Ntfs => Box::new(ntfs::NtfsTree::open(volume)?),
        Content::Fat12 | Content::Fat16 | Content::Fat32 => Box::new(fat::FatTree::open(volume)?),
        other => return Err(Error::Unsupported(format!("files on {other:?} are not read"))),
    })
}

/// The directory that a path is in, and its name there; `None` for the root.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then_some((if parent.is_empty() { "/" } else { parent }, name))
}
