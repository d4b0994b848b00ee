//! Whole disks: which partition is the system's.

use std::path::Path;

use kiln_guest::place::{self, Changes, NetworkFacts, PlaceError};
use kiln_testkit::qemu_img::run;

use super::{patched, sbin, utf8};
use crate::disks::Disk;
use crate::files::{Tree, debian};

const MIB: u64 = 1 << 20;
/// Where the two partitions begin, in MiB.
const STARTS: [u64; 2] = [1, 33];

fn facts() -> NetworkFacts {
    NetworkFacts {
        ip: [10, 64, 1, 7].into(),
        prefix: 10,
        gateway: [10, 127, 255, 253].into(),
        dns: vec![[10, 127, 255, 254].into()],
        mac: "52:54:00:00:00:07".to_owned(),
        hostname: "web-1".to_owned(),
    }
}

/// A disk with an MBR and an ext4 file system of 32 MiB for each of two trees.
fn disk(trees: [&Tree; 2]) -> Disk {
    let disk = Disk::new(65);
    disk.partition("label: dos\nstart=1MiB, size=32MiB, type=83\nstart=33MiB, size=32MiB, type=83\n");
    for (start, tree) in STARTS.into_iter().zip(trees) {
        disk.file_system("ext4", start, 32, tree);
    }
    disk
}

/// What is no system, even with an `/etc`: the backup of one's configuration.
fn backup() -> Tree {
    let tree = Tree::new();
    tree.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n").write("/etc/fstab", "");
    tree
}

fn separate_boot() -> Tree {
    let tree = Tree::new();
    tree.write("/grub/grub.cfg", "");
    tree
}

fn network_file(disk: &Disk) -> Result<Changes, PlaceError> {
    place::network_file(disk.device(), &facts())
}

/// What the tools say of a partition of a disk.
fn seen(image: &Path, start_mib: u64) -> String {
    let of_disk = format!("{}?offset={}", utf8(image), start_mib * MIB);
    run(&sbin("e2fsck"), ["-fn", &of_disk]);
    run(&sbin("debugfs"), ["-R", &format!("cat {}", place::LINUX_PATH), &of_disk])
}

#[test]
fn the_file_is_put_into_the_root_that_an_inspection_finds() {
    for (trees, number) in [
        ([separate_boot(), debian()], 2),
        ([backup(), debian()], 2),
        ([debian(), backup()], 1),
        ([debian(), debian()], 1),
    ] {
        let disk = disk([&trees[0], &trees[1]]);
        assert_eq!(disk.inspect().root_partition().expect("a root").number, number);
        let changes = network_file(&disk).expect("placed");
        let start = STARTS[number as usize - 1];
        let own = start * MIB..(start + 32) * MIB;
        assert!(changes.iter().all(|(offset, _)| own.contains(offset)), "only its own partition changes");
        assert_eq!(seen(&patched(&disk.path(), &changes), start), place::linux_text(&facts()));
    }
}

#[test]
fn the_file_is_put_into_windows() {
    let disk = crate::windows_disk::system_disk();
    let changes = network_file(&disk).expect("placed");
    let written = patched(&disk.path(), &changes);
    let volume = written.with_extension("volume");
    run(
        "dd",
        [
            &format!("if={}", utf8(&written)),
            &format!("of={}", utf8(&volume)),
            "bs=1M",
            "skip=1",
            "status=none",
        ],
    );
    run("ntfsfix", ["-n", utf8(&volume)]);
    assert_eq!(run("ntfscat", [utf8(&volume), place::WINDOWS_PATH]), place::windows_text(&facts()));
}

#[test]
fn a_disk_without_a_system_is_refused() {
    for disk in [disk([&separate_boot(), &backup()]), Disk::new(1)] {
        assert!(matches!(network_file(&disk), Err(PlaceError::NoSystem)));
    }
}

#[test]
fn a_root_that_is_not_written_is_the_reason() {
    let disk = Disk::new(433);
    disk.partition("label: dos\nstart=1MiB, size=32MiB, type=83\nstart=33MiB, size=399MiB, type=83\n");
    disk.file_system("ext4", 1, 32, &backup()).file_system("xfs", 33, 399, &debian());
    let error = network_file(&disk).expect_err("it is to be refused");
    assert_eq!(error.to_string(), "the file system is Xfs, which is not written offline");
}

#[test]
fn the_reason_is_the_systems_own() {
    let disk = disk([&backup(), &debian()]);
    let of_disk = format!("{}?offset={}", utf8(&disk.path()), STARTS[1] * MIB);
    run(&sbin("debugfs"), ["-w", "-R", "feature needs_recovery", &of_disk]);
    let error = network_file(&disk).expect_err("it is to be refused");
    assert!(error.to_string().contains("journal"), "{error}");
}
