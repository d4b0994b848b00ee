//! VHD images that nobody should make: every field of the footer, the header and the table.

use kiln_testkit::qemu_img;

use super::{Case, attempt};
use crate::build::vhd::seal;

const SECTOR: usize = 512;
const HEADER_BYTES: usize = 1024;
/// QEMU's blocks and their bitmaps.
const BLOCK_BYTES: u64 = 2 << 20;
const BITMAP_BYTES: u64 = 512;

/// A sound dynamic disk of 64 MiB with two blocks, to be spoilt.
struct Sound {
    bytes: Vec<u8>,
    header: usize,
    table: usize,
    /// The entry of the first block.
    block: u32,
}

pub(super) fn each_case(check: &mut dyn FnMut(Case)) {
    let sound = Sound::build();
    assert!(attempt(&sound.bytes).is_ok());
    let mut each = |name: String, bytes: Vec<u8>, code| {
        check(Case { name: format!("vhd {name}"), bytes, code });
    };
    sound.footer_fields(&mut each);
    sound.footer_copies(&mut each);
    sound.header_fields(&mut each);
    sound.table_entries(&mut each);
    sound.cuts(&mut each);
    fixed(&mut each);
}

type Each<'a> = dyn FnMut(String, Vec<u8>, &'static str) + 'a;

