//! Writes a small ISO 9660 image: one directory of a few files, with lower-case names for Unix (Rock Ridge) and
//! Windows (Joliet). Nothing is read here, and there are no subdirectories.
//!
//! Sources: ECMA-119 (sections in brackets), the Joliet specification, IEEE P1281 (SUSP) and P1282 (Rock Ridge).
//! ```text
//! block 0-15 system area │ 16 primary descriptor │ 17 Joliet descriptor │ 18 terminator │ 19-20 path tables (L, M)
//! │ 21-22 Joliet path tables │ 23 directory │ 24 Joliet directory │ 25 continuation of "." │ files
//! ```
//! Invariant: the same input gives the same bytes; times are all zero ("not specified").

use crate::error::{Error, Result};

/// The longest file, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The longest file name, in bytes, so that every record of both trees fits.
const MAX_NAME_BYTES: usize = 30;
/// The most files: their records fill one block at most.
const MAX_FILES: usize = 8;
/// The size of everything's unit.
const BLOCK_BYTES: usize = 2048;

const PRIMARY: usize = 16;
const PATH_TABLES: [usize; 2] = [19, 21];
const DIRECTORIES: [usize; 2] = [23, 24];
const CONTINUATION: usize = 25;
const FIRST_FILE: usize = 26;
/// The root's own path table entry [9.4]: name length, attributes, place, parent, name, padding.
const PATH_TABLE_BYTES: u32 = 10;

/// Rock Ridge's registration (P1282, section 4.3), once per volume.
const EXTENSION: [&[u8]; 3] = [
    b"RRIP_1991A",
    b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
    b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME \
      DESCRIPTOR FOR CONTACT INFORMATION.",
];

const REGULAR_FILE: u32 = 0o100_444;
const DIRECTORY: u32 = 0o040_555;

/// Which of the two directory trees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// With Rock Ridge entries.
    Primary = 0,
    Joliet = 1,
}

/// A file's place.
struct Placed<'a> {
    name: &'a str,
    block: usize,
    bytes: usize,
}

/// The image of a volume with these files.
pub(super) fn image(label: &str, files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    check(label, files)?;
    let mut image = vec![0; FIRST_FILE * BLOCK_BYTES];
    let mut placed = Vec::new();
    for (name, content) in files {
        placed.push(Placed { name, block: image.len() / BLOCK_BYTES, bytes: content.len() });
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    let blocks = image.len() / BLOCK_BYTES;
    placed.sort_by_key(|file| primary_name(file.name));
    let mut put = |block: usize, bytes: &[u8]| {
        image[block * BLOCK_BYTES..][..bytes.len()].copy_from_slice(bytes);
    };
    for tree in [Tree::Primary, Tree::Joliet] {
        let index = tree as usize;
        put(PRIMARY + index, &descriptor(tree, label, blocks));
        put(PATH_TABLES[index], &path_table(DIRECTORIES[index], false));
        put(PATH_TABLES[index] + 1, &path_table(DIRECTORIES[index], true));
        put(DIRECTORIES[index], &directory(tree, &placed));
    }
    put(PRIMARY + 2, b"\xffCD001\x01");
    put(CONTINUATION, &extension_entry());
    Ok(image)
}

fn check(label: &str, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let named = |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain);
    if !named(label) || label.len() > 16 || files.len() > MAX_FILES {
        return Err(Error::Seed("an unsuitable label, or too many files".into()));
    }
    for (name, content) in files {
        if !named(name) || content.len() > MAX_FILE_BYTES {
            return Err(Error::Seed(format!("file {name:?} has an unsuitable name or is too long")));
        }
    }
    Ok(())
}

/// A volume descriptor [8.4, 8.5].
fn descriptor(tree: Tree, label: &str, blocks: usize) -> Vec<u8> {
    let index = tree as usize;
    let mut block = vec![0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, if tree == Tree::Primary { b"\x01CD001\x01" } else { b"\x02CD001\x01" });
    for (at, length, value) in [(8, 32, ""), (40, 32, label), (190, 623, "")] {
        put(at, &padded(tree, value, length));
    }
    put(80, &both_u32(blocks));
    if tree == Tree::Joliet {
        // The escape sequence of UCS-2 level 3.
        put(88, b"%/E");
    }
    put(120, &both_u16(1));
    put(124, &both_u16(1));
    put(128, &both_u16(BLOCK_BYTES));
    put(132, &PATH_TABLE_BYTES.to_le_bytes());
    put(136, &PATH_TABLE_BYTES.to_be_bytes());
    put(140, &block_number(PATH_TABLES[index]).to_le_bytes());
    put(148, &block_number(PATH_TABLES[index] + 1).to_be_bytes());
    put(156, &record(&[0], DIRECTORIES[index], BLOCK_BYTES, true, &[]));
    for at in [813, 830, 847, 864] {
        put(at, b"0000000000000000\0");
    }
    put(881, &[1]);
    block
}

/// A text field filled with spaces, in the tree's characters.
fn padded(tree: Tree, value: &str, length: usize) -> Vec<u8> {
    let mut bytes = encoded(tree, value);
    let space = encoded(tree, " ");
    while bytes.len() + space.len() <= length {
        bytes.extend_from_slice(&space);
    }
    bytes.resize(length, 0);
    bytes
}

fn encoded(tree: Tree, text: &str) -> Vec<u8> {
    match tree {
        Tree::Primary => text.as_bytes().to_vec(),
        Tree::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    }
}

