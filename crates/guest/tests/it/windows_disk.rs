//! Disks with a Windows system: real NTFS, hives written by hand.

use crate::disks::Disk;
use crate::files::Tree;
use crate::hive_image::{HiveImage, number, text};

pub(crate) fn software() -> Vec<u8> {
    let mut hive = HiveImage::new();
    hive.key(
        &["Microsoft", "Windows NT", "CurrentVersion"],
        &[
            text("ProductName", "Windows Server 2012 R2 Standard"),
            text("EditionID", "ServerStandard"),
            text("InstallationType", "Server"),
            text("CurrentVersion", "6.3"),
            text("CurrentBuild", "9600"),
        ],
    );
    // Real hives have many keys beside the one that is looked for.
    for index in 0..400 {
        hive.key(&["Microsoft", &format!("Component{index}")], &[number("Value", index)]);
    }
    hive.finish()
}

pub(crate) fn system() -> Vec<u8> {
    let mut hive = HiveImage::new();
    hive.key(&["Select"], &[number("Current", 2), number("Default", 2)]);
    hive.key(
        &["ControlSet002", "Control", "Session Manager", "Environment"],
        &[text("PROCESSOR_ARCHITECTURE", "AMD64")],
    );
    hive.key(&["ControlSet002", "Services", "viostor"], &[number("Start", 0), number("Type", 1)]);
    hive.key(&["ControlSet002", "Services", "netkvm"], &[number("Start", 3)]);
    hive.key(&["ControlSet002", "Services", "cloudbase-init"], &[number("Start", 2)]);
    hive.finish()
}

fn pe(machine: u16) -> Vec<u8> {
    let mut head = vec![0u8; 512];
    head[..2].copy_from_slice(b"MZ");
    head[0x3C] = 0x80;
    head[0x80..0x84].copy_from_slice(b"PE\0\0");
    head[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    head
}

/// A disk with the files of a tree on NTFS. ntfscp overwrites and adds files, but makes no directories: the volume
/// is mounted through FUSE where that is allowed, else through the kernel.
pub(crate) fn disk(tree: &Tree) -> Disk {
    let disk = Disk::new(64);
    disk.partition("label: dos\nstart=2048, type=7, bootable\n");
    disk.write(0x100, b"Invalid partition table\0Error loading operating system\0Missing operating system\0");
    disk.file_system("ntfs", 1, 63, tree);
    disk.run(&format!(
        "mkdir mount && ntfs-3g part mount && cp -r {}/. mount/ && umount mount && \
         dd if=part of=disk bs=1M seek=1 conv=notrunc,sparse status=none",
        tree.path().display()
    ));
    disk
}

pub(crate) fn windows_tree() -> Tree {
    let tree = small_tree();
    for index in 0..300 {
        tree.write(&format!("Windows/System32/component{index:04}.dll"), "MZ");
    }
    tree
}

fn small_tree() -> Tree {
    let tree = Tree::new();
    tree.write("Windows/System32/config/SOFTWARE", software())
        .write("Windows/System32/config/SYSTEM", system())
        .write("Windows/System32/ntoskrnl.exe", pe(0x8664))
        .write("Windows/System32/drivers/viostor.sys", "MZ")
        .write("Windows/System32/drivers/NetKvm.sys", "MZ")
        .write("Users/Administrator/.ssh/id_rsa", "-----BEGIN RSA PRIVATE KEY-----\n")
        .write("bootmgr", "x");
    tree
}

/// A disk with a Windows system.
pub(crate) fn system_disk() -> Disk {
    disk(&windows_tree())
}

/// The same with little beside what is looked for.
pub(crate) fn small_system_disk() -> Disk {
    disk(&small_tree())
}
