//! How a disk starts: the boot loader, and whether BIOS firmware, UEFI firmware or both can start it.

use serde::{Deserialize, Serialize};

use crate::bytes::contains;
use crate::error::Result;
use crate::gap::{Gaps, Part};
use crate::table::{BootCode, Scheme, Table};
use crate::tree::{self, Root};
use crate::window::Window;

/// What starts a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum BootLoader {
    Grub2,
    GrubLegacy,
    Extlinux,
    Syslinux,
    Lilo,
    SystemdBoot,
    /// Windows since Vista.
    WindowsBootManager,
    /// Windows before.
    Ntldr,
}

/// How a disk starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Whether BIOS firmware finds something that starts.
    pub bios: bool,
    /// Whether UEFI firmware finds something that starts.
    pub uefi: bool,
    /// The boot loader, as far as it is known.
    pub loader: Option<BootLoader>,
    /// The partition of the EFI system partition.
    pub efi_system_partition: Option<u32>,
    /// The programs on it, by path.
    pub efi_programs: Vec<String>,
}

const BOOT_SECTOR_BYTES: usize = 512;
const EFI_PROGRAMS_MAX: usize = 64;
const EFI_DIRECTORIES_MAX: usize = 32;
/// What UEFI firmware starts where it was told of nothing else.
const EFI_DEFAULTS: [&str; 4] = [
    "/efi/boot/bootx64.efi",
    "/efi/boot/bootaa64.efi",
    "/efi/boot/bootia32.efi",
    "/efi/boot/bootloongarch64.efi",
];

/// Looks at the ways to start, except for the loader's own files in the system.
pub(crate) fn read(disk: &Window, table: &Table, gaps: &mut Gaps) -> Result<Boot> {
    let mut boot = Boot::default();
    read_bios(disk, table, &mut boot)?;
    let efi = table.partitions.iter().find(|partition| {
        partition.kind.is_efi_system() || (table.scheme == Scheme::None && partition.content.is_fat())
    });
    if let Some(partition) = efi {
        boot.efi_system_partition = Some(partition.number);
        let volume = disk.part(partition.start_bytes, partition.len_bytes);
        let (programs, has_systemd_boot) = gaps.guard(Part::EfiSystemPartition, |_| {
            let tree = tree::open(partition.content, &volume)?;
            let root = Root::new(tree, disk.budget().clone());
            Ok((efi_programs(&root)?, root.exists("/loader/loader.conf")?))
        })?;
        boot.efi_programs = programs;
        let names = boot.efi_programs.iter().map(|path| path.to_ascii_lowercase());
        boot.uefi = names.clone().any(|path| EFI_DEFAULTS.contains(&path.as_str()));
        // Under the name that every firmware looks for it is known by its configuration only.
        let by_configuration = has_systemd_boot.then_some(BootLoader::SystemdBoot);
        boot.loader = boot.loader.or_else(|| efi_loader(names)).or(by_configuration);
    }
    Ok(boot)
}

/// BIOS starts the first sector, which starts its own next stage or the active partition's first sector.
fn read_bios(disk: &Window, table: &Table, boot: &mut Boot) -> Result<()> {
    let active = table.partitions.iter().find(|partition| partition.active);
    let first_sector = match (table.boot_code, active) {
        (BootCode::StartsActivePartition | BootCode::Unknown, Some(partition)) => {
            disk.read_array::<BOOT_SECTOR_BYTES>(partition.start_bytes)?
        }
        _ => disk.read_array(0)?,
    };
    let loader = sector_loader(&first_sector);
    boot.bios = match table.boot_code {
        BootCode::Absent => false,
        BootCode::Grub if table.scheme == Scheme::Gpt => {
            table.partitions.iter().any(|partition| partition.kind.is_bios_boot())
        }
        BootCode::Grub | BootCode::Lilo => true,
        // What starts an active partition needs one, and code in it.
        BootCode::StartsActivePartition => active.is_some() && has_code(&first_sector),
        BootCode::Unknown => table.scheme == Scheme::None || active.is_some(),
    };
    boot.loader = match table.boot_code {
        BootCode::Lilo => Some(BootLoader::Lilo),
        _ => loader,
    };
    Ok(())
}

fn has_code(sector: &[u8; BOOT_SECTOR_BYTES]) -> bool {
    sector[510..] == [0x55, 0xAA] && sector[..510].iter().any(|byte| *byte != 0)
}

/// A loader that a partition's first sector names.
fn sector_loader(sector: &[u8; BOOT_SECTOR_BYTES]) -> Option<BootLoader> {
    const NAMES: [(&[u8], BootLoader); 5] = [
        (b"EXTLINUX", BootLoader::Extlinux),
        (b"SYSLINUX", BootLoader::Syslinux),
        (b"BOOTMGR", BootLoader::WindowsBootManager),
        (b"NTLDR", BootLoader::Ntldr),
        (b"LILO", BootLoader::Lilo),
    ];
    NAMES.iter().find(|(name, _)| contains(sector, name)).map(|(_, loader)| *loader)
}

/// The programs in the directories of `/EFI`.
fn efi_programs(root: &Root) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for directory in root.list("/EFI")?.iter().take(EFI_DIRECTORIES_MAX) {
        let directory = format!("/EFI/{directory}");
        for name in root.list(&directory)? {
            if name.to_ascii_lowercase().ends_with(".efi") && found.len() < EFI_PROGRAMS_MAX {
                found.push(format!("{directory}/{name}"));
            }
        }
    }
    Ok(found)
}

