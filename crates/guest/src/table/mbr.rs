//! The boot record of the first sector and the chain of logical partitions behind it.
//!
//! Source: the layout that IBM PC DOS gave it; logical partitions as in the extended boot records of DOS 3.3.

use super::{BootCode, Defect, Partition, PartitionKind, SECTOR_BYTES, Table};
use crate::bytes::{contains, le32};
use crate::content::Content;
use crate::error::Result;
use crate::window::Window;

const SIGNATURE: [u8; 2] = [0x55, 0xAA];
const SIGNATURE_AT: usize = 510;
/// Where code ends: before the disk's own identifier.
const CODE_BYTES: usize = 440;
const TABLE_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const ENTRIES: usize = 4;
const ACTIVE: u8 = 0x80;
const FIRST_LOGICAL: u32 = 5;
/// More logical partitions than Linux's own limit for a disk; a longer chain is not followed.
const LOGICAL_MAX: u32 = 128;
const TYPES_EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

pub(crate) const TYPE_PROTECTIVE: u8 = 0xEE;
pub(crate) const TYPE_EFI_SYSTEM: u8 = 0xEF;

/// An entry of a table, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: u8,
    active: bool,
    flag_is_sane: bool,
    start: u64,
    len: u64,
}

pub(crate) fn is_signed(sector: &[u8; SECTOR_BYTES as usize]) -> bool {
    sector[SIGNATURE_AT..] == SIGNATURE
}

/// The four entries of a sector; `None` where one is not used.
pub(crate) fn primary_entries(sector: &[u8; SECTOR_BYTES as usize]) -> [Option<Entry>; ENTRIES] {
    std::array::from_fn(|index| {
        let entry = &sector[TABLE_AT + index * ENTRY_BYTES..][..ENTRY_BYTES];
        let (start, len) = (u64::from(le32(entry, 8)?), u64::from(le32(entry, 12)?));
        let used = is_signed(sector) && entry[4] != 0;
        let flag_is_sane = entry[0] & !ACTIVE == 0;
        used.then_some(Entry { kind: entry[4], active: entry[0] == ACTIVE, flag_is_sane, start, len })
    })
}

/// Whether the sector is a partition table, and not the boot sector of a file system on the whole disk: those end
/// with the same signature, and have code or text where the entries would be.
pub(crate) fn is_plausible(entries: &[Option<Entry>; ENTRIES], disk_bytes: u64) -> bool {
    let sectors = disk_bytes / SECTOR_BYTES;
    entries.iter().any(Option::is_some)
        && entries.iter().flatten().all(|entry| entry.flag_is_sane)
        && entries.iter().flatten().any(|entry| entry.start > 0 && entry.start < sectors && entry.len > 0)
}

/// The program in the first sector, told by its signature.
pub(crate) fn boot_code(sector: &[u8; SECTOR_BYTES as usize]) -> BootCode {
    // The last is syslinux's for GPT, which starts the partition with the legacy-boot attribute.
    const STARTERS: [&[u8]; 3] = [b"Missing operating system", b"Operating system load error", b"Missing OS"];
    let code = &sector[..CODE_BYTES];
    if !is_signed(sector) || code.iter().all(|byte| *byte == 0) {
        BootCode::Absent
    } else if contains(code, b"GRUB ") || contains(code, b"GRUB\0") {
        BootCode::Grub
    } else if &code[6..10] == b"LILO" {
        BootCode::Lilo
    } else if STARTERS.iter().any(|text| contains(code, text)) {
        BootCode::StartsActivePartition
    } else {
        BootCode::Unknown
    }
}

/// Adds the primary and the logical partitions.
pub(crate) fn read(disk: &Window, entries: &[Option<Entry>; ENTRIES], table: &mut Table) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        if let Some(entry) = entry
            && !TYPES_EXTENDED.contains(&entry.kind)
        {
            table.partitions.push(partition(entry, index as u32 + 1, 0));
        }
    }
    match entries.iter().flatten().find(|entry| TYPES_EXTENDED.contains(&entry.kind)) {
        Some(extended) => read_logical(disk, extended, table),
        None => Ok(()),
    }
}

