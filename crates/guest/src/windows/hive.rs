//! Registry hives: keys and values by path. Reads cell by cell, so a hive's size does not matter.
//!
//! Sources: the "regf" format as Maxim Suhanov and the hivex project describe it. Deliberately absent: transaction
//! logs, security, values too long for one cell.

use std::io::SeekFrom;

use crate::budget::Budget;
use crate::bytes::{le16, le32};
use crate::error::{Error, Result};
use crate::tree::ReadSeek;

const HEADER_BYTES: u64 = 4096;
/// Names are at most 255 characters of two bytes.
const NAME_BYTES_MAX: usize = 510;
const KEY_BYTES: usize = 76;
const VALUE_BYTES: usize = 20;
/// Longer values are kept elsewhere; none that is looked for is that long.
const DATA_BYTES_MAX: usize = 16 << 10;
/// An index of indexes is the deepest that there is.
const INDEX_LEVELS: u32 = 2;
const VALUES_MAX: u32 = 4096;
const NONE: u32 = u32::MAX;
const KEY_NAME_IS_LATIN: u16 = 0x20;
const VALUE_NAME_IS_LATIN: u16 = 0x1;
const DATA_IS_IN_PLACE: u32 = 0x8000_0000;

/// A hive that is being read.
pub(crate) struct Hive<'a> {
    source: Box<dyn ReadSeek + 'a>,
    budget: &'a Budget,
    root: u32,
}

/// A key, by the fields that lead on from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    subkeys: u32,
    values: u32,
    value_count: u32,
}

impl<'a> Hive<'a> {
    pub(crate) fn open(source: Box<dyn ReadSeek + 'a>, budget: &'a Budget) -> Result<Self> {
        let mut hive = Self { source, budget, root: 0 };
        let header = hive.read(0, 0x30)?;
        if !header.starts_with(b"regf") {
            return Err(Error::Damaged("a registry hive begins like none".to_owned()));
        }
        hive.root = le32(&header, 0x24).unwrap_or(NONE);
        Ok(hive)
    }

