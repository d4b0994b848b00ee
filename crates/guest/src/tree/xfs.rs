//! XFS, versions 4 and 5. The crate `xfs-core` decodes superblock, inodes, extents and directory blocks; finding and
//! reading them is done here, since the crate wants the whole volume in memory and takes block numbers for linear.
//!
//! Source: "XFS Algorithms & Data Structures", 3rd edition, by the XFS developers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::rc::Rc;

use xfs::{BmbtRec, DirEntry, FileType, Inode, InodeFormat, Superblock};

use super::runs::{Run, RunReader};
use super::{
    DIRECTORY_BYTES_MAX, FileTree, LINK_TARGET_BYTES_MAX, LISTED_ENTRIES_MAX, Node, NodeKind, ReadSeek,
};
use crate::bytes::{be16, be32, be64};
use crate::error::{Error, Result};
use crate::window::Window;

/// Deeper than any tree of extents on a volume that fits a disk.
const EXTENT_TREE_LEVELS_MAX: u16 = 8;
/// Extents of one file; a file with more is taken for damage.
const EXTENTS_MAX: usize = 1 << 20;
/// Directories whose entries are kept at hand.
const CACHED_DIRECTORIES: usize = 32;
const EXTENT_BYTES: usize = 16;
const EXTENT_TREE_MAGICS: [(u32, usize); 2] = [(0x424D_4150, 24), (0x424D_4133, 72)];
const SYMLINK_MAGIC: &[u8] = b"XSLM";
const SYMLINK_HEADER_BYTES: usize = 56;
const FLAGS2_LARGE_EXTENT_COUNTS: u64 = 1 << 4;

pub(crate) struct XfsTree {
    volume: Window,
    superblock: Superblock,
    directory_block_bytes: u64,
    directories: RefCell<HashMap<u64, Rc<Vec<DirEntry>>>>,
}

impl XfsTree {
    pub(crate) fn open(volume: &Window) -> Result<Self> {
        let bytes: [u8; 512] = volume.read_array(0)?;
        let superblock = Superblock::parse(&bytes).map_err(Error::damaged)?;
        let directory_log = u32::from(bytes[192]);
        check_geometry(&superblock, directory_log, volume.len())?;
        let directory_block_bytes = u64::from(superblock.blocksize) << directory_log;
        Ok(Self {
            volume: volume.clone(),
            superblock,
            directory_block_bytes,
            directories: RefCell::default(),
        })
    }

    fn inode(&self, number: u64) -> Result<(Inode, Vec<u8>)> {
        self.volume.budget().charge_step()?;
        let mut bytes = vec![0; usize::from(self.superblock.inodesize)];
        self.volume.read_at(self.superblock.inode_to_location(number).byte_offset, &mut bytes)?;
        let inode = Inode::parse(&bytes).map_err(Error::damaged)?;
        if inode.di_ino.is_some_and(|own| own != number) || inode.crc_valid == Some(false) {
            return Err(Error::Damaged(format!("inode {number} is not what its checksum says")));
        }
        Ok((inode, bytes))
    }

