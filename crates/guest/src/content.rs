//! What is on a partition, told by the signatures and feature words of its first sectors.
//!
//! Sources: the kernel's on-disk structures of each file system; LUKS and LVM2 formats as their projects write them.

use serde::{Deserialize, Serialize};

use crate::bytes::{be16, le16, le32, le64};
use crate::error::Result;
use crate::window::Window;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Content {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Btrfs,
    Ntfs,
    Fat12,
    Fat16,
    Fat32,
    ExFat,
    Swap,
    /// A physical volume of LVM2.
    Lvm,
    /// An encrypted container, version 1 or 2.
    Luks,
    /// A volume encrypted by Windows.
    BitLocker,
    /// A member of a Linux software RAID with metadata 1.x.
    Raid,
    Iso9660,
    /// Nothing that is known here.
    Unknown,
}

impl Content {
    /// Whether it is ext2, ext3 or ext4.
    pub fn is_ext(self) -> bool {
        matches!(self, Self::Ext2 | Self::Ext3 | Self::Ext4)
    }

    /// Whether it is a FAT of any width.
    pub fn is_fat(self) -> bool {
        matches!(self, Self::Fat12 | Self::Fat16 | Self::Fat32)
    }
}

/// How a file system is named by those who mount it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Lower case, as `/etc/fstab` writes it.
    pub(crate) uuid: Option<String>,
    pub(crate) label: Option<String>,
}

const SUPERBLOCK_AT: usize = 1024;
const HEAD_BYTES: usize = 8192;
const BTRFS_AT: u64 = 0x1_0000;
const BTRFS_MAGIC: &[u8; 8] = b"_BHRfS_M";
const ISO_AT: u64 = 0x8000;
const RAID_MAGIC: u32 = 0xA92B_4EFC;
/// Swap's signature ends its first page, whose size is the machine's.
const SWAP_PAGES: [usize; 3] = [4096, 8192, 65536];
const SWAP_MAGICS: [&[u8; 10]; 2] = [b"SWAPSPACE2", b"SWAP-SPACE"];
const LVM_LABEL_SECTORS: usize = 4;

/// Looks at the start of a partition.
pub(crate) fn probe(volume: &Window) -> Result<(Content, Identity)> {
    let head: [u8; HEAD_BYTES] = volume.read_array(0)?;
    if let Some(found) = probe_head(&head) {
        return Ok((found, identity(found, &head)));
    }
    for page in SWAP_PAGES {
        let magic: [u8; 10] = volume.read_array(page as u64 - 10)?;
        if SWAP_MAGICS.contains(&&magic) {
            return Ok((Content::Swap, Identity::default()));
        }
    }
    let btrfs: [u8; 0x48] = volume.read_array(BTRFS_AT)?;
    if &btrfs[0x40..] == BTRFS_MAGIC {
        let identity = Identity { uuid: Some(uuid_text(&btrfs[0x20..0x30])), label: None };
        return Ok((Content::Btrfs, identity));
    }
    let iso: [u8; 6] = volume.read_array(ISO_AT)?;
    let content = if &iso[1..] == b"CD001" { Content::Iso9660 } else { Content::Unknown };
    Ok((content, Identity::default()))
}

fn probe_head(head: &[u8; HEAD_BYTES]) -> Option<Content> {
    if head.starts_with(b"LUKS\xBA\xBE") {
        return Some(Content::Luks);
    }
    if head.starts_with(b"XFSB") {
        return Some(Content::Xfs);
    }
    if (0..LVM_LABEL_SECTORS).any(|sector| head[sector * 512..].starts_with(b"LABELONE")) {
        return Some(Content::Lvm);
    }
    if le32(head, 0) == Some(RAID_MAGIC) || le32(head, 4096) == Some(RAID_MAGIC) {
        return Some(Content::Raid);
    }
    if le16(head, SUPERBLOCK_AT + 0x38) == Some(0xEF53) {
        return ext_generation(&head[SUPERBLOCK_AT..]);
    }
    probe_boot_sector(head)
}

/// ext3 is ext2 with a journal; ext4 is what uses a feature that ext3 does not know. The sets are those of the
/// kernel's former ext3 driver.
fn ext_generation(superblock: &[u8]) -> Option<Content> {
    const COMPAT_HAS_JOURNAL: u32 = 0x4;
    /// filetype, recover, meta_bg.
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    /// sparse_super, large_file, btree_dir.
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    let (compat, incompat) = (le32(superblock, 0x5C)?, le32(superblock, 0x60)?);
    let ro_compat = le32(superblock, 0x64)?;
    if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        Some(Content::Ext4)
    } else if compat & COMPAT_HAS_JOURNAL != 0 {
        Some(Content::Ext3)
    } else {
        Some(Content::Ext2)
    }
}