/// Follows the chain of extended boot records. Each must lie further on the disk than the one before: a chain that
/// loops cannot do that.
fn read_logical(disk: &Window, extended: &Entry, table: &mut Table) -> Result<()> {
    let mut record_at = extended.start;
    for number in FIRST_LOGICAL..FIRST_LOGICAL + LOGICAL_MAX {
        let position = record_at.saturating_mul(SECTOR_BYTES);
        if position >= disk.len() {
            table.defects.push(Defect::BadExtendedChain);
            return Ok(());
        }
        let sector = disk.read_array(position)?;
        let [own, next, ..] = primary_entries(&sector);
        let Some(own) = own else {
            // An extended partition with no logical one in it is valid.
            return Ok(());
        };
        table.partitions.push(partition(&own, number, record_at));
        let Some(next) = next.filter(|next| TYPES_EXTENDED.contains(&next.kind)) else {
            return Ok(());
        };
        let next_at = extended.start + next.start;
        if next_at <= record_at {
            break;
        }
        record_at = next_at;
    }
    table.defects.push(Defect::BadExtendedChain);
    Ok(())
}

fn partition(entry: &Entry, number: u32, base: u64) -> Partition {
    Partition {
        number,
        start_bytes: (base + entry.start).saturating_mul(SECTOR_BYTES),
        len_bytes: entry.len * SECTOR_BYTES,
        kind: PartitionKind::Mbr(entry.kind),
        active: entry.active,
        content: Content::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Scheme, read};
    use crate::testing::{Disk, window};

    const MIB: u64 = 2048;

    #[test]
    fn primary_and_logical_partitions_have_the_kernels_numbers() {
        let mut disk = Disk::new(64 << 20);
        disk.boot_code(b"GRUB ");
        disk.mbr_entry(0, 0, 0x83, true, MIB, 4 * MIB);
        disk.mbr_entry(0, 3, 0x05, false, 8 * MIB, 40 * MIB);
        disk.mbr_entry(8 * MIB, 0, 0x83, false, MIB, 2 * MIB);
        disk.mbr_entry(8 * MIB, 1, 0x05, false, 10 * MIB, 4 * MIB);
        disk.mbr_entry(18 * MIB, 0, 0x82, false, MIB, 2 * MIB);
        let table = read(&window(&disk)).expect("readable");
        assert_eq!(table.scheme, Scheme::Mbr);
        assert_eq!(table.boot_code, BootCode::Grub);
        let found: Vec<_> =
            table.partitions.iter().map(|p| (p.number, p.start_bytes >> 20, p.active)).collect();
        assert_eq!(found, [(1, 1, true), (5, 9, false), (6, 19, false)]);
        assert_eq!(table.defects, []);
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let mut disk = Disk::new(64 << 20);
        disk.mbr_entry(0, 0, 0x0F, false, 8 * MIB, 40 * MIB);
        disk.mbr_entry(8 * MIB, 0, 0x83, false, MIB, MIB);
        disk.mbr_entry(8 * MIB, 1, 0x05, false, 0, 4 * MIB);
        let table = read(&window(&disk)).expect("readable");
        assert_eq!(table.defects, [Defect::BadExtendedChain]);
        assert_eq!(table.partitions.len(), 1);
    }

    #[test]
    fn partitions_outside_the_disk_and_overlaps_are_defects() {
        let mut disk = Disk::new(16 << 20);
        disk.mbr_entry(0, 0, 0x83, true, MIB, 4 * MIB);
        disk.mbr_entry(0, 1, 0x83, false, 4 * MIB, 4 * MIB);
        disk.mbr_entry(0, 2, 0x83, false, 10 * MIB, 40 * MIB);
        disk.mbr_entry(0, 3, 0x83, false, u64::from(u32::MAX), u64::from(u32::MAX));
        let table = read(&window(&disk)).expect("readable");
        assert_eq!(
            table.defects,
            [
                Defect::Overlap { number: 2, with: 1 },
                Defect::OutsideDisk { number: 3 },
                Defect::OutsideDisk { number: 4 }
            ]
        );
    }

    #[test]
    fn a_file_systems_boot_sector_is_no_table() {
        let mut disk = Disk::new(16 << 20);
        disk.write(0, b"\xEB\x52\x90NTFS    ");
        disk.write(446, b"some text in the code of a boot sector that is longer than a table....");
        disk.write(510, &SIGNATURE);
        let table = read(&window(&disk)).expect("readable");
        assert_eq!((table.scheme, table.partitions.len()), (Scheme::None, 1));
        assert_eq!(table.partitions[0].content, Content::Unknown);
    }

    #[test]
    fn a_disk_shorter_than_a_sector_has_no_table() {
        let table = read(&window(&Disk::new(100))).expect("readable");
        assert_eq!((table.scheme, table.boot_signature), (Scheme::None, false));
    }
}
