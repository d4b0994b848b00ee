//! Writes registry hives for tests: a tree of keys with their values, one bin, `lf` indexes.

use std::collections::BTreeMap;

/// A value: name, type, data.
pub(crate) type Value = (String, u32, Vec<u8>);

/// A value of text.
pub(crate) fn text(name: &str, text: &str) -> Value {
    let data = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    (name.to_owned(), 1, data)
}

/// A value of a 32-bit number.
pub(crate) fn number(name: &str, number: u32) -> Value {
    (name.to_owned(), 4, number.to_le_bytes().to_vec())
}

#[derive(Default)]
struct Node {
    values: Vec<Value>,
    children: BTreeMap<String, Node>,
}

/// A hive that is being written.
#[derive(Default)]
pub(crate) struct HiveImage {
    root: Node,
}

const NONE: u32 = u32::MAX;
const BIN_HEADER_BYTES: usize = 32;

impl HiveImage {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a key and its values.
    pub(crate) fn key(&mut self, path: &[&str], values: &[Value]) {
        let mut node = &mut self.root;
        for name in path {
            node = node.children.entry((*name).to_owned()).or_default();
        }
        node.values.extend_from_slice(values);
    }

    /// The hive's bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut cells = Cells { bytes: vec![0; BIN_HEADER_BYTES] };
        let root = cells.node("ROOT", &self.root, NONE, true);
        let len = cells.bytes.len().next_multiple_of(4096);
        let free = len - cells.bytes.len();
        if free >= 8 {
            cells.bytes.extend((free as u32).to_le_bytes());
        }
        cells.bytes.resize(len, 0);
        cells.bytes[..4].copy_from_slice(b"hbin");
        cells.bytes[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        let mut header = vec![0u8; 4096];
        header[..4].copy_from_slice(b"regf");
        for (at, word) in [(4, 1), (8, 1), (20, 1), (24, 3), (32, 1), (36, root), (40, len as u32), (44, 1)] {
            header[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let sum = header[..508]
            .chunks_exact(4)
            .fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().expect("four bytes")));
        header[508..512].copy_from_slice(&sum.to_le_bytes());
        header.extend(cells.bytes);
        header
    }
}

struct Cells {
    bytes: Vec<u8>,
}

impl Cells {
    /// Adds a cell; its offset is the answer.
    fn add(&mut self, content: &[u8]) -> u32 {
        let at = self.bytes.len() as u32;
        let size = (content.len() + 4).next_multiple_of(8);
        self.bytes.extend((-(size as i32)).to_le_bytes());
        self.bytes.extend(content);
        self.bytes.resize(at as usize + size, 0);
        at
    }

    fn node(&mut self, name: &str, node: &Node, parent: u32, is_root: bool) -> u32 {
        let mut key = vec![0u8; 76];
        key[..2].copy_from_slice(b"nk");
        let flags: u16 = if is_root { 0x2C } else { 0x20 };
        key[2..4].copy_from_slice(&flags.to_le_bytes());
        key[0x48..0x4A].copy_from_slice(&(name.len() as u16).to_le_bytes());
        key.extend(name.as_bytes());
        let at = self.add(&key);
        let children: Vec<_> =
            node.children.iter().map(|(name, child)| (name, self.node(name, child, at, false))).collect();
        let mut index = b"lf".to_vec();
        index.extend((children.len() as u16).to_le_bytes());
        for (name, child) in &children {
            let mut hint = name.as_bytes().to_vec();
            hint.resize(4, 0);
            index.extend(child.to_le_bytes());
            index.extend(&hint[..4]);
        }
        let subkeys = if children.is_empty() { NONE } else { self.add(&index) };
        let values: Vec<u8> = node.values.iter().flat_map(|value| self.value(value).to_le_bytes()).collect();
        let value_list = if values.is_empty() { NONE } else { self.add(&values) };
        let words = [
            (0x10, parent),
            (0x14, children.len() as u32),
            (0x1C, subkeys),
            (0x20, NONE),
            (0x24, node.values.len() as u32),
            (0x28, value_list),
            (0x2C, NONE),
            (0x30, NONE),
        ];
        for (field, word) in words {
            let position = at as usize + 4 + field;
            self.bytes[position..position + 4].copy_from_slice(&word.to_le_bytes());
        }
        at
    }

    fn value(&mut self, (name, kind, data): &Value) -> u32 {
        let mut value = vec![0u8; 20];
        value[..2].copy_from_slice(b"vk");
        value[2..4].copy_from_slice(&(name.len() as u16).to_le_bytes());
        let (size, place) = if data.len() <= 4 {
            let mut word = data.clone();
            word.resize(4, 0);
            (data.len() as u32 | 0x8000_0000, u32::from_le_bytes(word[..4].try_into().expect("four bytes")))
        } else {
            (data.len() as u32, self.add(data))
        };
        value[4..8].copy_from_slice(&size.to_le_bytes());
        value[8..12].copy_from_slice(&place.to_le_bytes());
        value[12..16].copy_from_slice(&kind.to_le_bytes());
        value[16..18].copy_from_slice(&1u16.to_le_bytes());
        value.extend(name.as_bytes());
        self.add(&value)
    }
}
