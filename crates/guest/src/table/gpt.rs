//! The GUID partition table: primary header at sector 1, backup at the last sector, entries with a checksum.
//!
//! Source: UEFI Specification 2.10, section 5.3.

use serde::{Deserialize, Serialize};

use super::{Defect, Partition, PartitionKind, SECTOR_BYTES, Table};
use crate::bytes::{le32, le64};
use crate::content::Content;
use crate::error::Result;
use crate::window::Window;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES_MIN: usize = 92;
const HEADER_CRC_AT: usize = 16;
const ENTRY_BYTES_MIN: u32 = 128;
/// Larger entries are allowed by the specification; no partitioner makes them.
const ENTRY_BYTES_MAX: u32 = 1024;
/// Four times what every partitioner makes.
const ENTRIES_MAX: u32 = 512;
const ATTRIBUTE_LEGACY_BOOT: u64 = 1 << 2;

/// A GUID as it is stored: the first three fields little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Guid(pub [u8; 16]);

/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
pub(crate) const EFI_SYSTEM: Guid =
    Guid([0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B]);
/// 21686148-6449-6E6F-744E-656564454649.
pub(crate) const BIOS_BOOT: Guid = Guid(*b"Hah!IdontNeedEFI");

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:02X}{:02X}{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}-{:02X}{:02X}-",
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9]
        )?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

struct Header {
    backup_at: u64,
    entries_at: u64,
    entries: u32,
    entry_bytes: u32,
    entries_crc: u32,
}

/// Adds the partitions of the first header that is whole.
pub(crate) fn read(disk: &Window, table: &mut Table) -> Result<()> {
    let last = (disk.len() / SECTOR_BYTES).saturating_sub(1);
    let primary = read_whole(disk, 1)?;
    let backup_at = primary.as_ref().map_or(last, |(header, _)| header.backup_at);
    let backup = if backup_at > 1 { read_whole(disk, backup_at)? } else { None };
    let (header, entries) = match (primary, backup) {
        (Some(primary), Some(_)) => primary,
        (Some(primary), None) => {
            table.defects.push(Defect::GptBackupDamaged);
            primary
        }
        (None, Some(backup)) => {
            table.defects.push(Defect::GptPrimaryDamaged);
            backup
        }
        (None, None) => {
            table.defects.push(Defect::GptUnreadable);
            return Ok(());
        }
    };
    let entries = entries.chunks_exact(header.entry_bytes as usize).zip(1..);
    table.partitions.extend(entries.filter_map(|(entry, number)| partition(entry, number)));
    Ok(())
}

/// The header of a sector and its entries, where both checksums hold.
fn read_whole(disk: &Window, sector: u64) -> Result<Option<(Header, Vec<u8>)>> {
    let bytes: [u8; SECTOR_BYTES as usize] = disk.read_array(sector.saturating_mul(SECTOR_BYTES))?;
    let Some(header) = parse_header(&bytes, sector) else {
        return Ok(None);
    };
    let len = u64::from(header.entries) * u64::from(header.entry_bytes);
    let start = header.entries_at.saturating_mul(SECTOR_BYTES);
    if start.saturating_add(len) > disk.len() {
        return Ok(None);
    }
    let mut entries = vec![0; len as usize];
    disk.read_at(start, &mut entries)?;
    Ok((crc32fast::hash(&entries) == header.entries_crc).then_some((header, entries)))
}

fn parse_header(bytes: &[u8; SECTOR_BYTES as usize], sector: u64) -> Option<Header> {
    let header_bytes = le32(bytes, 12)? as usize;
    if &bytes[..8] != SIGNATURE || !(HEADER_BYTES_MIN..=bytes.len()).contains(&header_bytes) {
        return None;
    }
    let mut covered = bytes[..header_bytes].to_vec();
    covered[HEADER_CRC_AT..HEADER_CRC_AT + 4].fill(0);
    let whole = crc32fast::hash(&covered) == le32(bytes, HEADER_CRC_AT)? && le64(bytes, 24)? == sector;
    let header = Header {
        backup_at: le64(bytes, 32)?,
        entries_at: le64(bytes, 72)?,
        entries: le32(bytes, 80)?,
        entry_bytes: le32(bytes, 84)?,
        entries_crc: le32(bytes, 88)?,
    };
    let sane = (ENTRY_BYTES_MIN..=ENTRY_BYTES_MAX).contains(&header.entry_bytes)
        && header.entry_bytes.is_power_of_two()
        && header.entries <= ENTRIES_MAX;
    (whole && sane).then_some(header)
}

fn partition(entry: &[u8], number: u32) -> Option<Partition> {
    let kind: [u8; 16] = entry.get(..16)?.try_into().ok()?;
    let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
    if kind == [0; 16] {
        return None;
    }
    let sectors = last.checked_sub(first).and_then(|sectors| sectors.checked_add(1)).unwrap_or(0);
    Some(Partition {
        number,
        start_bytes: first.saturating_mul(SECTOR_BYTES),
        len_bytes: sectors.saturating_mul(SECTOR_BYTES),
        kind: PartitionKind::Gpt(Guid(kind)),
        active: le64(entry, 48)? & ATTRIBUTE_LEGACY_BOOT != 0,
        content: Content::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Scheme, read};
    use crate::testing::{Disk, window};

    const LINUX: Guid = Guid(*b"any other GUID..");

    fn disk() -> Disk {
        let mut disk = Disk::new(16 << 20);
        disk.gpt(&[(EFI_SYSTEM.0, 2048, 4095, 0), (LINUX.0, 4096, 8191, ATTRIBUTE_LEGACY_BOOT)]);
        disk
    }

    fn defects(disk: &Disk) -> (usize, Vec<Defect>) {
        let table = read(&window(disk)).expect("readable");
        assert_eq!(table.scheme, Scheme::Gpt);
        (table.partitions.len(), table.defects)
    }

    #[test]
    fn entries_become_partitions() {
        let table = read(&window(&disk())).expect("readable");
        assert!(table.partitions[0].kind.is_efi_system());
        assert_eq!((table.partitions[1].start_bytes, table.partitions[1].len_bytes), (2 << 20, 2 << 20));
        assert!(table.partitions[1].active);
        assert_eq!(EFI_SYSTEM.to_string(), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        assert_eq!(BIOS_BOOT.to_string(), "21686148-6449-6E6F-744E-656564454649");
    }

    #[test]
    fn the_backup_is_used_where_the_primary_is_damaged_and_missed_where_it_is_not_there() {
        assert_eq!(defects(&disk()), (2, vec![]));
        let mut damaged = disk();
        damaged.write(512 + 40, &[0xFF]);
        assert_eq!(defects(&damaged), (2, vec![Defect::GptPrimaryDamaged]));
        let mut entries_damaged = disk();
        entries_damaged.write(1024 + 3, &[0xFF]);
        assert_eq!(defects(&entries_damaged), (2, vec![Defect::GptPrimaryDamaged]));
        let mut no_backup = disk();
        no_backup.write((16 << 20) - 512, &[0; 512]);
        assert_eq!(defects(&no_backup), (2, vec![Defect::GptBackupDamaged]));
        let mut neither = no_backup;
        neither.write(512, &[0; 8]);
        assert_eq!(defects(&neither), (0, vec![Defect::GptUnreadable]));
    }

    #[test]
    fn a_hybrid_record_is_a_defect() {
        let mut disk = disk();
        disk.mbr_entry(0, 1, 0x83, true, 4096, 4096);
        assert_eq!(defects(&disk), (2, vec![Defect::Hybrid]));
    }
}
