//! Criteria about the file and its disk: format, size, partitions, boot loader, root file system.

use kiln_guest::{Content, Defect, GapReason, Scheme, System};
use kiln_model::BootMode;

use super::preset::Accepts;
use super::{Check, Subject, words};

const FORMATS: [&str; 4] = ["raw", "vhd", "qcow2", "vmdk"];
const GIB: f64 = (1u64 << 30) as f64;
/// Gaps that a sentence lists.
const GAPS_SHOWN: usize = 4;

pub(super) fn file_format(subject: &Subject<'_>) -> Check {
    let found = format!("The file is a {} image.", subject.format);
    if FORMATS.contains(&subject.format) {
        Check::met(found)
    } else {
        Check::not_met(found, "Convert it to raw, VHD, qcow2 or VMDK (qemu-img convert -O qcow2).")
    }
}

pub(super) fn virtual_size(subject: &Subject<'_>) -> Check {
    let (size, limit) = (subject.virtual_size_bytes as f64 / GIB, subject.size_limit_bytes as f64 / GIB);
    let found = format!("The disk has {size:.1} GiB; {limit:.1} GiB are allowed.");
    if subject.virtual_size_bytes == 0 {
        Check::not_met("The disk is empty.", "Import the disk of a whole system.")
    } else if subject.virtual_size_bytes <= subject.size_limit_bytes {
        Check::met(found)
    } else {
        Check::not_met(
            found,
            "Shrink the file system and its partition, then the image (qemu-img resize --shrink); what is left over \
             can become a data disk.",
        )
    }
}

/// Features that are not read are the other criteria's matter: they say themselves what they could not find out.
pub(super) fn inspection_complete(subject: &Subject<'_>) -> Check {
    if let Some(number) = cut_off_partition(subject) {
        return Check::not_met(
            format!(
                "The disk ends before partition {number} does, after {} bytes.",
                subject.virtual_size_bytes
            ),
            "The file is cut short: copy or download it again, and compare its size and checksum with the source's.",
        );
    }
    let gaps = &subject.inspection.gaps;
    let serious = gaps.iter().filter(|gap| gap.reason != GapReason::Unsupported);
    let sentences: Vec<_> = serious.map(|gap| format!("{}: {}", words::part(gap.part), gap.detail)).collect();
    if sentences.is_empty() {
        return Check::met("Everything on the disk that matters was looked at.");
    }
    let shown = sentences[..sentences.len().min(GAPS_SHOWN)].join("; ");
    Check::not_met(
        format!("Not everything could be looked at ({} places): {shown}.", sentences.len()),
        "Shut the system down cleanly, repair its file systems (fsck, chkdsk) and make the image again.",
    )
}

/// A partition that does not lie on the disk.
fn cut_off_partition(subject: &Subject<'_>) -> Option<u32> {
    subject.inspection.table.defects.iter().find_map(|defect| match defect {
        Defect::OutsideDisk { number } => Some(*number),
        _ => None,
    })
}

pub(super) fn partition_table(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    match subject.inspection.table.scheme {
        Scheme::Mbr => Check::met("The disk has an MBR."),
        Scheme::Gpt if subject.claim.boot_mode == BootMode::Uefi => {
            Check::met("The disk has a GPT, which starting by UEFI allows.")
        }
        Scheme::Gpt if accepts.gpt_with_bios => Check::met("The disk has a GPT."),
        Scheme::Gpt => Check::not_met(
            "The disk has a GPT.",
            "Convert it to MBR (sgdisk --gpttombr) and install the boot loader again, or import with BootMode=UEFI if \
             the system starts by UEFI. The policy modern takes a GPT with either.",
        ),
        Scheme::None => Check::not_met(
            "The disk has no partition table.",
            "Import the disk of a whole system, with a partition table, not a partition or a data disk.",
        ),
    }
}

pub(super) fn partition_table_intact(subject: &Subject<'_>) -> Check {
    let defects = &subject.inspection.table.defects;
    if defects.is_empty() {
        return Check::met("The partition table is sound.");
    }
    let names: Vec<_> = defects.iter().take(GAPS_SHOWN).map(words::defect).collect();
    Check::not_met(
        format!("The partition table is not sound: {}.", names.join(", ")),
        "Repair it (sfdisk --verify shows what is wrong, sgdisk -e moves a GPT's backup to the disk's end).",
    )
}

pub(super) fn bootable(subject: &Subject<'_>) -> Check {
    let boot = &subject.inspection.boot;
    let loader = boot.loader.map_or_else(|| "an unknown boot loader", words::boot_loader);
    match subject.claim.boot_mode {
        BootMode::Bios if boot.bios => Check::met(format!("The disk starts by BIOS, with {loader}.")),
        BootMode::Uefi if boot.uefi => Check::met(format!("The disk starts by UEFI, with {loader}.")),
        BootMode::Bios if boot.uefi => Check::not_met(
            "The disk starts by UEFI only.",
            "Import it with BootMode=UEFI, or install a boot loader for BIOS (grub-install --target=i386-pc).",
        ),
        BootMode::Bios => Check::not_met(
            "No bootable partition: the disk has no boot loader that BIOS starts.",
            "Import a system disk, not a data disk; install the boot loader on the disk and mark its partition active.",
        ),
        BootMode::Uefi if boot.efi_system_partition.is_some() => Check::not_met(
            "The EFI system partition has no program that firmware starts by itself.",
            "Install one as /EFI/BOOT/BOOTX64.EFI (grub-install --removable).",
        ),
        BootMode::Uefi => Check::not_met(
            "The disk has no EFI system partition.",
            "Import it with BootMode=Legacy BIOS, or give it an EFI system partition with a boot loader.",
        ),
    }
}

pub(super) fn root_file_system(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    const GUIDE: &str = "Import a system disk with its root directly on a partition, with an ext3 or ext4 file system \
                         (NTFS for Windows). The policy modern takes XFS and Btrfs, too.";
    const MODERN: &str = "Import a system disk with its root directly on a partition, with an ext3, ext4, XFS or Btrfs \
                          file system (NTFS for Windows).";
    let fix = if accepts.linux_roots.contains(&Content::Xfs) { MODERN } else { GUIDE };
    let inspection = subject.inspection;
    let root = inspection.root_partition().map(|partition| partition.content);
    match (&inspection.system, root) {
        (System::Windows(_), Some(Content::Ntfs)) => Check::met("The root is on NTFS."),
        (System::Linux(_), Some(content)) if accepts.linux_roots.contains(&content) => {
            Check::met(format!("The root is on {}.", words::content(content)))
        }
        (_, Some(content)) => Check::not_met(format!("The root is on {}.", words::content(content)), fix),
        (_, None) => {
            let contents = inspection.table.partitions.iter().map(|partition| partition.content);
            let known: Vec<_> = contents.filter(|content| *content != Content::Unknown).collect();
            let may_hold_a_root = |content: &Content| {
                content.is_ext()
                    || matches!(content, Content::Xfs | Content::Lvm | Content::Luks | Content::Raid)
            };
            let btrfs_is_the_only_one = known.contains(&Content::Btrfs) && !known.iter().any(may_hold_a_root);
            if btrfs_is_the_only_one && accepts.linux_roots.contains(&Content::Btrfs) {
                return Check::met("The root is on Btrfs, which is not looked into.");
            }
            let names: Vec<_> = known.iter().map(|content| words::content(*content)).collect();
            let found = match names.is_empty() {
                true => "There is no file system on the disk.".to_owned(),
                false => format!("No root file system was found; the partitions hold {}.", names.join(", ")),
            };
            Check::not_met(found, fix)
        }
    }
}