fn efi_loader(mut paths: impl Iterator<Item = String>) -> Option<BootLoader> {
    paths.find_map(|path| match path.rsplit('/').next()? {
        name if name.starts_with("grub") || name.starts_with("shim") => Some(BootLoader::Grub2),
        name if name.starts_with("systemd-boot") => Some(BootLoader::SystemdBoot),
        "bootmgfw.efi" => Some(BootLoader::WindowsBootManager),
        _ => None,
    })
}

/// Completes what the sectors say with the loader's files in a Linux system.
pub(crate) fn complete_from_linux(root: &Root, table: &Table, boot: &mut Boot) -> Result<()> {
    const FILES: [(&str, BootLoader); 9] = [
        ("/boot/grub2/grub.cfg", BootLoader::Grub2),
        ("/boot/grub/grub.cfg", BootLoader::Grub2),
        ("/boot/grub/menu.lst", BootLoader::GrubLegacy),
        ("/boot/grub/grub.conf", BootLoader::GrubLegacy),
        ("/boot/extlinux/extlinux.conf", BootLoader::Extlinux),
        ("/boot/extlinux.conf", BootLoader::Extlinux),
        ("/boot/syslinux/syslinux.cfg", BootLoader::Syslinux),
        ("/etc/lilo.conf", BootLoader::Lilo),
        ("/boot/loader/loader.conf", BootLoader::SystemdBoot),
    ];
    // Each of these sectors is that of two loaders, which their files tell apart.
    let candidates: &[BootLoader] = match (table.boot_code, boot.loader) {
        (BootCode::Grub, _) => &[BootLoader::Grub2, BootLoader::GrubLegacy],
        (_, Some(BootLoader::Syslinux)) => &[BootLoader::Extlinux, BootLoader::Syslinux],
        (_, Some(_)) => return Ok(()),
        (_, None) => &[],
    };
    for (path, loader) in FILES {
        if (candidates.is_empty() || candidates.contains(&loader)) && root.is_file(path)? {
            boot.loader = Some(loader);
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Disk, root, window};

    fn boot(disk: &Disk) -> Boot {
        let table = crate::table::read(&window(disk)).expect("readable");
        read(&window(disk), &table, &mut Gaps::default()).expect("readable")
    }

    #[test]
    fn a_generic_record_needs_an_active_partition_with_code() {
        let mut disk = Disk::new(16 << 20);
        disk.boot_code(b"Missing operating system");
        disk.mbr_entry(0, 0, 0x83, false, 2048, 8192);
        assert!(!boot(&disk).bios);
        disk.mbr_entry(0, 0, 0x83, true, 2048, 8192);
        assert!(!boot(&disk).bios, "there is no code in the partition");
        disk.write(1 << 20, b"\xEB\x58\x90EXTLINUX");
        disk.write((1 << 20) + 510, &[0x55, 0xAA]);
        let found = boot(&disk);
        assert_eq!((found.bios, found.loader), (true, Some(BootLoader::Extlinux)));
    }

    /// As syslinux's `gptmbr.bin` does it.
    #[test]
    fn a_record_for_gpt_needs_a_partition_with_the_attribute_and_code() {
        const LEGACY_BOOT: u64 = 1 << 2;
        let mut disk = Disk::new(16 << 20);
        disk.boot_code(b"Missing OS\r\n");
        disk.gpt(&[(*b"any other GUID..", 4096, 8191, LEGACY_BOOT)]);
        assert!(!boot(&disk).bios, "there is no code in the partition");
        disk.write(2 << 20, b"\xEB\x58\x90EXTLINUX");
        disk.write((2 << 20) + 510, &[0x55, 0xAA]);
        let found = boot(&disk);
        assert_eq!((found.bios, found.loader), (true, Some(BootLoader::Extlinux)));
        disk.gpt(&[(*b"any other GUID..", 4096, 8191, 0)]);
        assert!(!boot(&disk).bios, "no partition has the attribute");
    }

    #[test]
    fn grub_starts_by_itself_but_on_gpt_needs_its_partition() {
        let mut disk = Disk::new(16 << 20);
        disk.boot_code(b"GRUB \0Geom");
        disk.mbr_entry(0, 0, 0x83, false, 2048, 8192);
        assert!(boot(&disk).bios);
        let mut disk = Disk::new(16 << 20);
        disk.boot_code(b"GRUB \0Geom");
        disk.gpt(&[(*b"any other GUID..", 4096, 8191, 0)]);
        assert!(!boot(&disk).bios);
        disk.gpt(&[(crate::table::gpt::BIOS_BOOT.0, 2048, 4095, 0), (*b"any other GUID..", 4096, 8191, 0)]);
        assert!(boot(&disk).bios);
    }

    #[test]
    fn files_tell_which_grub_it_is() {
        let mut disk = Disk::new(16 << 20);
        disk.boot_code(b"GRUB \0Geom");
        disk.mbr_entry(0, 0, 0x83, true, 2048, 8192);
        let table = crate::table::read(&window(&disk)).expect("readable");
        for (path, loader) in
            [("/boot/grub/menu.lst", BootLoader::GrubLegacy), ("/boot/grub2/grub.cfg", BootLoader::Grub2)]
        {
            let mut boot = boot(&disk);
            complete_from_linux(&root(&[(path, "")]), &table, &mut boot).expect("readable");
            assert_eq!(boot.loader, Some(loader));
        }
    }
}
