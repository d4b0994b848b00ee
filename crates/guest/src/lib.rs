//! What is inside an image, as far as it must be known before the image may come in: whether its disk can start a
//! machine. Reads a bounded number of sectors; never follows anything the disk says further than that.
//!
//! Deliberately absent: mounting, writing, and anything about formats (a disk is a block device here).

#![deny(unsafe_code)]

pub mod place;

use kiln_block::{BlockDevice, Error, SECTOR_BYTES};
use serde::Serialize;

const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xAA];
const PARTITION_TABLE: usize = 446;
const PARTITION_ENTRY: usize = 16;
const PARTITIONS: usize = 4;
/// Partition types that hold no file system of their own: none, and the three extended ones.
const CONTAINERS: [u8; 4] = [0x00, 0x05, 0x0F, 0x85];
/// The protective entry of a GPT.
const GPT_PROTECTIVE: u8 = 0xEE;
/// Offset of an ext superblock on its file system, and of its magic there.
const EXT_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xEF]);

/// A partition of the boot record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its place in the table, from 1.
    pub number: u32,
    /// Its first byte on the disk.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Its type, as the table says it.
    pub kind: u8,
    /// Whether an ext2, ext3 or ext4 file system is on it.
    pub ext: bool,
}

/// Something that speaks against an image, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable code.
    pub code: &'static str,
    /// What was found, as a sentence.
    pub found: String,
    /// How to mend it, as a sentence.
    pub fix: String,
}

/// What a disk looks like from its boot record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the first sector ends with a boot record's signature and begins with code.
    pub boot_record: bool,
    /// Whether the partitions are in a GPT.
    pub gpt: bool,
    /// The partitions of the boot record.
    pub partitions: Vec<Partition>,
}

impl Report {
    /// Why a machine could not start from this disk; empty where nothing speaks against it.
    pub fn system_disk_problems(&self) -> Vec<Finding> {
        let mut problems = Vec::new();
        let mut problem = |code, found: &str, fix: &str| {
            problems.push(Finding { code, found: found.to_owned(), fix: fix.to_owned() });
        };
        if !self.boot_record {
            problem(
                "NoBootRecord",
                "The disk's first sector holds no boot record.",
                "Import the disk of a whole system, with its boot loader installed.",
            );
        }
        if self.gpt {
            problem(
                "GptPartitions",
                "The disk is partitioned with GPT.",
                "Convert it to MBR (sgdisk --gpttombr) and install the boot loader again.",
            );
        } else if !self.partitions.iter().any(|partition| partition.ext) {
            problem(
                "NoRootFileSystem",
                "No partition holds an ext3 or ext4 file system to be the root.",
                "Import a system disk with an MBR and an ext3 or ext4 root partition.",
            );
        }
        problems
    }
}

/// Looks at a disk.
///
/// # Errors
/// Where the disk cannot be read. A disk that holds nonsense is a report, not an error.
pub fn inspect(disk: &dyn BlockDevice) -> Result<Report, Error> {
    let mut sector = [0; SECTOR_BYTES as usize];
    if disk.size_bytes() < SECTOR_BYTES {
        return Ok(Report { boot_record: false, gpt: false, partitions: Vec::new() });
    }
    disk.read_exact_at(&mut sector, 0)?;
    let signed = sector[510..] == BOOT_SIGNATURE;
    let mut partitions = Vec::new();
    for index in 0..PARTITIONS {
        let entry = &sector[PARTITION_TABLE + index * PARTITION_ENTRY..][..PARTITION_ENTRY];
        if signed && !CONTAINERS.contains(&entry[4]) {
            partitions.extend(partition(disk, index as u32 + 1, entry)?);
        }
    }
    let gpt = partitions.iter().any(|partition| partition.kind == GPT_PROTECTIVE);
    let boot_record = signed && sector[..PARTITION_TABLE].iter().any(|byte| *byte != 0);
    Ok(Report { boot_record, gpt, partitions })
}

/// The partition of an entry of the table; `None` where it does not lie on the disk.
fn partition(disk: &dyn BlockDevice, number: u32, entry: &[u8]) -> Result<Option<Partition>, Error> {
    let word =
        |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
    let (start_bytes, len_bytes) = (word(8) * SECTOR_BYTES, word(12) * SECTOR_BYTES);
    if start_bytes == 0 || len_bytes == 0 || start_bytes + len_bytes > disk.size_bytes() {
        return Ok(None);
    }
    let (offset, magic) = EXT_MAGIC;
    let mut found = [0; 2];
    if offset + 2 <= len_bytes {
        disk.read_exact_at(&mut found, start_bytes + offset)?;
    }
    Ok(Some(Partition { number, start_bytes, len_bytes, kind: entry[4], ext: found == magic }))
}

#[cfg(test)]
mod tests {
    use kiln_block::{MemoryDevice, WritableBlockDevice};

    use super::*;

    /// A disk of 4 MiB with boot code and one partition at 1 MiB.
    fn disk(kind: u8, ext: bool) -> MemoryDevice {
        let disk = MemoryDevice::new(4 << 20);
        let mut sector = [0u8; 512];
        sector[0] = 0xEB;
        sector[510..].copy_from_slice(&BOOT_SIGNATURE);
        sector[PARTITION_TABLE + 4] = kind;
        sector[PARTITION_TABLE + 8..][..4].copy_from_slice(&2048u32.to_le_bytes());
        sector[PARTITION_TABLE + 12..][..4].copy_from_slice(&4096u32.to_le_bytes());
        disk.write_all_at(&sector, 0).expect("in bounds");
        if ext {
            disk.write_all_at(&EXT_MAGIC.1, (1 << 20) + EXT_MAGIC.0).expect("in bounds");
        }
        disk
    }

    fn codes(disk: &MemoryDevice) -> Vec<&'static str> {
        let report = inspect(disk).expect("readable");
        report.system_disk_problems().iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn each_disk_has_the_findings_it_should() {
        assert_eq!(codes(&disk(0x83, true)), Vec::<&str>::new());
        assert_eq!(codes(&disk(0x83, false)), ["NoRootFileSystem"]);
        assert_eq!(codes(&disk(GPT_PROTECTIVE, false)), ["GptPartitions"]);
        assert_eq!(codes(&MemoryDevice::new(4 << 20)), ["NoBootRecord", "NoRootFileSystem"]);
        assert_eq!(codes(&MemoryDevice::new(100)), ["NoBootRecord", "NoRootFileSystem"]);
    }
}
