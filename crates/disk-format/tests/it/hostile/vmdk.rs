//! VMDK images that nobody should make: every header field, descriptors that lead elsewhere, bad tables and grains.

use std::io::Write;
use std::path::Path;

use kiln_testkit::qemu_img;

use super::{CORRUPT, Case, attempt};

const SECTOR: usize = 512;
/// QEMU's grains, in sectors.
const GRAIN: u32 = 128;
const DISK_SECTORS: u64 = (256 << 20) / 512;

/// A sound image of 256 MiB with grains in several tables, to be spoilt.
struct Sound {
    name: &'static str,
    bytes: Vec<u8>,
    directory: usize,
    /// The first grain table, and its first grain.
    table: usize,
    grain: u32,
}

type Each<'a> = dyn FnMut(String, Vec<u8>, &'static str) + 'a;

pub(super) fn each_case(check: &mut dyn FnMut(Case)) {
    for (name, subformat) in [("sparse vmdk", "monolithicSparse"), ("stream vmdk", "streamOptimized")] {
        let sound = Sound::build(name, subformat);
        assert!(attempt(&sound.bytes).is_ok(), "{:?}", attempt(&sound.bytes));
        let mut each = |what: String, bytes: Vec<u8>, code| {
            check(Case { name: format!("{name} {what}"), bytes, code });
        };
        sound.header_fields(&mut each);
        sound.descriptors(&mut each);
        sound.tables(&mut each);
        sound.cuts(&mut each);
        if subformat == "streamOptimized" {
            sound.grains(&mut each);
            sound.ends(&mut each);
        }
    }
    descriptor_files(&mut |what, bytes, code| check(Case { name: format!("vmdk {what}"), bytes, code }));
}

