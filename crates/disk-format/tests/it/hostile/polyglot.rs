//! Files with the marks of two formats, and disks that would boot as something else than they convert to.

use super::Case;

const SIZE: usize = 40_000;

/// Formats whose mark stands at the beginning.
const HEADS: &[&[u8]] = &[
    b"QFI\xfb\0\0\0\x03",
    b"QFI\xfb\0\0\0\x01",
    b"QED\0",
    b"conectix",
    b"vhdxfile",
    b"KDMV",
    b"COWD",
    b"# Disk DescriptorFile\nversion=1\n",
    b"WithoutFreeSpace",
    b"WithouFreSpacExt",
    b"Bochs Virtual HD Image",
    b"LUKS\xba\xbe",
    b"MSWIM\0\0\0",
    b"070701",
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x1f\x8b\x08",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"<!DOCTYPE",
    b"<?xml",
];

/// Formats whose mark stands elsewhere.
const ELSEWHERE: &[(usize, &[u8])] = &[
    (0x40, b"\x7f\x10\xda\xbe"),
    (257, b"ustar"),
    (0x8001, b"CD001"),
    (SIZE - 512, b"conectix"),
    (SIZE - 511, b"conectix"),
    (SIZE - 512, b"koly\0\0\0\x04"),
];

pub(super) fn each_case(check: &mut dyn FnMut(Case)) {
    let file = |parts: &[(usize, &[u8])]| {
        let mut bytes = vec![0; SIZE];
        parts.iter().for_each(|(at, part)| bytes[*at..*at + part.len()].copy_from_slice(part));
        bytes
    };
    let mut both = |first: (usize, &[u8]), second: (usize, &[u8])| {
        let told = |mark: (usize, &[u8])| format!("{:?} at {}", String::from_utf8_lossy(mark.1), mark.0);
        let name = format!("polyglot of {} and {}", told(first), told(second));
        check(Case { name, bytes: file(&[first, second]), code: "ambiguous-format" });
    };
    for head in HEADS {
        // A VHD has the same mark at both ends.
        for mark in ELSEWHERE.iter().filter(|mark| mark.1 != *head) {
            both((0, head), *mark);
        }
    }
    for (number, first) in ELSEWHERE.iter().enumerate() {
        for second in &ELSEWHERE[number + 1..] {
            if second.0 >= first.0 + first.1.len() {
                both(*first, *second);
            }
        }
    }
    for head in [&b"QFI\xfb\0\0\0\x03"[..], b"KDMV", b"conectix", b"# Disk DescriptorFile\nversion=1\n"] {
        let parts: [(usize, &[u8]); 3] = [(0, head), (446, b"\x80\0\0\0\x83"), (510, b"\x55\xaa")];
        let name = format!("boot sector that begins with {:?}", String::from_utf8_lossy(head));
        check(Case { name, bytes: file(&parts), code: "ambiguous-format" });
    }
}