    /// The inode of a path without following links; `None` where there is none.
    fn find(&self, path: &str) -> Result<Option<(Inode, Vec<u8>)>> {
        let mut number = self.superblock.rootino;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let (inode, bytes) = self.inode(number)?;
            if !inode.is_dir() {
                return Ok(None);
            }
            let entries = self.entries(number, &inode, &bytes)?;
            match entries.iter().find(|entry| entry.name == name.as_bytes()) {
                Some(entry) => number = entry.inode,
                None => return Ok(None),
            }
        }
        self.inode(number).map(Some)
    }

    fn found(&self, path: &str) -> Result<(Inode, Vec<u8>)> {
        self.find(path)?.ok_or_else(|| Error::Damaged(format!("{path} is gone")))
    }

    fn entries(&self, number: u64, inode: &Inode, bytes: &[u8]) -> Result<Rc<Vec<DirEntry>>> {
        if let Some(entries) = self.directories.borrow().get(&number) {
            return Ok(entries.clone());
        }
        let entries = Rc::new(self.read_directory(inode, bytes)?);
        let mut cached = self.directories.borrow_mut();
        if cached.len() >= CACHED_DIRECTORIES {
            cached.clear();
        }
        cached.insert(number, entries.clone());
        Ok(entries)
    }

    fn read_directory(&self, inode: &Inode, bytes: &[u8]) -> Result<Vec<DirEntry>> {
        let has_ftype = self.superblock.has_ftype();
        if inode.format == InodeFormat::Local {
            return Ok(xfs::read_shortform_dir(data_fork(inode), has_ftype));
        }
        if inode.size > DIRECTORY_BYTES_MAX {
            return Err(Error::Damaged(format!("a directory says it has {} bytes", inode.size)));
        }
        let mut reader = self.reader(inode, bytes)?;
        let mut block = vec![0; self.directory_block_bytes as usize];
        let mut entries = Vec::new();
        for _ in 0..inode.size / self.directory_block_bytes {
            self.volume.budget().charge_step()?;
            reader.read_exact(&mut block).map_err(Error::from_io)?;
            // Blocks of the index have neither magic and hold no names.
            let read = xfs::read_block_dir(&block, has_ftype)
                .or_else(|_| xfs::read_data_dir_block(&block, has_ftype));
            entries.extend(read.unwrap_or_default());
            if entries.len() > LISTED_ENTRIES_MAX {
                break;
            }
        }
        Ok(entries)
    }

    fn reader(&self, inode: &Inode, bytes: &[u8]) -> Result<RunReader> {
        let fork = data_fork(inode);
        let extents = match inode.format {
            InodeFormat::Extents => xfs::read_extents(fork, extent_count(inode, bytes)),
            InodeFormat::Btree => self.extent_tree(fork)?,
            other => return Err(Error::Damaged(format!("a file of format {other:?} has no blocks"))),
        };
        let runs = extents.iter().map(|extent| self.run(extent)).collect::<Result<Vec<_>>>()?;
        Ok(RunReader::new(self.volume.clone(), runs, inode.size))
    }

    fn run(&self, extent: &BmbtRec) -> Result<Run> {
        let block_bytes = u64::from(self.superblock.blocksize);
        let source = if extent.unwritten { None } else { Some(self.byte_of(extent.startblock)?) };
        Ok(Run {
            start: extent.startoff.saturating_mul(block_bytes),
            len: extent.blockcount * block_bytes,
            source,
        })
    }

    /// A block number holds its allocation group in its high bits.
    fn byte_of(&self, block: u64) -> Result<u64> {
        let log = u32::from(self.superblock.agblklog);
        let (group, within) = (block >> log, block & ((1 << log) - 1));
        let linear = group
            .checked_mul(u64::from(self.superblock.agblocks))
            .and_then(|first| first.checked_add(within));
        linear
            .and_then(|linear| linear.checked_mul(u64::from(self.superblock.blocksize)))
            .ok_or_else(|| Error::Damaged(format!("block {block} lies nowhere")))
    }

    /// The extents of a file whose list is a tree: its root is in the inode, its leaves hold the extents.
    fn extent_tree(&self, root: &[u8]) -> Result<Vec<BmbtRec>> {
        let short = || Error::Damaged("a tree of extents is cut short".to_owned());
        let level = be16(root, 0).ok_or_else(short)?;
        let count = usize::from(be16(root, 2).ok_or_else(short)?);
        if level == 0 || level > EXTENT_TREE_LEVELS_MAX {
            return Err(Error::Damaged(format!("a tree of extents has {level} levels")));
        }
        let pointers_at = 4 + (root.len() - 4) / 16 * 8;
        let pointers = (0..count).map_while(|index| be64(root, pointers_at + index * 8));
        let mut pending: Vec<(u64, u16)> = pointers.map(|pointer| (pointer, level - 1)).collect();
        pending.reverse();
        let mut extents = Vec::new();
        let mut block = vec![0; self.superblock.blocksize as usize];
        while let Some((pointer, level)) = pending.pop() {
            self.volume.budget().charge_step()?;
            self.volume.read_at(self.byte_of(pointer)?, &mut block)?;
            let magic = be32(&block, 0).ok_or_else(short)?;
            let known = EXTENT_TREE_MAGICS.iter().find(|(known, _)| *known == magic);
            let header = known.map(|(_, header)| *header).filter(|_| be16(&block, 4) == Some(level));
            let header =
                header.ok_or_else(|| Error::Damaged("a tree of extents has a foreign block".to_owned()))?;
            let count = usize::from(be16(&block, 6).ok_or_else(short)?);
            if level == 0 {
                extents.extend(xfs::read_extents(&block[header..], count as u32));
            } else {
                let pointers_at = header + (block.len() - header) / EXTENT_BYTES * 8;
                let pointers = (0..count).map_while(|index| be64(&block, pointers_at + index * 8));
                pending.extend(
                    pointers.collect::<Vec<_>>().into_iter().rev().map(|pointer| (pointer, level - 1)),
                );
            }
            if extents.len() + pending.len() > EXTENTS_MAX {
                return Err(Error::Damaged("a file has more extents than it may".to_owned()));
            }
        }
        Ok(extents)
    }
}

