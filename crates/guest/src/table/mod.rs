//! The partition table: MBR with its logical partitions, GPT with its backup, or none at all.
//!
//! Reads a bounded number of sectors. A table that contradicts itself is a list of defects beside what could be
//! made of it; what lies outside the disk or overlaps is never handed on as a partition to look into.

pub(crate) mod gpt;
pub(crate) mod mbr;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::error::Result;
use crate::window::Window;

pub(crate) const SECTOR_BYTES: u64 = kiln_block::SECTOR_BYTES;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Not at all: a file system on the whole disk, or nothing.
    None,
    /// By a boot record.
    Mbr,
    /// By a GUID partition table.
    Gpt,
}

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// Whether the first sector ends with a boot record's signature.
    pub boot_signature: bool,
    /// The program in the first sector.
    pub boot_code: BootCode,
    /// The partitions, by number. A whole-disk file system is one partition with the number 0.
    pub partitions: Vec<Partition>,
    /// What is wrong with the table.
    pub defects: Vec<Defect>,
}

/// A range of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its number as the guest's kernel counts: logical partitions from 5; 0 for the whole disk.
    pub number: u32,
    /// Its first byte on the disk.
    pub start_bytes: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// What the table says it is for.
    pub kind: PartitionKind,
    /// Whether the boot record, or the GPT's legacy attribute, marks it as the one to start from.
    pub active: bool,
    /// What is on it.
    pub content: Content,
}

/// What a table says a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionKind {
    /// Nothing: there is no table.
    WholeDisk,
    /// The type byte of a boot record.
    Mbr(u8),
    /// The type of a GPT.
    Gpt(gpt::Guid),
}

impl PartitionKind {
    /// Whether it is an EFI system partition.
    pub fn is_efi_system(self) -> bool {
        matches!(self, Self::Mbr(mbr::TYPE_EFI_SYSTEM)) || self == Self::Gpt(gpt::EFI_SYSTEM)
    }

    /// Whether it is where GRUB keeps its core on a GPT disk that starts by BIOS.
    pub fn is_bios_boot(self) -> bool {
        self == Self::Gpt(gpt::BIOS_BOOT)
    }
}

/// The program in a boot record, by its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootCode {
    /// Zeros, or no boot record.
    Absent,
    /// GRUB, legacy or 2: loads its own next stage.
    Grub,
    /// LILO: loads its own next stage.
    Lilo,
    /// Starts the active partition's boot sector: the one of syslinux, of Windows, of many partitioners.
    StartsActivePartition,
    /// A program that is not known here.
    Unknown,
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Defect {
    /// A partition does not lie on the disk.
    OutsideDisk {
        /** Its number. */
        number: u32,
    },
    /// A partition overlaps an earlier one.
    Overlap {
        /** The later partition. */
        number: u32,
        /** The one it overlaps. */
        with: u32,
    },
    /// The chain of logical partitions loops, runs backwards or is longer than it may be.
    BadExtendedChain,
    /// The GPT's primary header is damaged; its backup was used.
    GptPrimaryDamaged,
    /// The GPT's backup header is damaged or not at the disk's end.
    GptBackupDamaged,
    /// Neither header of the GPT is whole.
    GptUnreadable,
    /// A GPT and a boot record that is more than its protection describe the disk at once.
    Hybrid,
}

/// Reads the table; partitions come without their content.
pub(crate) fn read(disk: &Window) -> Result<Table> {
    let sector: [u8; SECTOR_BYTES as usize] = disk.read_array(0)?;
    let boot_signature = mbr::is_signed(&sector);
    let mut table = Table {
        scheme: Scheme::None,
        boot_signature,
        boot_code: mbr::boot_code(&sector),
        partitions: Vec::new(),
        defects: Vec::new(),
    };
    let entries = mbr::primary_entries(&sector);
    let protective = entries.iter().flatten().any(|entry| entry.kind == mbr::TYPE_PROTECTIVE);
    if protective {
        table.scheme = Scheme::Gpt;
        if entries.iter().flatten().any(|entry| entry.kind != mbr::TYPE_PROTECTIVE) {
            table.defects.push(Defect::Hybrid);
        }
        gpt::read(disk, &mut table)?;
    } else if boot_signature && mbr::is_plausible(&entries, disk.len()) {
        table.scheme = Scheme::Mbr;
        mbr::read(disk, &entries, &mut table)?;
    } else {
        table.partitions.push(whole_disk(disk));
    }
    remove_impossible(&mut table, disk.len());
    Ok(table)
}

fn whole_disk(disk: &Window) -> Partition {
    Partition {
        number: 0,
        start_bytes: 0,
        len_bytes: disk.len(),
        kind: PartitionKind::WholeDisk,
        active: false,
        content: Content::Unknown,
    }
}

/// Turns partitions that leave the disk or overlap an earlier one into defects.
fn remove_impossible(table: &mut Table, disk_bytes: u64) {
    let mut kept: Vec<Partition> = Vec::new();
    for partition in table.partitions.drain(..) {
        let end = partition.start_bytes.checked_add(partition.len_bytes);
        let number = partition.number;
        if partition.len_bytes == 0 || end.is_none_or(|end| end > disk_bytes) {
            table.defects.push(Defect::OutsideDisk { number });
        } else if let Some(other) = kept.iter().find(|other| overlap(other, &partition)) {
            table.defects.push(Defect::Overlap { number, with: other.number });
        } else {
            kept.push(partition);
        }
    }
    table.partitions = kept;
}

fn overlap(a: &Partition, b: &Partition) -> bool {
    a.start_bytes < b.start_bytes + b.len_bytes && b.start_bytes < a.start_bytes + a.len_bytes
}
