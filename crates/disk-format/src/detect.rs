//! What a file is, by its content alone.
//!
//! File names and callers' claims are never asked: a format is known by its magic, and a file with no known magic
//! is a raw disk. A file with the marks of two formats is refused rather than decided. Not here: whether the rest
//! of the file is well formed.

use kiln_block::BlockDevice;

use crate::{Error, Result};

/// Bytes looked at from the file's beginning: the ISO 9660 descriptor lies deepest.
const HEAD_BYTES: u64 = 36 * 1024;

/// Bytes looked at from the file's end: VHD's and DMG's trailers.
const TAIL_BYTES: u64 = 512;

/// A kind of file that may be offered as a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's bytes themselves; what a file is when nothing else is recognised.
    Raw,
    /// QEMU copy-on-write, versions 2 and 3.
    Qcow2,
    /// QEMU copy-on-write, version 1.
    Qcow1,
    /// QEMU enhanced disk.
    Qed,
    /// Virtual PC hard disk.
    Vhd,
    /// Hyper-V hard disk, the successor of VHD.
    Vhdx,
    /// VMware disk.
    Vmdk,
    /// VirtualBox disk.
    Vdi,
    /// Parallels hard disk.
    Parallels,
    /// Bochs growing disk.
    Bochs,
    /// Apple disk image.
    Dmg,
    /// A disk that is one LUKS volume.
    Luks,
    /// CD or DVD image.
    Iso9660,
    /// Windows imaging format.
    Wim,
    /// Appliance: a tape archive of a description and disk images.
    Ova,
    /// Tape archive.
    Tar,
    /// cpio archive.
    Cpio,
    /// Zip archive.
    Zip,
    /// 7-Zip archive.
    SevenZip,
    /// RAR archive.
    Rar,
    /// File compressed with gzip.
    Gzip,
    /// File compressed with xz.
    Xz,
    /// File compressed with bzip2.
    Bzip2,
    /// File compressed with Zstandard.
    Zstd,
    /// File compressed with LZ4.
    Lz4,
    /// Web page or XML document: usually a server's error message.
    Markup,
}

impl Format {
    /// The format's short name, as programs write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow1 => "qcow",
            Self::Qed => "qed",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Parallels => "parallels",
            Self::Bochs => "bochs",
            Self::Dmg => "dmg",
            Self::Luks => "luks",
            Self::Iso9660 => "iso9660",
            Self::Wim => "wim",
            Self::Ova => "ova",
            Self::Tar => "tar",
            Self::Cpio => "cpio",
            Self::Zip => "zip",
            Self::SevenZip => "7z",
            Self::Rar => "rar",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Markup => "a web page or XML document",
        }
    }

    /// Whether the file's first sector is the format's own and not the disk's. An image that is a boot sector as well
    /// would boot as another disk than it converts to. CDs and archives are refused anyway, by the name that helps
    /// more.
    fn begins_with_structures(self, head: &[u8]) -> bool {
        match self {
            Self::Qcow2 | Self::Vmdk => true,
            Self::Vhd => head.starts_with(b"conectix"),
            _ => false,
        }
    }

    /// What the owner of such a file can do to have it accepted.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Ova => "it is a tar archive: unpack it (`tar -xf`) and give the VMDK disk that it holds",
            Self::Tar => "unpack it (`tar -xf`) and give the disk image that it holds",
            Self::Cpio | Self::Zip | Self::SevenZip | Self::Rar => {
                "unpack it and give the disk image that it holds"
            }
            Self::Gzip | Self::Xz | Self::Bzip2 | Self::Zstd | Self::Lz4 => "decompress it first",
            Self::Iso9660 | Self::Wim => "install the system onto a disk and give that disk's image",
            Self::Luks => "give an image whose system disk is not encrypted",
            Self::Markup => "check that the address leads to the image file itself",
            _ => "convert it with `qemu-img convert -O qcow2`",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a magic stands.
enum At {
    Head(usize),
    /// So many bytes before the end of the file.
    BeforeEnd(usize),
}