/// The path table of a volume with only a root [9.4].
fn path_table(root: usize, big_endian: bool) -> Vec<u8> {
    let root = block_number(root);
    let mut table = vec![1, 0];
    table.extend(if big_endian { root.to_be_bytes() } else { root.to_le_bytes() });
    table.extend(if big_endian { 1u16.to_be_bytes() } else { 1u16.to_le_bytes() });
    table.extend([0, 0]);
    table
}

fn directory(tree: Tree, files: &[Placed<'_>]) -> Vec<u8> {
    let root = DIRECTORIES[tree as usize];
    let (mut own, mut parent) = (Vec::new(), Vec::new());
    if tree == Tree::Primary {
        own.extend(*b"SP\x07\x01\xbe\xef\x00");
        own.extend(posix_entry(DIRECTORY, 2));
        own.extend(continuation_entry());
        parent.extend(posix_entry(DIRECTORY, 2));
    }
    let mut bytes = record(&[0], root, BLOCK_BYTES, true, &own);
    bytes.extend(record(&[1], root, BLOCK_BYTES, true, &parent));
    for file in files {
        let (name, system_use) = match tree {
            Tree::Primary => {
                let mut entries = posix_entry(REGULAR_FILE, 1);
                entries.extend(name_entry(file.name));
                (primary_name(file.name), entries)
            }
            Tree::Joliet => (encoded(tree, &format!("{};1", file.name)), Vec::new()),
        };
        bytes.extend(record(&name, file.block, file.bytes, false, &system_use));
    }
    assert!(bytes.len() <= BLOCK_BYTES, "the limits on names and files keep a directory within its block");
    bytes
}

/// A file's name in the primary tree, for systems that know neither extension: capitals, and a version [7.5].
fn primary_name(name: &str) -> Vec<u8> {
    format!("{}.;1", name.to_ascii_uppercase()).into_bytes()
}

/// A directory record [9.1] with its system use area.
fn record(name: &[u8], block: usize, bytes: usize, is_directory: bool, system_use: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both_u32(block));
    record.extend(both_u32(bytes));
    record.extend([0; 7]);
    record.extend([u8::from(is_directory) << 1, 0, 0]);
    record.extend(both_u16(1));
    record.push(u8::try_from(name.len()).expect("names are short (checked)"));
    record.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        record.push(0);
    }
    record.extend_from_slice(system_use);
    if record.len() % 2 == 1 {
        record.push(0);
    }
    record[0] = u8::try_from(record.len()).expect("names and system use entries are short");
    record
}

/// Rock Ridge PX: mode, links, user, group, serial number.
fn posix_entry(mode: u32, links: usize) -> Vec<u8> {
    let mut entry = b"PX\x24\x01".to_vec();
    let mode = usize::try_from(mode).expect("32 bits fit");
    for field in [mode, links, 0, 0] {
        entry.extend(both_u32(field));
    }
    entry
}

/// Rock Ridge NM: the real name.
fn name_entry(name: &str) -> Vec<u8> {
    let length = u8::try_from(5 + name.len()).expect("names are short (checked)");
    let mut entry = vec![b'N', b'M', length, 1, 0];
    entry.extend_from_slice(name.as_bytes());
    entry
}

/// SUSP CE: the rest of the root's entries is in another block.
fn continuation_entry() -> Vec<u8> {
    let mut entry = b"CE\x1c\x01".to_vec();
    for field in [CONTINUATION, 0, extension_entry().len()] {
        entry.extend(both_u32(field));
    }
    entry
}

/// SUSP ER: which extension the entries belong to.
fn extension_entry() -> Vec<u8> {
    let lengths = EXTENSION.map(|text| u8::try_from(text.len()).expect("the texts are short"));
    let total = 8 + lengths.iter().sum::<u8>();
    let mut entry = vec![b'E', b'R', total, 1, lengths[0], lengths[1], lengths[2], 1];
    entry.extend(EXTENSION.concat());
    entry
}

fn block_number(block: usize) -> u32 {
    u32::try_from(block).expect("the limits on files keep an image far below 8 TiB")
}

/// A number in both byte orders [7.3.3].
fn both_u32(value: usize) -> [u8; 8] {
    let value = block_number(value);
    let mut both = [0; 8];
    both[..4].copy_from_slice(&value.to_le_bytes());
    both[4..].copy_from_slice(&value.to_be_bytes());
    both
}

/// A number in both byte orders [7.2.3].
fn both_u16(value: usize) -> [u8; 4] {
    let value = u16::try_from(value).expect("only small constants are written so");
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_beyond_the_format_are_refused() {
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        for name in ["", "UPPER", "a/b", "a.b", &long] {
            assert!(image("cidata", &[(name, Vec::new())]).is_err(), "{name:?}");
        }
        assert!(image("cidata", &[("a", vec![0; MAX_FILE_BYTES + 1])]).is_err());
        assert!(image("a-label-that-is-too-long", &[]).is_err());
    }

    #[test]
    fn a_full_directory_of_long_names_fits() {
        let names: Vec<String> =
            (0..MAX_FILES).map(|n| format!("{}{n}", "n".repeat(MAX_NAME_BYTES - 1))).collect();
        let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), vec![1])).collect();
        let image = image("cidata", &files).expect("within the limits");
        assert_eq!(image.len(), (FIRST_FILE + MAX_FILES) * BLOCK_BYTES);
    }
}
