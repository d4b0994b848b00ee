//! ext2, ext3 and ext4: which of them may be written, and the writing.
//!
//! The superblock is judged before the crate sees the disk. Source of its fields and flags: the kernel's
//! `Documentation/filesystems/ext4`, "Super Block".

use std::sync::Arc;

use fs_ext4::error::Error as ExtError;
use fs_ext4::fs::Filesystem;

use super::partition::Partition;
use super::{PlaceError, check_length, split};

const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const ROOT: u32 = 2;
const MODE: u16 = 0o644;

/// `s_state`: taken down in order, and no error was noticed.
const STATE_VALID: u16 = 1;
/// `s_rev_level` with feature flags.
const REVISION_DYNAMIC: u32 = 1;
/// Blocks of 1, 2 and 4 KiB: what kernels on every machine can mount.
const LOG_BLOCK_SIZE_MAX: u32 = 2;

/// dir_prealloc, has_journal, ext_attr, resize_inode, dir_index, sparse_super2, fast_commit, orphan_file.
const COMPATIBLE: u32 = 0x1 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x1000;
const HAS_JOURNAL: u32 = 0x4;
/// filetype, meta_bg, extent, 64bit, flex_bg, metadata_csum_seed, inline_data.
const INCOMPATIBLE: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x8000;
const NEEDS_RECOVERY: u32 = 0x4;
/// sparse_super, large_file, huge_file, uninit_bg, dir_nlink, extra_isize, metadata_csum.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
const ORPHAN_PRESENT: u32 = 0x10000;

/// Puts a file into the file system on `partition`; see [`super::file`].
pub(super) fn place(partition: Partition, path: &str, content: &[u8]) -> Result<(), PlaceError> {
    check_length(content)?;
    let (directories, name) = split(path)?;
    let mut superblock = [0; SUPERBLOCK_BYTES];
    partition.read(SUPERBLOCK, &mut superblock)?;
    judge(&superblock)?;
    let partition = Arc::new(partition);
    let fs = Filesystem::mount(partition.clone()).map_err(failed)?;
    let directory = walk(&fs, &directories)?;
    match fs.lookup_at(directory, name.as_bytes()) {
        Ok(found) if fs.stat_ino(found).map_err(failed)?.is_dir() => {
            return Err(PlaceError::IsDirectory(path.to_owned()));
        }
        Ok(_) => fs.apply_unlink_at(directory, name.as_bytes()).map_err(failed)?,
        Err(ExtError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    fs.apply_create_at(directory, name.as_bytes(), MODE).map_err(failed)?;
    fs.apply_replace_file_content(path, content).map_err(failed)?;
    fs.finish().map_err(failed)?;
    verify(partition, &directories, name, content)
}

/// Looks at the disk afresh: the file must be there, and the file system as sound as before.
fn verify(
    partition: Arc<Partition>,
    directories: &[&str],
    name: &str,
    content: &[u8],
) -> Result<(), PlaceError> {
    let mut superblock = [0; SUPERBLOCK_BYTES];
    partition.read(SUPERBLOCK, &mut superblock)?;
    judge(&superblock)?;
    let fs = Filesystem::mount(partition).map_err(failed)?;
    let file = fs.lookup_at(walk(&fs, directories)?, name.as_bytes()).map_err(failed)?;
    let mut found = vec![0; content.len()];
    let inode = fs.stat_ino(file).map_err(failed)?;
    let same = inode.is_file()
        && inode.size == content.len() as u64
        && fs.read_ino(file, 0, &mut found).map_err(failed)? == content.len()
        && found == content;
    if same { Ok(()) } else { Err(PlaceError::FileSystem("what was written does not read back".to_owned())) }
}

/// The directory that the names lead to from the root. A symbolic link is no directory.
fn walk(fs: &Filesystem, names: &[&str]) -> Result<u32, PlaceError> {
    let mut directory = ROOT;
    let mut path = String::new();
    for name in names {
        path = format!("{path}/{name}");
        directory = match fs.lookup_at(directory, name.as_bytes()) {
            Ok(found) => found,
            Err(ExtError::NotFound) => return Err(PlaceError::NoDirectory(path)),
            Err(error) => return Err(failed(error)),
        };
        if !fs.stat_ino(directory).map_err(failed)?.is_dir() {
            return Err(PlaceError::NoDirectory(path));
        }
    }
    Ok(directory)
}

/// Whether the file system is one to write into.
fn judge(superblock: &[u8; SUPERBLOCK_BYTES]) -> Result<(), PlaceError> {
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| superblock[at + n]));
    let half = |at: usize| u16::from_le_bytes([superblock[at], superblock[at + 1]]);
    let [compatible, incompatible, read_only_compatible] = [word(0x5C), word(0x60), word(0x64)];
    let last_orphan = word(0xE8);
    let unsuitable = |reason: String| Err(PlaceError::Unsuitable(reason));
    if incompatible & NEEDS_RECOVERY != 0 {
        return unsuitable(
            "was not taken down in order: its journal holds changes that are to be replayed first".into(),
        );
    }
    if half(0x3A) != STATE_VALID || read_only_compatible & ORPHAN_PRESENT != 0 || last_orphan != 0 {
        return unsuitable("was not taken down in order, or says of errors in it: it needs a check".into());
    }
    if word(0x4C) != REVISION_DYNAMIC || word(0x18) > LOG_BLOCK_SIZE_MAX {
        return unsuitable("is of a kind that is not written offline".into());
    }
    if compatible & HAS_JOURNAL != 0 && word(0xE0) == 0 {
        return unsuitable("has its journal on another disk".into());
    }
    let unknown = [
        (compatible & !COMPATIBLE, "compatible"),
        (incompatible & !INCOMPATIBLE, "incompatible"),
        (read_only_compatible & !READ_ONLY_COMPATIBLE, "read-only compatible"),
    ];
    match unknown.into_iter().find(|(flags, _)| *flags != 0) {
        Some((flags, set)) => {
            unsuitable(format!("has features that are not written offline ({set} {flags:#x})"))
        }
        None => Ok(()),
    }
}

fn failed(error: ExtError) -> PlaceError {
    PlaceError::FileSystem(error.to_string())
}
