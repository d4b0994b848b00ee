//! Windows systems on real NTFS, with real hives.

use kiln_guest::{
    Architecture, BootLoader, Content, Inspection, SecretKind, Start, System, Windows, WindowsDriver,
    WindowsRelease,
};

use crate::files::Tree;
use crate::windows_disk::{disk, software, system, windows_tree};

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