impl Sound {
    fn build(name: &'static str, subformat: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (raw, path) = (directory.path().join("source.raw"), directory.path().join("sound.vmdk"));
        let mut source = vec![0; 1 << 20];
        source.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n / 777 % 251) as u8 + 1);
        write_sparse(&raw, &source);
        qemu_img::convert(&raw, "raw", &path, "vmdk", &format!("subformat={subformat}"), false);
        let bytes = std::fs::read(&path).expect("qemu-img made it");
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let directory = half(56) as usize * SECTOR;
        let table = half(directory) as usize * SECTOR;
        Self { name, directory, table, grain: half(table), bytes }
    }

    fn spoil(&self, at: usize, field: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        bytes
    }

    fn header_fields(&self, each: &mut Each) {
        let file = self.bytes.len() as u64 / 512;
        let mut words = |name: &str, at: usize, code, values: &[u64]| {
            for value in values {
                each(format!("{name} {value:#x}"), self.spoil(at, &value.to_le_bytes()), code);
            }
        };
        words("capacity", 12, "malformed", &[0, 1, DISK_SECTORS - 1, DISK_SECTORS + 128, DISK_SECTORS * 2]);
        words("capacity", 12, "too-large", &[u64::MAX, 1 << 62, 1 << 55]);
        words("grain size", 20, "malformed", &[0, 3, 127, 129, 1 << 16, 1 << 32, 1 << 62, u64::MAX]);
        words("descriptor offset", 28, "malformed", &[0, 2, 21, file, u64::MAX]);
        words("descriptor size", 36, "malformed", &[0]);
        words("descriptor size", 36, "too-large", &[2049, 1 << 40, u64::MAX]);
        words("descriptor size", 36, "overlap", &[self.directory as u64 / 512, 100]);
        words("redundant directory", 48, "outside-file", &[file, 1 << 40, 1 << 60, u64::MAX]);
        words("directory", 56, "outside-file", &[file, 1 << 32, 1 << 54, 1 << 63, u64::MAX - 1]);
        words("directory in header or text", 56, "outside-file", &[0, 1]);
        words("directory", 56, "malformed", &[u64::MAX]);
        words("overhead", 64, "outside-file", &[file + 1, 1 << 40, u64::MAX]);
        let mut halves = |name: &str, at: usize, code, values: &[u32]| {
            for value in values {
                each(format!("{name} {value:#x}"), self.spoil(at, &value.to_le_bytes()), code);
            }
        };
        halves("version", 4, "unsupported-version", &[0, 4, 5, 0x100, u32::MAX]);
        halves("entries of a table", 44, "malformed", &[0, 513, 1024, 1 << 31, u32::MAX]);
        halves(
            "flags",
            8,
            "unsupported-features",
            &[1 << 3 | 1, 1 << 15 | 1, 1 << 18 | 3, 1 << 31, u32::MAX],
        );
        let stream = self.name == "stream vmdk";
        let disagreeing: &[u32] = if stream { &[1, 3, 0x1_0003, 0x2_0003] } else { &[0x1_0003, 0x3_0003] };
        halves("flags", 8, "malformed", disagreeing);
        for at in 73..77 {
            each(format!("newline byte {at}"), self.spoil(at, b"x"), "malformed");
        }
        for value in [2u16, 3, 0xffff, u16::from(!stream)] {
            each(format!("compression {value}"), self.spoil(77, &value.to_le_bytes()), "malformed");
        }
    }

    /// The text between header and tables, changed.
    fn with_text(&self, change: &dyn Fn(&str) -> String) -> Vec<u8> {
        let text = &self.bytes[SECTOR..21 * SECTOR];
        let end = text.iter().position(|byte| *byte == 0).expect("the text ends");
        let changed = change(std::str::from_utf8(&text[..end]).expect("QEMU writes UTF-8"));
        let mut sectors = changed.into_bytes();
        sectors.resize(20 * SECTOR, 0);
        self.spoil(SECTOR, &sectors)
    }

    fn descriptors(&self, each: &mut Each) {
        let mut change = |name: &str, code, change: &dyn Fn(&str) -> String| {
            each(format!("descriptor: {name}"), self.with_text(change), code);
        };
        let external = "external-reference";
        for name in ["/etc/passwd", "../other.vmdk", "a/b.vmdk", "C:\\x.vmdk", "nbd://host/x", "json:{}"] {
            change(&format!("extent {name}"), external, &|text| replace_name(text, name));
        }
        for line in [
            "RW 524288 FLAT \"/etc/passwd\" 0",
            "RW 524288 FLAT \"sound-flat.vmdk\" 0",
            "RW 524288 VMFS \"sound.vmdk\"",
            "RW 524288 VMFSSPARSE \"sound.vmdk\"",
            "RW 524288 SESPARSE \"sound.vmdk\"",
            "RW 524288 ZERO",
            "RDONLY 524288 SPARSE \"base.vmdk\"\nRW 524288 SPARSE \"sound.vmdk\"",
            "RW 262144 SPARSE \"s001.vmdk\"\nRW 262144 SPARSE \"s002.vmdk\"",
            "rw 524288 FLAT \"x\" 0",
        ] {
            change(&format!("line {line}"), external, &|text| replace_extent(text, line));
        }
        for hint in
            ["parentFileNameHint=\"/etc/shadow\"", "parentfilenamehint=\"x\"", "# parentFileNameHint=\"x\""]
        {
            change(hint, external, &|text| format!("{text}\n{hint}\n"));
        }
        for id in ["00000000", "fffffffe", "7b5a3e01", ""] {
            let to = format!("parentCID={id}");
            change(&to, external, &|text| text.replace("parentCID=ffffffff", &to));
        }
        change("tracked changes", external, &|text| format!("{text}\nchangeTrackPath=\"x-ctk.vmdk\"\n"));
        for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "vmfs", "fullDevice", "custom", "seSparse"] {
            let create = format!("createType=\"{kind}\"");
            change(&create, external, &|text| replace_kind(text, &create));
        }
        let keys = "encryption.keySafe = \"vmware:key/list/(pair)\"";
        change(keys, "encrypted", &|text| format!("{text}\n{keys}\n"));
        change("another kind", "malformed", &|text| replace_kind(text, "createType=\"new\""));
        change("no kind", "malformed", &|text| replace_kind(text, "# none"));
        change("no extent", "malformed", &|text| replace_extent(text, "# none"));
        change("no text", "malformed", &|_| String::new());
        change("two identities", "malformed", &|text| format!("{text}\nCID=00000001\n"));
        change("two kinds", "malformed", &|text| format!("{text}\ncreateType=\"monolithicSparse\"\n"));
        change("free text", "malformed", &|text| format!("{text}\nand so on\n"));
        change("version 4", "malformed", &|text| text.replace("version=1", "version=4"));
        for sectors in ["0", "-1", "1", "524160", "999999", "18446744073709551615", "99999999999999999999"] {
            let line = format!("RW {sectors} SPARSE \"sound.vmdk\"");
            change(&line, "malformed", &|text| replace_extent(text, &line));
        }
    }

    fn tables(&self, each: &mut Each) {
        let file = self.bytes.len() as u32 / 512;
        let (table, directory) = (self.table as u32 / 512, self.directory as u32 / 512);
        let mut entries = |name: &str, at: usize, code, values: &[u32]| {
            for value in values {
                each(format!("{name} {value:#x}"), self.spoil(at, &value.to_le_bytes()), code);
            }
        };
        entries("directory entry", self.directory, "outside-file", &[file, file + 7, u32::MAX, 1 << 31]);
        entries("directory entry", self.directory, "overlap", &[1, 20, directory, table + 1, table + 4]);
        entries("second directory entry", self.directory + 4, "overlap", &[table, table + 1, table + 3]);
        entries("grain", self.table, "outside-file", &[file, file + 1, u32::MAX, u32::MAX - GRAIN]);
        entries("grain", self.table, "overlap", &[1, 20, directory, table, table + 3]);
        let second = u32::from_le_bytes(self.bytes[self.table + 4..self.table + 8].try_into().expect("four"));
        entries("grain", self.table, "overlap", &[second]);
        entries("second grain", self.table + 4, "overlap", &[self.grain]);
        if self.name == "sparse vmdk" {
            let beside = [second + 1, second - 1, second + GRAIN - 1];
            entries("grain", self.table, "overlap", &beside);
            entries("grain", self.table, "outside-file", &[file - 1, file - GRAIN + 1]);
        }
    }

    fn cuts(&self, each: &mut Each) {
        let last = self.bytes.len() - 64 * 1024;
        let cuts = [79, 100, 511, 512, 600, 5000, 10_751, 10_752, self.directory + 8, self.table + 100];
        for cut in cuts.into_iter().chain((12_000..last).step_by(97_003)) {
            let bytes = self.bytes[..cut].to_vec();
            let code = match attempt(&bytes) {
                Err(error) if ["malformed", "outside-file"].contains(&error.code()) => error.code(),
                // A compressed grain is known to be cut when it is read.
                _ if self.name == "stream vmdk" => CORRUPT,
                _ => "malformed",
            };
            each(format!("cut at {cut}"), bytes, code);
        }
        for cut in [4, 8, 40, 78] {
            each(format!("cut at {cut}"), self.bytes[..cut].to_vec(), "malformed");
        }
    }

    /// Compressed grains that are not what their table says.
    fn grains(&self, each: &mut Each) {
        let at = self.grain as usize * SECTOR;
        let mut grain = |name: &str, place: usize, field: &[u8]| {
            each(format!("grain with {name}"), self.spoil(place, field), CORRUPT);
        };
        for sector in [1u64, 128, 1 << 40, u64::MAX, 1 << 55] {
            grain(&format!("sector {sector:#x}"), at, &sector.to_le_bytes());
        }
        for len in [0u32, 1, 5, 2 * GRAIN * 512 + 1, u32::MAX, 1 << 30] {
            grain(&format!("length {len:#x}"), at + 8, &len.to_le_bytes());
        }
        for (byte, name) in [(12, "a bad method"), (13, "a bad check"), (20, "bad data")] {
            grain(name, at + byte, &[0xff, 0xff]);
        }
        let end = at
            + 12
            + self.bytes[at + 8..at + 10].iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        grain("a bad sum", end - 4, &[0x55; 4]);
        let replaced = |contents: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(contents).expect("memory");
            let stream = encoder.finish().expect("memory");
            let mut bytes = self.bytes.clone();
            let sector = bytes.len().next_multiple_of(SECTOR);
            bytes.resize(sector, 0);
            bytes.extend([&[0; 8][..], &(stream.len() as u32).to_le_bytes(), &stream].concat());
            bytes[self.table..self.table + 4].copy_from_slice(&((sector / SECTOR) as u32).to_le_bytes());
            bytes
        };
        each("grain that is a bomb".into(), replaced(&vec![0; 64 << 20]), CORRUPT);
        each("grain one byte too long".into(), replaced(&vec![7; GRAIN as usize * SECTOR + 1]), CORRUPT);
        each("grain one byte too short".into(), replaced(&vec![7; GRAIN as usize * SECTOR - 1]), CORRUPT);
        each("empty grain".into(), replaced(&[]), CORRUPT);
    }

    /// Second headers at the end, spoilt.
    fn ends(&self, each: &mut Each) {
        let marker = |kind: u32| {
            let mut sector = vec![0; SECTOR];
            sector[12..16].copy_from_slice(&kind.to_le_bytes());
            sector
        };
        let end_at = self.bytes.len().next_multiple_of(SECTOR);
        let mut whole = self.spoil(56, &u64::MAX.to_le_bytes());
        whole.resize(end_at, 0);
        whole.extend([marker(3), self.bytes[..SECTOR].to_vec(), marker(0)].concat());
        assert!(attempt(&whole).is_ok(), "{:?}", attempt(&whole));
        let mut spoilt = |name: &str, at: usize, field: &[u8], code| {
            let mut bytes = whole.clone();
            bytes[end_at + at..end_at + at + field.len()].copy_from_slice(field);
            each(format!("second header: {name}"), bytes, code);
        };
        for (at, name) in [(8, "marker size"), (12, "marker type"), (512, "magic")] {
            spoilt(name, at, &[9], "malformed");
        }
        for (at, name) in [(1024, "end value"), (1032, "end size"), (1036, "end type")] {
            spoilt(name, at, &[9], "malformed");
        }
        spoilt("no directory either", 512 + 56, &[0xff; 8], "malformed");
        spoilt("directory in itself", 512 + 56, &(end_at as u64 / 512 + 1).to_le_bytes(), "outside-file");
        spoilt("capacity", 512 + 12, &[0xff; 8], "too-large");
        spoilt("version", 512 + 4, &[7], "unsupported-version");
        spoilt("compression", 512 + 77, &[2], "malformed");
    }
}