impl Sound {
    fn build() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("sound.vhd");
        qemu_img::create(&path, "vpc", "subformat=dynamic,force_size=on", 64 << 20);
        qemu_img::io(&path, "vpc", &["write -P 1 0 1M", "write -P 2 40M 64k"]);
        let bytes = std::fs::read(&path).expect("qemu-img made it");
        let word =
            |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
        let header = word(16);
        let table = word(header + 16);
        let block = u32::from_be_bytes(bytes[table..table + 4].try_into().expect("four bytes"));
        Self { header, table, block, bytes }
    }

    fn footer_at(&self) -> usize {
        self.bytes.len() - SECTOR
    }

    /// Both footers with a field changed and sealed again.
    fn with_footer(&self, at: usize, field: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for footer in [0, self.footer_at()] {
            bytes[footer + at..footer + at + field.len()].copy_from_slice(field);
            seal(&mut bytes[footer..footer + SECTOR], 64);
        }
        bytes
    }

    fn with_header(&self, at: usize, field: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let header = &mut bytes[self.header..self.header + HEADER_BYTES];
        header[at..at + field.len()].copy_from_slice(field);
        seal(header, 36);
        bytes
    }

    fn footer_fields(&self, each: &mut Each) {
        let far = !511;
        let mut words = |name: &str, at: usize, code, values: &[u64]| {
            for value in values {
                let bytes = self.with_footer(at, &value.to_be_bytes());
                each(format!("footer {name} {value:#x}"), bytes, code);
            }
        };
        let (table, file) = (self.table as u64, self.bytes.len() as u64);
        words("header offset", 16, "outside-file", &[far, u64::MAX, file, file - 512, 1 << 62]);
        words("header offset", 16, "malformed", &[0, 1, 513, 1024, table, self.footer_at() as u64 - 1024]);
        words("current size", 48, "malformed", &[0, 1, 511, (64 << 20) + (4 << 20), 1 << 40]);
        words("current size", 48, "too-large", &[u64::MAX, 1 << 62, 0xff00_0001 * 512]);
        let mut halves = |name: &str, at: usize, code, values: &[u32]| {
            for value in values {
                let bytes = self.with_footer(at, &value.to_be_bytes());
                each(format!("footer {name} {value:#x}"), bytes, code);
            }
        };
        halves("type", 60, "external-reference", &[4]);
        halves("type", 60, "malformed", &[0, 1, 2, 5, 6, 7, 256, u32::MAX]);
        halves("version", 12, "unsupported-version", &[0, 0x2_0000, 0x100, u32::MAX]);
        for creator in [b"vpc ", b"qemu"] {
            let geometry = |cylinders: u16, heads: u8, sectors: u8| {
                let mut bytes = self.with_footer(28, creator);
                for footer in [0, self.footer_at()] {
                    bytes[footer + 56..footer + 58].copy_from_slice(&cylinders.to_be_bytes());
                    bytes[footer + 58..footer + 60].copy_from_slice(&[heads, sectors]);
                    seal(&mut bytes[footer..footer + SECTOR], 64);
                }
                bytes
            };
            for (cylinders, heads, sectors) in [(0, 16, 63), (100, 0, 63), (100, 16, 0), (65535, 16, 254)] {
                let name = format!("geometry {cylinders} {heads} {sectors}");
                each(name, geometry(cylinders, heads, sectors), "malformed");
            }
            // More than the format's own bound.
            each("geometry of everything".into(), geometry(65535, 255, 255), "malformed");
        }
    }

    /// One footer that is not what the other is, or not what its checksum says.
    fn footer_copies(&self, each: &mut Each) {
        for footer in [0, self.footer_at()] {
            for at in (8..SECTOR).step_by(7) {
                let mut bytes = self.bytes.clone();
                bytes[footer + at] ^= 0x5a;
                // What becomes a type with a parent is refused for that.
                let code = if bytes[footer + 60..footer + 64] == [0, 0, 0, 4] {
                    "external-reference"
                } else {
                    "malformed"
                };
                each(format!("footer at {footer} with byte {at} changed"), bytes, code);
            }
            for (name, at, field) in
                [("size", 48, (32u64 << 20).to_be_bytes()), ("header offset", 16, 1536u64.to_be_bytes())]
            {
                let mut bytes = self.bytes.clone();
                bytes[footer + at..footer + at + 8].copy_from_slice(&field);
                seal(&mut bytes[footer..footer + SECTOR], 64);
                each(format!("footer at {footer} with another {name}"), bytes, "malformed");
            }
            for kind in [2u8, 4] {
                let mut bytes = self.bytes.clone();
                bytes[footer + 63] = kind;
                seal(&mut bytes[footer..footer + SECTOR], 64);
                let code = if kind == 4 { "external-reference" } else { "malformed" };
                each(format!("footer at {footer} of another type"), bytes, code);
            }
        }
        let mut bytes = self.bytes.clone();
        bytes[..8].fill(0);
        each("without its copy at the beginning".into(), bytes, "malformed");
        let mut bytes = self.bytes.clone();
        let end = self.footer_at();
        bytes[end..end + 8].fill(0);
        each("without its footer".into(), bytes, "malformed");
    }

    fn header_fields(&self, each: &mut Each) {
        let far = !511;
        let file = self.bytes.len() as u64;
        let mut words = |name: &str, at: usize, code, values: &[u64]| {
            for value in values {
                each(format!("header {name} {value:#x}"), self.with_header(at, &value.to_be_bytes()), code);
            }
        };
        words("table offset", 16, "outside-file", &[far, file, 1 << 62]);
        words("table offset", 16, "malformed", &[1, 4, self.table as u64 + 8, u64::MAX]);
        words("table offset", 16, "overlap", &[0, self.header as u64, self.header as u64 + 512, file - 512]);
        words("parent id", 40, "external-reference", &[1, u64::MAX]);
        words("parent name", 64, "external-reference", &[0x0065_0076_0069_006c]);
        words("parent name's end", 568, "external-reference", &[1]);
        let mut halves = |name: &str, at: usize, code, values: &[u32]| {
            for value in values {
                each(format!("header {name} {value:#x}"), self.with_header(at, &value.to_be_bytes()), code);
            }
        };
        halves("version", 24, "unsupported-version", &[0, 0x2_0000, u32::MAX]);
        halves("entries", 28, "malformed", &[0, 1, 31]);
        halves("entries", 28, "too-large", &[u32::MAX, (8 << 20) + 1]);
        halves("entries", 28, "outside-file", &[8 << 20]);
        halves(
            "block size",
            32,
            "malformed",
            &[0, 1, 256, 512, 2048, 4097, 3 << 20, u32::MAX, 1 << 12, 1 << 20],
        );
        halves("block size", 32, "outside-file", &[8 << 20, 1 << 31, 1 << 26]);
        halves("parent time", 56, "external-reference", &[1, u32::MAX]);
        for locator in 0..8 {
            let at = 576 + 24 * locator;
            let bytes = self.with_header(at, b"W2ku");
            each(format!("header parent locator {locator}"), bytes, "external-reference");
        }
        for at in (0..40).chain((768..HEADER_BYTES).step_by(16)) {
            let mut bytes = self.bytes.clone();
            bytes[self.header + at] ^= 0x5a;
            each(format!("header with byte {at} changed"), bytes, "malformed");
        }
    }

    fn table_entries(&self, each: &mut Each) {
        let mut entry = |name: &str, value: u64, code| {
            let mut bytes = self.bytes.clone();
            bytes[self.table..self.table + 4].copy_from_slice(&(value as u32).to_be_bytes());
            each(format!("table entry {name} {value:#x}"), bytes, code);
        };
        let piece = (BLOCK_BYTES + BITMAP_BYTES) / 512;
        let (first, file) = (u64::from(self.block), self.bytes.len() as u64 / 512);
        for value in [0, 1, self.header as u64 / 512, self.table as u64 / 512, first - 1] {
            entry("in the structures", value, "overlap");
        }
        for value in [first + piece, first + piece - 1, first + 1, first + 2, file - piece] {
            entry("in the other block or the footer", value, "overlap");
        }
        for value in [file, file + 1, file - 1, file - piece + 1, 0xffff_fffe, 0x8000_0000] {
            entry("outside", value, "outside-file");
        }
    }

    fn cuts(&self, each: &mut Each) {
        let most = self.bytes.len() - 2;
        for cut in (512..most).step_by(100 * 512 + 13).chain([512, 513, 1000, 1536, 2048, most]) {
            each(format!("cut at {cut}"), self.bytes[..cut].to_vec(), "malformed");
        }
    }
}

