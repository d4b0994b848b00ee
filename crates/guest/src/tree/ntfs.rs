//! NTFS, read by the crate `ntfs`. Names are compared without case. Compressed and encrypted files are not read.

use std::cell::RefCell;
use std::io::Cursor;

use ntfs::attribute_value::NtfsAttributeValue;
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileNamespace, NtfsIndexRoot};
use ntfs::{Ntfs, NtfsAttributeFlags, NtfsAttributeType, NtfsError, NtfsFile, NtfsReadSeek};

use super::runs::{Run, RunReader};
use super::{FileTree, LISTED_ENTRIES_MAX, Node, NodeKind, ReadSeek};
use crate::error::{Error, Result};
use crate::window::{Window, WindowCursor};

/// Windows makes records of 4 KiB; more than this is an allocation that a volume asks for in vain.
const INDEX_RECORD_BYTES_MAX: u32 = 64 << 10;
/// Pieces of one file.
const RUNS_MAX: usize = 1 << 20;
/// A file whose list of pieces does not fit its record is read whole, up to this length.
const WHOLE_FILE_BYTES_MAX: u64 = 64 << 20;

pub(crate) struct NtfsTree {
    ntfs: Ntfs,
    volume: Window,
    cursor: RefCell<WindowCursor>,
}

impl NtfsTree {
    pub(crate) fn open(volume: &Window) -> Result<Self> {
        let mut cursor = volume.cursor();
        let mut ntfs = Ntfs::new(&mut cursor).map_err(error_of)?;
        ntfs.read_upcase_table(&mut cursor).map_err(error_of)?;
        Ok(Self { ntfs, volume: volume.clone(), cursor: RefCell::new(cursor) })
    }

    fn find(&self, path: &str) -> Result<Option<NtfsFile<'_>>> {
        let cursor = &mut *self.cursor.borrow_mut();
        let mut file = self.ntfs.root_directory(cursor).map_err(error_of)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !file.is_directory() {
                return Ok(None);
            }
            self.volume.budget().charge_step()?;
            check_index(&file, cursor)?;
            let index = file.directory_index(cursor).map_err(error_of)?;
            let mut finder = index.finder();
            let Some(entry) = NtfsFileNameIndex::find(&mut finder, &self.ntfs, cursor, name) else {
                return Ok(None);
            };
            let next = entry.map_err(error_of)?.to_file(&self.ntfs, cursor).map_err(error_of)?;
            file = next;
        }
        Ok(Some(file))
    }

    fn found(&self, path: &str) -> Result<NtfsFile<'_>> {
        self.find(path)?.ok_or_else(|| Error::Damaged(format!("{path} is gone")))
    }

    fn data_len(&self, file: &NtfsFile<'_>) -> Result<Option<u64>> {
        let cursor = &mut *self.cursor.borrow_mut();
        match file.data(cursor, "") {
            Some(item) => {
                let item = item.map_err(error_of)?;
                Ok(Some(item.to_attribute().map_err(error_of)?.value_length()))
            }
            None => Ok(None),
        }
    }
}

impl FileTree for NtfsTree {
    fn lookup(&self, path: &str) -> Result<Option<Node>> {
        let Some(file) = self.find(path)? else {
            return Ok(None);
        };
        if file.is_directory() {
            return Ok(Some(Node { kind: NodeKind::Directory, size_bytes: 0 }));
        }
        // What has no data stream is a file to be had from elsewhere, or one of the volume's own.
        let data_len = self.data_len(&file)?;
        let kind = if data_len.is_some() { NodeKind::File } else { NodeKind::Other };
        Ok(Some(Node { kind, size_bytes: data_len.unwrap_or(0) }))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>> {
        let Some(file) = self.find(directory)?.filter(NtfsFile::is_directory) else {
            return Ok(Vec::new());
        };
        let cursor = &mut *self.cursor.borrow_mut();
        check_index(&file, cursor)?;
        let index = file.directory_index(cursor).map_err(error_of)?;
        let mut entries = index.entries();
        let mut names = Vec::new();
        while let Some(entry) = entries.next(cursor) {
            self.volume.budget().charge_step()?;
            let entry = entry.map_err(error_of)?;
            let Some(key) = entry.key() else { continue };
            let key = key.map_err(error_of)?;
            if key.namespace() != NtfsFileNamespace::Dos && names.len() < LISTED_ENTRIES_MAX {
                names.push(key.name().to_string_lossy());
            }
        }
        names.retain(|name| name != ".");
        Ok(names)
    }

    fn read_link(&self, path: &str) -> Result<String> {
        Err(Error::Unsupported(format!("{path}: reparse points are not followed")))
    }

    fn open<'a>(&'a self, path: &str) -> Result<Box<dyn ReadSeek + 'a>> {
        let file = self.found(path)?;
        let cursor = &mut *self.cursor.borrow_mut();
        let item = file.data(cursor, "").ok_or_else(|| Error::Damaged(format!("{path} has no data")))?;
        let item = item.map_err(error_of)?;
        let attribute = item.to_attribute().map_err(error_of)?;
        if attribute.flags().intersects(NtfsAttributeFlags::COMPRESSED | NtfsAttributeFlags::ENCRYPTED) {
            return Err(Error::Unsupported(format!("{path} is compressed or encrypted")));
        }
        match attribute.value(cursor).map_err(error_of)? {
            NtfsAttributeValue::Resident(value) => Ok(Box::new(Cursor::new(value.data().to_vec()))),
            NtfsAttributeValue::NonResident(value) => {
                let mut runs = Vec::new();
                let mut start = 0u64;
                for run in value.data_runs() {
                    self.volume.budget().charge_step()?;
                    let run = run.map_err(error_of)?;
                    let len = run.allocated_size();
                    runs.push(Run { start, len, source: run.data_position().value().map(u64::from) });
                    start = start.saturating_add(len);
                    if runs.len() > RUNS_MAX {
                        return Err(Error::Damaged(format!("{path} has more pieces than it may")));
                    }
                }
                Ok(Box::new(RunReader::new(self.volume.clone(), runs, value.len())))
            }
            NtfsAttributeValue::AttributeListNonResident(mut value) => {
                if value.len() > WHOLE_FILE_BYTES_MAX {
                    return Err(Error::Unsupported(format!("{path} is long and in very many pieces")));
                }
                let mut bytes = vec![0; value.len() as usize];
                value.read_exact(cursor, &mut bytes).map_err(error_of)?;
                Ok(Box::new(Cursor::new(bytes)))
            }
        }
    }
}

/// Sees that the records of a directory's index have a sane length: the crate allocates what the volume says.
fn check_index(file: &NtfsFile<'_>, cursor: &mut WindowCursor) -> Result<()> {
    let mut attributes = file.attributes();
    while let Some(item) = attributes.next(cursor) {
        let item = item.map_err(error_of)?;
        let attribute = item.to_attribute().map_err(error_of)?;
        if attribute.ty().map_err(error_of)? != NtfsAttributeType::IndexRoot {
            continue;
        }
        let root = attribute.resident_structured_value::<NtfsIndexRoot>().map_err(error_of)?;
        let record_bytes = root.index_record_size();
        if record_bytes > INDEX_RECORD_BYTES_MAX {
            return Err(Error::Damaged(format!("an index has records of {record_bytes} bytes")));
        }
    }
    Ok(())
}

fn error_of(error: NtfsError) -> Error {
    match error {
        NtfsError::Io(error) => Error::from_io(error),
        other => Error::damaged(other),
    }
}
