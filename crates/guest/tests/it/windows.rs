//! Windows systems on real NTFS, with real hives.

use kiln_guest::{
    Architecture, BootLoader, Content, Inspection, SecretKind, Start, System, Windows, WindowsDriver,
    WindowsRelease,
};

use crate::disks::Disk;
use crate::files::Tree;
use crate::hive_image::{HiveImage, number, text};

fn software() -> Vec<u8> {
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

fn system() -> Vec<u8> {
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
fn disk(tree: &Tree) -> Disk {
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

fn windows_tree() -> Tree {
    let tree = Tree::new();
    tree.write("Windows/System32/config/SOFTWARE", software())
        .write("Windows/System32/config/SYSTEM", system())
        .write("Windows/System32/ntoskrnl.exe", pe(0x8664))
        .write("Windows/System32/drivers/viostor.sys", "MZ")
        .write("Windows/System32/drivers/NetKvm.sys", "MZ")
        .write("Users/Administrator/.ssh/id_rsa", "-----BEGIN RSA PRIVATE KEY-----\n")
        .write("bootmgr", "x");
    for index in 0..300 {
        tree.write(&format!("Windows/System32/component{index:04}.dll"), "MZ");
    }
    tree
}

/// A disk with a Windows system.
pub(crate) fn system_disk() -> Disk {
    disk(&windows_tree())
}

fn windows(inspection: &Inspection) -> &Windows {
    assert_eq!(inspection.gaps, []);
    match &inspection.system {
        System::Windows(windows) => windows,
        other => panic!("no Windows system: {other:?}"),
    }
}

#[test]
fn a_server_is_seen_with_its_drivers() {
    let inspection = disk(&windows_tree()).inspect();
    let found = windows(&inspection);
    assert_eq!(found.product_name, "Windows Server 2012 R2 Standard");
    assert_eq!(
        (found.edition_id.as_str(), found.version.as_str(), found.build),
        ("ServerStandard", "6.3", 9600)
    );
    assert_eq!(found.release, Some(WindowsRelease::Server2012R2));
    assert_eq!(found.architecture, Some(Architecture::X86_64));
    assert_eq!(found.viostor, WindowsDriver { start: Some(Start::Boot), has_file: true });
    assert_eq!(found.netkvm, WindowsDriver { start: Some(Start::Manual), has_file: true });
    assert_eq!(found.cloudbase_init, Some(Start::Automatic));
    assert_eq!(inspection.table.partitions[0].content, Content::Ntfs);
    assert!(inspection.boot.bios, "an active partition with NTFS's boot code");
    assert_eq!(inspection.secrets[0].kind, SecretKind::PrivateKey);
    assert!(inspection.boot.loader.is_none_or(|loader| loader == BootLoader::WindowsBootManager));
}

#[test]
fn drivers_that_are_not_there_are_absent() {
    let tree = windows_tree();
    tree.remove("Windows/System32/drivers/viostor.sys");
    let inspection = disk(&tree).inspect();
    assert_eq!(windows(&inspection).viostor, WindowsDriver { start: Some(Start::Boot), has_file: false });
}

#[test]
fn the_hives_of_these_tests_are_hives_to_others_as_well() {
    let tree = Tree::new();
    tree.write("SYSTEM", system()).write("SOFTWARE", software());
    let read =
        |command: &str| String::from_utf8_lossy(&crate::files::shell(command, tree.path())).into_owned();
    assert_eq!(read("hivexget SYSTEM 'ControlSet002\\Services\\cloudbase-init' Start").trim(), "2");
    let name = read("hivexget SOFTWARE 'Microsoft\\Windows NT\\CurrentVersion' ProductName");
    assert_eq!(name.trim(), "Windows Server 2012 R2 Standard");
}

#[test]
fn a_hive_that_is_none_is_a_gap() {
    let tree = windows_tree();
    tree.write("Windows/System32/config/SOFTWARE", vec![0x5A; 9000]);
    let inspection = disk(&tree).inspect();
    assert_eq!(inspection.gaps.len(), 1);
    assert!(matches!(&inspection.system, System::Windows(windows) if windows.viostor.starts_at_boot()));
}