/// The magics, from the formats' specifications and file(1)'s database.
const MAGICS: &[(Format, At, &[u8])] = &[
    (Format::Qed, At::Head(0), b"QED\0"),
    (Format::Vhd, At::Head(0), b"conectix"),
    (Format::Vhd, At::BeforeEnd(512), b"conectix"),
    // Virtual PC before 2004 wrote a footer one byte shorter.
    (Format::Vhd, At::BeforeEnd(511), b"conectix"),
    (Format::Vhdx, At::Head(0), b"vhdxfile"),
    (Format::Vmdk, At::Head(0), b"KDMV"),
    (Format::Vmdk, At::Head(0), b"COWD"),
    // An extent of ESX's seSparse disks.
    (Format::Vmdk, At::Head(0), b"\xbe\xba\xfe\xca\0\0\0\0"),
    (Format::Vdi, At::Head(0x40), b"\x7f\x10\xda\xbe"),
    (Format::Parallels, At::Head(0), b"WithoutFreeSpace"),
    (Format::Parallels, At::Head(0), b"WithouFreSpacExt"),
    (Format::Bochs, At::Head(0), b"Bochs Virtual HD Image"),
    (Format::Dmg, At::BeforeEnd(512), b"koly\0\0\0\x04"),
    (Format::Luks, At::Head(0), b"LUKS\xba\xbe"),
    (Format::Iso9660, At::Head(0x8001), b"CD001"),
    (Format::Wim, At::Head(0), b"MSWIM\0\0\0"),
    (Format::Cpio, At::Head(0), b"070701"),
    (Format::Cpio, At::Head(0), b"070702"),
    (Format::Zip, At::Head(0), b"PK\x03\x04"),
    (Format::SevenZip, At::Head(0), b"7z\xbc\xaf\x27\x1c"),
    (Format::Rar, At::Head(0), b"Rar!\x1a\x07"),
    (Format::Gzip, At::Head(0), b"\x1f\x8b\x08"),
    (Format::Xz, At::Head(0), b"\xfd7zXZ\0"),
    (Format::Bzip2, At::Head(4), b"1AY&SY"),
    (Format::Zstd, At::Head(0), b"\x28\xb5\x2f\xfd"),
    (Format::Lz4, At::Head(0), b"\x04\x22\x4d\x18"),
    (Format::Markup, At::Head(0), b"<!DOCTYPE"),
    (Format::Markup, At::Head(0), b"<!doctype"),
    (Format::Markup, At::Head(0), b"<html"),
    (Format::Markup, At::Head(0), b"<HTML"),
    (Format::Markup, At::Head(0), b"<?xml"),
];

/// The magic of qcow in all its versions; the version is the big-endian number after it.
pub(crate) const QCOW_MAGIC: &[u8; 4] = b"QFI\xfb";

/// The signature at the end of a boot sector.
const BOOT_SIGNATURE: &[u8; 2] = b"\x55\xaa";

/// Says what the content of `device` is.
///
/// # Errors
/// [`Error::Empty`] for no content, [`Error::Ambiguous`] where it has the marks of two formats, and what the device
/// says where it cannot be read.
pub fn detect(device: &dyn BlockDevice) -> Result<Format> {
    let size = device.size_bytes();
    if size == 0 {
        return Err(Error::Empty);
    }
    let mut head = vec![0; size.min(HEAD_BYTES) as usize];
    device.read_exact_at(&mut head, 0)?;
    let tail_bytes = size.min(TAIL_BYTES);
    let mut tail = vec![0; tail_bytes as usize];
    device.read_exact_at(&mut tail, size - tail_bytes)?;

    let mut found = marks(&head, &tail);
    let Some(first) = found.next() else { return Ok(Format::Raw) };
    match found.find(|other| *other != first) {
        Some(other) => Err(Error::Ambiguous(first, other)),
        None if first.begins_with_structures(&head) && is_boot_sector(&head) => {
            Err(Error::Ambiguous(first, Format::Raw))
        }
        None => Ok(first),
    }
}

/// All marks that the beginning and the end of a file carry.
fn marks<'a>(head: &'a [u8], tail: &'a [u8]) -> impl Iterator<Item = Format> + 'a {
    let qcow = head.strip_prefix(QCOW_MAGIC).map(|rest| match rest {
        [0, 0, 0, 1, ..] => Format::Qcow1,
        _ => Format::Qcow2,
    });
    let listed = MAGICS.iter().filter(|(_, at, magic)| {
        let place = match *at {
            At::Head(offset) => head.get(offset..),
            At::BeforeEnd(distance) => tail.len().checked_sub(distance).map(|offset| &tail[offset..]),
        };
        place.is_some_and(|bytes| bytes.starts_with(magic))
    });
    let tar = head.get(257..).is_some_and(|rest| rest.starts_with(b"ustar")).then(|| tar_kind(head));
    let text = is_descriptor(head).then_some(Format::Vmdk);
    qcow.into_iter().chain(listed.map(|(format, ..)| *format)).chain(tar).chain(text)
}