/// Fixed disks. A cut one has no mark left and is a raw disk.
fn fixed(each: &mut Each) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fixed.vhd");
    qemu_img::create(&path, "vpc", "subformat=fixed,force_size=on", 1 << 20);
    let sound = std::fs::read(&path).expect("qemu-img made it");
    assert!(attempt(&sound).is_ok());
    let footer = sound.len() - SECTOR;
    let mut spoilt = |name: &str, at: usize, field: &[u8], code| {
        let mut bytes = sound.clone();
        bytes[footer + at..footer + at + field.len()].copy_from_slice(field);
        seal(&mut bytes[footer..], 64);
        each(format!("fixed disk, {name} {field:02x?}"), bytes, code);
    };
    for size in [footer as u64 + 512, 1 << 30, 0xff00_0000 * 512] {
        spoilt("current size", 48, &size.to_be_bytes(), "outside-file");
    }
    for size in [0, 511] {
        spoilt("current size", 48, &u64::to_be_bytes(size), "malformed");
    }
    for size in [u64::MAX, 0xff00_0001 * 512] {
        spoilt("current size", 48, &size.to_be_bytes(), "too-large");
    }
    spoilt("type", 60, &[0, 0, 0, 4], "external-reference");
    for kind in [0, 1, 3, 5, 255] {
        spoilt("type", 60, &[0, 0, 0, kind], "malformed");
    }
    let mut bytes = sound.clone();
    bytes.copy_within(footer.., 0);
    each("fixed disk with a footer at its beginning".into(), bytes, "malformed");
    each("footer alone".into(), sound[footer..].to_vec(), "outside-file");
    let mut bytes = sound[..footer].to_vec();
    bytes.push(0);
    bytes.extend(&sound[footer..]);
    each("fixed disk with a footer within a sector".into(), bytes, "malformed");
}