fn replace_name(text: &str, name: &str) -> String {
    replace_extent(text, &format!("RW {DISK_SECTORS} SPARSE \"{name}\""))
}

fn replace_extent(text: &str, to: &str) -> String {
    let lines = text.lines().map(|line| if line.starts_with("RW ") { to } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

fn replace_kind(text: &str, to: &str) -> String {
    let lines = text.lines().map(|line| if line.starts_with("createType") { to } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

fn write_sparse(path: &Path, beginning: &[u8]) {
    let mut file = std::fs::File::create(path).expect("a new file");
    file.write_all(beginning).and_then(|()| file.set_len(DISK_SECTORS * 512)).expect("written");
}

/// Files that are descriptors, or extents of disks described elsewhere.
fn descriptor_files(each: &mut Each) {
    let text = |kind: &str, extents: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"{kind}\"\n{extents}\n"
        )
    };
    let external = "external-reference";
    for (kind, extents) in [
        ("monolithicFlat", "RW 100 FLAT \"x-flat.vmdk\" 0"),
        ("monolithicFlat", "RW 100 FLAT \"/etc/passwd\" 0"),
        ("monolithicFlat", "RW 100 FLAT \"/dev/sda\" 63"),
        ("monolithicFlat", "RW 100 FLAT \"x.vmdk\" 1"),
        ("monolithicFlat", "RW 1 FLAT \"x.vmdk\" 18446744073709551615"),
        ("monolithicFlat", "RW 1 FLAT \"x.vmdk\" 0\nRW 1 FLAT \"x.vmdk\" 1"),
        ("monolithicFlat", "RW 1 SPARSE \"x.vmdk\""),
        ("twoGbMaxExtentSparse", "RW 100 SPARSE \"x-s001.vmdk\""),
        ("twoGbMaxExtentFlat", "RW 100 FLAT \"x-f001.vmdk\" 0"),
        ("vmfs", "RW 100 VMFS \"x-flat.vmdk\""),
        ("vmfsSparse", "RW 100 VMFSSPARSE \"x-delta.vmdk\""),
        ("seSparse", "RW 100 SESPARSE \"x-sesparse.vmdk\""),
        ("fullDevice", "RW 100 FLAT \"/dev/sda\" 0"),
        ("monolithicSparse", "RW 100 SPARSE \"x.vmdk\""),
    ] {
        let mut bytes = text(kind, extents).into_bytes();
        bytes.resize(bytes.len() + 700, b'\n');
        each(format!("text: {kind} {extents}"), bytes, external);
    }
    let huge = text("monolithicFlat", "RW 36028797018963967 FLAT \"x.vmdk\" 1");
    each("text: huge extent".into(), huge.into_bytes(), "too-large");
    each("text: nothing".into(), b"# Disk DescriptorFile\n".to_vec(), "malformed");
    each("text: a version".into(), b"version=1\n".to_vec(), "malformed");
    for magic in [&b"COWD\x01\0\0\0"[..], b"\xbe\xba\xfe\xca\0\0\0\0"] {
        let mut bytes = magic.to_vec();
        bytes.resize(4096, 0);
        each(format!("extent {magic:02x?}"), bytes, external);
    }
}
