//! FAT, read by the crate `fatfs`: small volumes that hold boot loaders.

use std::io::{Seek, SeekFrom};

use fatfs::{Dir, DirEntry, FileSystem, FsOptions};

use super::{FileTree, LISTED_ENTRIES_MAX, Node, NodeKind, ReadSeek, split};
use crate::error::{Error, Result};
use crate::window::{Window, WindowCursor};

pub(crate) struct FatTree {
    fs: FileSystem<WindowCursor>,
    volume: Window,
}

impl FatTree {
    pub(crate) fn open(volume: &Window) -> Result<Self> {
        let fs = FileSystem::new(volume.cursor(), FsOptions::new()).map_err(Error::from_io)?;
        Ok(Self { fs, volume: volume.clone() })
    }

    fn entries<'a>(&'a self, directory: &Dir<'a, WindowCursor>) -> Result<Vec<DirEntry<'a, WindowCursor>>> {
        let mut entries = Vec::new();
        for entry in directory.iter().take(LISTED_ENTRIES_MAX) {
            self.volume.budget().charge_step()?;
            entries.push(entry.map_err(Error::from_io)?);
        }
        Ok(entries)
    }

    /// The directory of a path; names are compared without case, as FAT does.
    fn directory<'a>(&'a self, path: &str) -> Result<Option<Dir<'a, WindowCursor>>> {
        let mut directory = self.fs.root_dir();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entries = self.entries(&directory)?;
            match entries.into_iter().find(|entry| is_named(entry, name)) {
                Some(entry) if entry.is_dir() => directory = entry.to_dir(),
                _ => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    fn entry<'a>(&'a self, path: &str) -> Result<Option<DirEntry<'a, WindowCursor>>> {
        let Some((parent, name)) = split(path) else {
            return Ok(None);
        };
        let Some(parent) = self.directory(parent)? else {
            return Ok(None);
        };
        Ok(self.entries(&parent)?.into_iter().find(|entry| is_named(entry, name)))
    }
}

fn is_named(entry: &DirEntry<'_, WindowCursor>, name: &str) -> bool {
    entry.file_name().eq_ignore_ascii_case(name) || entry.short_file_name().eq_ignore_ascii_case(name)
}

impl FileTree for FatTree {
    fn lookup(&self, path: &str) -> Result<Option<Node>> {
        if path == "/" {
            return Ok(Some(Node { kind: NodeKind::Directory, size_bytes: 0 }));
        }
        Ok(self.entry(path)?.map(|entry| {
            let kind = if entry.is_dir() { NodeKind::Directory } else { NodeKind::File };
            Node { kind, size_bytes: entry.len() }
        }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let Some(directory) = self.directory(directory)? else {
            return Ok(Vec::new());
        };
        let names = self.entries(&directory)?.into_iter().map(|entry| entry.file_name());
        Ok(names.filter(|name| name != "." && name != "..").collect())
    }

    fn read_link(&self, path: &str) -> Result<String> {
        Err(Error::Damaged(format!("{path}: FAT has no links")))
    }

    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>> {
        let entry = self.entry(path)?.ok_or_else(|| Error::Damaged(format!("{path} is gone")))?;
        let mut file = entry.to_file();
        file.seek(SeekFrom::Start(0)).map_err(Error::from_io)?;
        Ok(Box::new(file))
    }
}
