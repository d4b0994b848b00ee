//! How findings name what an inspection found: the field's own words for each fact.

use kiln_guest::{Architecture as Compiled, BootLoader, Content, Defect, Driver, Part, Start, WindowsDriver};
use kiln_model::{Architecture, LicenseType};

pub(super) fn content(content: Content) -> &'static str {
    match content {
        Content::Ext2 => "ext2",
        Content::Ext3 => "ext3",
        Content::Ext4 => "ext4",
        Content::Xfs => "XFS",
        Content::Btrfs => "Btrfs",
        Content::Ntfs => "NTFS",
        Content::Fat12 => "FAT12",
        Content::Fat16 => "FAT16",
        Content::Fat32 => "FAT32",
        Content::ExFat => "exFAT",
        Content::Swap => "swap",
        Content::Lvm => "LVM",
        Content::Luks => "LUKS",
        Content::BitLocker => "BitLocker",
        Content::Raid => "Linux RAID",
        Content::Iso9660 => "ISO 9660",
        Content::Unknown => "something unknown",
    }
}

pub(super) fn boot_loader(loader: BootLoader) -> &'static str {
    match loader {
        BootLoader::Grub2 => "GRUB 2",
        BootLoader::GrubLegacy => "GRUB Legacy",
        BootLoader::Extlinux => "EXTLINUX",
        BootLoader::Syslinux => "SYSLINUX",
        BootLoader::Lilo => "LILO",
        BootLoader::SystemdBoot => "systemd-boot",
        BootLoader::WindowsBootManager => "the Windows Boot Manager",
        BootLoader::Ntldr => "NTLDR",
    }
}

pub(super) fn part(part: Part) -> String {
    let words = match part {
        Part::Partition { number } => return format!("partition {number}"),
        Part::System => "the system",
        Part::Architecture => "the architecture",
        Part::Kernels => "the kernels",
        Part::Initramfs => "the initramfs",
        Part::CloudInit => "cloud-init",
        Part::Network => "the network configuration",
        Part::BootLoader => "the boot loader",
        Part::EfiSystemPartition => "the EFI system partition",
        Part::Registry => "the registry",
        Part::Drivers => "the drivers",
        Part::Secrets => "the secrets",
    };
    words.to_owned()
}

pub(super) fn defect(defect: &Defect) -> String {
    let words = match defect {
        Defect::OutsideDisk { number } => return format!("partition {number} does not lie on the disk"),
        Defect::Overlap { number, with } => return format!("partition {number} overlaps partition {with}"),
        Defect::BadExtendedChain => "the chain of logical partitions is broken",
        Defect::GptPrimaryDamaged => "the GPT's first header is damaged",
        Defect::GptBackupDamaged => "the GPT's backup header is damaged or not at the disk's end",
        Defect::GptUnreadable => "neither header of the GPT is whole",
        Defect::Hybrid => "an MBR and a GPT describe the disk at once",
    };
    words.to_owned()
}

pub(super) fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::BuiltIn => "built in",
        Driver::Module { in_initramfs: Some(true) } => "as a module, in its initramfs too",
        Driver::Module { in_initramfs: Some(false) } => "as a module, but not in its initramfs",
        Driver::Module { in_initramfs: None } => "as a module",
        Driver::Absent => "not at all",
    }
}

/// How a Windows service starts, or that there is none.
pub(super) fn start(driver: WindowsDriver) -> String {
    let words = match driver.start {
        None => "no service",
        Some(Start::Boot) => "a service that starts with the disk",
        Some(Start::System) => "a service that starts with the system",
        Some(Start::Automatic) => "a service that starts by itself",
        Some(Start::Manual) => "a service that starts on demand",
        Some(Start::Disabled) => "a disabled service",
        Some(Start::Unknown(number)) => return format!("a service of the unknown start type {number}"),
    };
    words.to_owned()
}

pub(super) fn compiled(architecture: Compiled) -> &'static str {
    match architecture {
        Compiled::X86_64 => "x86_64",
        Compiled::I386 => "i386",
        Compiled::Arm64 => "arm64",
        Compiled::Arm => "arm",
        Compiled::Itanium => "ia64",
        Compiled::PowerPc64 => "ppc64",
        Compiled::RiscV64 => "riscv64",
        Compiled::S390x => "s390x",
        Compiled::LoongArch64 => "loong64",
        Compiled::Other => "another one",
    }
}

/// By the API's names.
pub(super) fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::I386 => "i386",
        Architecture::Arm64 => "arm64",
    }
}

/// By the API's names.
pub(super) fn license(license: LicenseType) -> &'static str {
    match license {
        LicenseType::TencentCloud => "TencentCloud",
        LicenseType::Byol => "BYOL",
    }
}