/// An appliance is an archive whose first member is its description.
fn tar_kind(head: &[u8]) -> Format {
    const NAME_BYTES: usize = 100;
    let name = head[..NAME_BYTES].split(|byte| *byte == 0).next().unwrap_or_default();
    if name.to_ascii_lowercase().ends_with(b".ovf") { Format::Ova } else { Format::Tar }
}

/// Whether this is a VMDK descriptor: comments and empty lines, then a version; what QEMU takes for one, too.
fn is_descriptor(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    head.starts_with(b"# Disk DescriptorFile") || first.is_some_and(|line| line.starts_with(b"version="))
}

/// Whether a machine would boot from this sector and find a partition.
fn is_boot_sector(head: &[u8]) -> bool {
    let Some(sector) = head.get(..512).filter(|sector| sector.ends_with(BOOT_SIGNATURE)) else {
        return false;
    };
    sector[446..510].chunks_exact(16).any(|entry| matches!(entry[0], 0 | 0x80) && entry[4] != 0)
}

#[cfg(test)]
mod tests {
    use kiln_block::MemoryDevice;

    use super::*;

    fn image(size: usize, parts: &[(usize, &[u8])]) -> MemoryDevice {
        let mut bytes = vec![0; size];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        MemoryDevice::from_bytes(&bytes)
    }

    #[test]
    fn every_magic_is_found_where_it_stands() {
        const SIZE: usize = 100_000;
        for (format, at, magic) in MAGICS {
            let offset = match at {
                At::Head(offset) => *offset,
                At::BeforeEnd(distance) => SIZE - distance,
            };
            assert_eq!(detect(&image(SIZE, &[(offset, magic)])).expect("one mark"), *format);
        }
    }

    #[test]
    fn qcow_versions_are_told_apart() {
        let found = |version: u8| detect(&image(512, &[(0, b"QFI\xfb"), (7, &[version])])).expect("one mark");
        assert_eq!(found(1), Format::Qcow1);
        assert_eq!(found(2), Format::Qcow2);
        assert_eq!(found(3), Format::Qcow2);
    }

    #[test]
    fn archives_and_descriptors_are_known_by_more_than_a_magic() {
        let tar = |name: &[u8]| detect(&image(10240, &[(0, name), (257, b"ustar")])).expect("one mark");
        assert_eq!(tar(b"appliance.ovf"), Format::Ova);
        assert_eq!(tar(b"disk.raw"), Format::Tar);
        for text in ["# Disk DescriptorFile\n", "# a\n\r\n  \nversion=1\n", "version=3\r\nCID=1"] {
            assert_eq!(
                detect(&image(700, &[(0, text.as_bytes())])).expect("one mark"),
                Format::Vmdk,
                "{text}"
            );
        }
        for text in ["#!/bin/sh\nset -e\nversion=1\n", "# only comments\n", "a version=1\n"] {
            assert_eq!(detect(&image(700, &[(0, text.as_bytes())])).expect("none"), Format::Raw, "{text}");
        }
    }

    #[test]
    fn what_has_no_mark_is_raw_however_short() {
        for size in [1, 3, 511, 512, 70_000] {
            assert_eq!(detect(&image(size, &[])).expect("readable"), Format::Raw);
        }
        assert!(matches!(detect(&MemoryDevice::new(0)), Err(Error::Empty)));
    }

    #[test]
    fn two_marks_are_refused() {
        let footer = image(65536, &[(0, b"QFI\xfb\0\0\0\x03"), (65536 - 512, b"conectix")]);
        assert!(matches!(detect(&footer), Err(Error::Ambiguous(Format::Qcow2, Format::Vhd))));
        let boot = image(65536, &[(0, b"QFI\xfb\0\0\0\x03"), (450, &[0x83]), (510, b"\x55\xaa")]);
        assert!(matches!(detect(&boot), Err(Error::Ambiguous(Format::Qcow2, Format::Raw))));
        let boot = image(65536, &[(0, b"KDMV"), (450, &[0x83]), (510, b"\x55\xaa")]);
        assert!(matches!(detect(&boot), Err(Error::Ambiguous(Format::Vmdk, Format::Raw))));
        // The first sector of a fixed VHD is the disk's.
        let fixed = image(65536, &[(450, &[0x83]), (510, b"\x55\xaa"), (65536 - 512, b"conectix")]);
        assert_eq!(detect(&fixed).expect("one format"), Format::Vhd);
        let both_ends = image(65536, &[(0, b"conectix"), (65536 - 512, b"conectix")]);
        assert_eq!(detect(&both_ends).expect("one format"), Format::Vhd);
    }
}