fn probe_boot_sector(head: &[u8; HEAD_BYTES]) -> Option<Content> {
    match &head[3..11] {
        b"NTFS    " => return Some(Content::Ntfs),
        b"-FVE-FS-" => return Some(Content::BitLocker),
        b"EXFAT   " => return Some(Content::ExFat),
        _ => {}
    }
    fat_width(head)
}

/// FAT's width follows from its number of clusters and from nothing else (Microsoft's FAT specification, 3.5).
fn fat_width(head: &[u8; HEAD_BYTES]) -> Option<Content> {
    let sector_bytes = u64::from(le16(head, 11)?);
    let cluster_sectors = u64::from(head[13]);
    let (reserved, fats) = (u64::from(le16(head, 14)?), u64::from(head[16]));
    let root_bytes = u64::from(le16(head, 17)?) * 32;
    let sane = matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
        && cluster_sectors.is_power_of_two()
        && (1..=2).contains(&fats)
        && reserved > 0
        && matches!(head[21], 0xF0 | 0xF8..=0xFF)
        && be16(head, 510) == Some(0x55AA);
    if !sane {
        return None;
    }
    let either = |narrow: u16, wide: u32| if narrow != 0 { u64::from(narrow) } else { u64::from(wide) };
    let total = either(le16(head, 19)?, le32(head, 32)?);
    let fat_sectors = either(le16(head, 22)?, le32(head, 36)?);
    let overhead = reserved + fats * fat_sectors + root_bytes.div_ceil(sector_bytes);
    let clusters = total.checked_sub(overhead)? / cluster_sectors;
    Some(match clusters {
        0..4085 => Content::Fat12,
        4085..65525 => Content::Fat16,
        _ => Content::Fat32,
    })
}

fn identity(content: Content, head: &[u8; HEAD_BYTES]) -> Identity {
    match content {
        Content::Ext2 | Content::Ext3 | Content::Ext4 => Identity {
            uuid: Some(uuid_text(&head[SUPERBLOCK_AT + 0x68..][..16])),
            label: label_text(&head[SUPERBLOCK_AT + 0x78..][..16]),
        },
        Content::Xfs => Identity { uuid: Some(uuid_text(&head[32..48])), label: label_text(&head[108..120]) },
        Content::Fat12 | Content::Fat16 => fat_identity(head, 39),
        Content::Fat32 => fat_identity(head, 67),
        Content::Ntfs => {
            Identity { uuid: le64(head, 72).map(|serial| format!("{serial:016x}")), label: None }
        }
        _ => Identity::default(),
    }
}

fn fat_identity(head: &[u8; HEAD_BYTES], at: usize) -> Identity {
    let uuid = le32(head, at).map(|serial| format!("{:04x}-{:04x}", serial >> 16, serial & 0xFFFF));
    Identity { uuid, label: label_text(&head[at + 4..][..11]) }
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn label_text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Disk, window};

    fn content(write: impl Fn(&mut Disk)) -> Content {
        let mut disk = Disk::new(1 << 20);
        write(&mut disk);
        probe(&window(&disk)).expect("readable").0
    }

    fn ext(compat: u32, incompat: u32, ro_compat: u32) -> Content {
        content(|disk| {
            disk.write(1024 + 0x38, &[0x53, 0xEF]);
            disk.write(1024 + 0x5C, &compat.to_le_bytes());
            disk.write(1024 + 0x60, &incompat.to_le_bytes());
            disk.write(1024 + 0x64, &ro_compat.to_le_bytes());
        })
    }

    #[test]
    fn ext_generations_are_told_apart_by_features() {
        assert_eq!(ext(0, 0x2, 0x1), Content::Ext2);
        assert_eq!(ext(0x4, 0x2, 0x3), Content::Ext3);
        assert_eq!(ext(0x4, 0x2 | 0x40, 0x3), Content::Ext4, "extents");
        assert_eq!(ext(0x4, 0x2, 0x400), Content::Ext4, "metadata checksums");
    }

    #[test]
    fn signatures_are_known() {
        assert_eq!(content(|disk| disk.write(0, b"XFSB")), Content::Xfs);
        assert_eq!(content(|disk| disk.write(0, b"LUKS\xBA\xBE\0\x02")), Content::Luks);
        assert_eq!(content(|disk| disk.write(512, b"LABELONE")), Content::Lvm);
        assert_eq!(content(|disk| disk.write(0x1_0040, b"_BHRfS_M")), Content::Btrfs);
        assert_eq!(content(|disk| disk.write(4086, b"SWAPSPACE2")), Content::Swap);
        assert_eq!(content(|disk| disk.write(65526, b"SWAPSPACE2")), Content::Swap);
        assert_eq!(content(|disk| disk.write(3, b"NTFS    ")), Content::Ntfs);
        assert_eq!(content(|disk| disk.write(3, b"-FVE-FS-")), Content::BitLocker);
        assert_eq!(content(|disk| disk.write(4096, &RAID_MAGIC.to_le_bytes())), Content::Raid);
        assert_eq!(content(|_| {}), Content::Unknown);
    }
}