    /// The key at a path of names from the root; `None` where there is none.
    pub(crate) fn key(&mut self, path: &[&str]) -> Result<Option<Key>> {
        let Some((mut key, _)) = self.read_key(self.root)? else {
            return Err(Error::Damaged("a registry hive has no root".to_owned()));
        };
        for name in path {
            match self.find(key.subkeys, name, INDEX_LEVELS)? {
                Some(next) => key = next,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// A value that is text.
    pub(crate) fn text(&mut self, key: Key, name: &str) -> Result<Option<String>> {
        let data = self.value(key, name)?;
        Ok(data.map(|data| utf16(&data).trim_end_matches('\0').to_owned()))
    }

    /// A value that is a 32-bit number.
    pub(crate) fn number(&mut self, key: Key, name: &str) -> Result<Option<u32>> {
        Ok(self.value(key, name)?.and_then(|data| le32(&data, 0)))
    }

    /// Searches an index for the key of a name, without case.
    fn find(&mut self, index: u32, name: &str, levels: u32) -> Result<Option<Key>> {
        if index == NONE {
            return Ok(None);
        }
        let head = self.cell(index, 4)?;
        let count = usize::from(le16(&head, 2).unwrap_or(0));
        let entry_bytes = match &head[..2] {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return Err(Error::Damaged("a registry index has no known kind".to_owned())),
        };
        let is_of_indexes = &head[..2] == b"ri";
        if is_of_indexes && levels == 0 {
            return Err(Error::Damaged("a registry index is too deep".to_owned()));
        }
        let list = self.cell(index, 4 + count * entry_bytes)?;
        for entry in list[4..].chunks_exact(entry_bytes) {
            let target = le32(entry, 0).unwrap_or(NONE);
            if is_of_indexes {
                if let Some(found) = self.find(target, name, levels - 1)? {
                    return Ok(Some(found));
                }
            } else if let Some((key, own)) = self.read_key(target)?
                && own.eq_ignore_ascii_case(name)
            {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The key in a cell, and its name; `None` where the cell holds something else.
    fn read_key(&mut self, at: u32) -> Result<Option<(Key, String)>> {
        let cell = self.cell(at, KEY_BYTES)?;
        if !cell.starts_with(b"nk") {
            return Ok(None);
        }
        let word = |at| le32(&cell, at).unwrap_or(NONE);
        let has_subkeys = word(0x14) != 0;
        let key = Key {
            subkeys: if has_subkeys { word(0x1C) } else { NONE },
            value_count: word(0x24),
            values: word(0x28),
        };
        let len = usize::from(le16(&cell, 0x48).unwrap_or(0)).min(NAME_BYTES_MAX);
        let is_latin = le16(&cell, 2).unwrap_or(0) & KEY_NAME_IS_LATIN != 0;
        let name = self.cell(at, KEY_BYTES + len)?;
        Ok(Some((key, name_text(&name[KEY_BYTES..], is_latin))))
    }

    fn value(&mut self, key: Key, wanted: &str) -> Result<Option<Vec<u8>>> {
        if key.value_count == 0 || key.values == NONE {
            return Ok(None);
        }
        let count = key.value_count.min(VALUES_MAX) as usize;
        let list = self.cell(key.values, count * 4)?;
        for entry in list.chunks_exact(4) {
            let at = le32(entry, 0).unwrap_or(NONE);
            let value = self.cell(at, VALUE_BYTES)?;
            let len = usize::from(le16(&value, 2).unwrap_or(0)).min(NAME_BYTES_MAX);
            if !value.starts_with(b"vk") {
                continue;
            }
            let name = self.cell(at, VALUE_BYTES + len)?;
            let is_latin = le16(&value, 0x10).unwrap_or(0) & VALUE_NAME_IS_LATIN != 0;
            if name_text(&name[VALUE_BYTES..], is_latin).eq_ignore_ascii_case(wanted) {
                return self.data(&value).map(Some);
            }
        }
        Ok(None)
    }

    fn data(&mut self, value: &[u8]) -> Result<Vec<u8>> {
        let size = le32(value, 4).unwrap_or(0);
        if size & DATA_IS_IN_PLACE != 0 {
            let len = (size & !DATA_IS_IN_PLACE).min(4) as usize;
            return Ok(value[8..8 + len].to_vec());
        }
        let len = size as usize;
        if len > DATA_BYTES_MAX {
            return Err(Error::Unsupported(format!("a registry value of {len} bytes")));
        }
        self.cell(le32(value, 8).unwrap_or(NONE), len)
    }

    /// The first `len` bytes of a cell's content; damage where the cell is shorter.
    fn cell(&mut self, at: u32, len: usize) -> Result<Vec<u8>> {
        let start = HEADER_BYTES + u64::from(at);
        let mut bytes = self.read(start, 4 + len)?;
        let size = le32(&bytes, 0).unwrap_or(0) as i32;
        // Cells in use have their size negated.
        if u64::from(size.unsigned_abs()) < 4 + len as u64 {
            return Err(Error::Damaged(format!(
                "the registry cell at {at:#x} is shorter than what it holds"
            )));
        }
        Ok(bytes.split_off(4))
    }

    fn read(&mut self, at: u64, len: usize) -> Result<Vec<u8>> {
        self.budget.charge_step()?;
        let mut bytes = vec![0; len];
        self.source.seek(SeekFrom::Start(at)).map_err(Error::from_io)?;
        self.source.read_exact(&mut bytes).map_err(Error::from_io)?;
        Ok(bytes)
    }
}

fn name_text(bytes: &[u8], is_latin: bool) -> String {
    if is_latin { bytes.iter().map(|byte| char::from(*byte)).collect() } else { utf16(bytes) }
}

fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::budget::Limits;
    use crate::hive_image::{HiveImage, number, text};

    fn image() -> Vec<u8> {
        let mut image = HiveImage::new();
        image.key(&["Select"], &[number("Current", 1)]);
        image.key(
            &["ControlSet001", "Services", "viostor"],
            &[number("Start", 0), text("Group", "SCSI miniport")],
        );
        image.key(&["ControlSet001", "Services", "netkvm"], &[number("Start", 3)]);
        image.finish()
    }

    fn start_of(bytes: Vec<u8>, service: &str) -> Result<Option<u32>> {
        let budget = Budget::new(Limits { steps: 10_000, ..Limits::default() });
        let mut hive = Hive::open(Box::new(Cursor::new(bytes)), &budget)?;
        match hive.key(&["controlset001", "SERVICES", service])? {
            Some(key) => hive.number(key, "start"),
            None => Ok(None),
        }
    }

    #[test]
    fn keys_and_values_are_found_without_case() {
        assert_eq!(start_of(image(), "VioStor").expect("readable"), Some(0));
        assert_eq!(start_of(image(), "netkvm").expect("readable"), Some(3));
        assert_eq!(start_of(image(), "vioscsi").expect("readable"), None);
        let budget = Budget::new(Limits::default());
        let mut hive = Hive::open(Box::new(Cursor::new(image())), &budget).expect("a hive");
        let key = hive.key(&["ControlSet001", "Services", "viostor"]).expect("readable").expect("a key");
        assert_eq!(hive.text(key, "Group").expect("readable").as_deref(), Some("SCSI miniport"));
    }

    #[test]
    fn an_index_that_holds_itself_ends() {
        let mut bytes = image();
        // The root's index becomes one of indexes that points to itself.
        let root = 4096 + 0x20 + 4;
        let index = le32(&bytes, root + 0x1C).expect("in bounds");
        let at = 4096 + index as usize + 4;
        bytes[at..at + 2].copy_from_slice(b"ri");
        bytes[at + 4..at + 8].copy_from_slice(&index.to_le_bytes());
        assert!(matches!(start_of(bytes, "viostor"), Err(Error::Damaged(_))));
    }

    #[test]
    fn every_single_byte_may_be_wrong() {
        let whole = image();
        for at in 0..whole.len() {
            for byte in [0x00, 0x7F, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                // Any answer is right but a panic or a hang.
                let _ = start_of(damaged, "viostor");
            }
        }
    }
}