impl FileTree for XfsTree {
    fn lookup(&self, path: &str) -> Result<Option<Node>> {
        Ok(self.find(path)?.map(|(inode, _)| {
            let kind = match inode.file_type() {
                FileType::Regular => NodeKind::File,
                FileType::Directory => NodeKind::Directory,
                FileType::Symlink => NodeKind::Symlink,
                _ => NodeKind::Other,
            };
            Node { kind, size_bytes: inode.size }
        }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let Some((inode, bytes)) = self.find(directory)?.filter(|(inode, _)| inode.is_dir()) else {
            return Ok(Vec::new());
        };
        let entries = self.read_directory(&inode, &bytes)?;
        let names = entries.into_iter().filter_map(|entry| String::from_utf8(entry.name).ok());
        Ok(names.filter(|name| name != "." && name != "..").collect())
    }

    fn read_link(&self, path: &str) -> Result<String> {
        let (inode, bytes) = self.found(path)?;
        if inode.size > LINK_TARGET_BYTES_MAX {
            return Err(Error::Damaged(format!("the link {path} says it has {} bytes", inode.size)));
        }
        let size = inode.size as usize;
        let target = if inode.format == InodeFormat::Local {
            data_fork(&inode).get(..size).unwrap_or_default().to_vec()
        } else {
            let mut longer = inode.clone();
            longer.size = (size + SYMLINK_HEADER_BYTES) as u64;
            let mut target = Vec::new();
            self.reader(&longer, &bytes)?.read_to_end(&mut target).map_err(Error::from_io)?;
            let skip = if target.starts_with(SYMLINK_MAGIC) { SYMLINK_HEADER_BYTES } else { 0 };
            target.get(skip..skip + size).unwrap_or_default().to_vec()
        };
        String::from_utf8(target).map_err(Error::damaged)
    }

    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>> {
        let (inode, bytes) = self.found(path)?;
        if inode.format == InodeFormat::Local {
            return Ok(Box::new(Cursor::new(data_fork(&inode).to_vec())));
        }
        Ok(Box::new(self.reader(&inode, &bytes)?))
    }
}

/// The part of the inode that describes the data: extended attributes may take the rest.
fn data_fork(inode: &Inode) -> &[u8] {
    let end = usize::from(inode.forkoff) * 8;
    let fork = &inode.data_fork;
    if end == 0 { fork } else { fork.get(..end).unwrap_or(fork) }
}

/// Newer volumes keep the count of extents elsewhere in the inode.
fn extent_count(inode: &Inode, bytes: &[u8]) -> u32 {
    let large = inode.flags2.is_some_and(|flags| flags & FLAGS2_LARGE_EXTENT_COUNTS != 0);
    let count = if large { be64(bytes, 24).unwrap_or(0) } else { u64::from(inode.nextents) };
    count.min(EXTENTS_MAX as u64) as u32
}

fn check_geometry(superblock: &Superblock, directory_log: u32, volume_bytes: u64) -> Result<()> {
    let block = superblock.blocksize;
    let sane = matches!(block, 512..=65536)
        && block == 1u32.checked_shl(u32::from(superblock.blocklog)).unwrap_or(0)
        && matches!(superblock.inodesize, 256..=2048)
        && u32::from(superblock.inodesize) == 1u32.checked_shl(u32::from(superblock.inodelog)).unwrap_or(0)
        && u32::from(superblock.inodesize) <= block
        && superblock.inopblog == superblock.blocklog - superblock.inodelog
        && superblock.agblklog <= 31
        && (1..=1u32 << superblock.agblklog).contains(&superblock.agblocks)
        && u32::from(superblock.blocklog) + directory_log <= 16
        && u64::from(superblock.agblocks) * u64::from(block) <= volume_bytes;
    if sane { Ok(()) } else { Err(Error::Damaged("its superblock contradicts itself".to_owned())) }
}
