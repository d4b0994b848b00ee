//! Whole disks: which partition is the system's.

use std::path::Path;
use std::sync::Arc;

use kiln_block::{BlockDevice, FileDevice};
use kiln_guest::place::{self, Changes, NetworkFacts, PlaceError};
use kiln_testkit::qemu_img::run;

use super::{blank, patched, sbin, utf8};

const MIB: u64 = 1 << 20;
const PARTITION: u64 = 16 * MIB;

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

/// A disk with an MBR of two partitions; of each whether `/etc` is in it.
fn disk(directory: &Path, first_has_etc: bool, second_has_etc: bool) -> std::path::PathBuf {
    let image = directory.join("disk.raw");
    blank(&image, MIB + 2 * PARTITION);
    let table = "label: dos\nstart=1MiB, size=16MiB, type=83\nstart=17MiB, size=16MiB, type=83\n";
    std::fs::write(directory.join("table"), table).expect("a file");
    let script = format!("{} -q $0 < $1", sbin("sfdisk"));
    run("sh", ["-c", &script, utf8(&image), utf8(&directory.join("table"))]);
    for (n, has_etc) in [first_has_etc, second_has_etc].into_iter().enumerate() {
        let root = directory.join(format!("root{n}"));
        std::fs::create_dir_all(root.join(if has_etc { "etc" } else { "grub" })).expect("a directory");
        let offset = format!("offset={}", MIB + n as u64 * PARTITION);
        run(
            &sbin("mke2fs"),
            ["-q", "-F", "-t", "ext4", "-E", &offset, "-d", utf8(&root), utf8(&image), "16M"],
        );
    }
    image
}

fn network_file(image: &Path) -> Result<Changes, PlaceError> {
    let file = std::fs::File::open(image).expect("the image exists");
    let disk: Arc<dyn BlockDevice> = Arc::new(FileDevice::new(file).expect("a file"));
    place::network_file(disk, &facts())
}

/// What the tools say of a partition of a disk.
fn seen(image: &Path, partition: u64) -> String {
    let of_disk = format!("{}?offset={}", utf8(image), MIB + partition * PARTITION);
    run(&sbin("e2fsck"), ["-fn", &of_disk]);
    run(&sbin("debugfs"), ["-R", &format!("cat {}", place::LINUX_PATH), &of_disk])
}

#[test]
fn the_partition_with_an_etc_is_the_systems() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = disk(directory.path(), false, true);
    let changes = network_file(&image).expect("placed");
    assert!(changes.iter().all(|(offset, _)| *offset >= MIB + PARTITION), "only its own partition changes");
    assert_eq!(seen(&patched(&image, &changes), 1), place::linux_text(&facts()));
}

#[test]
fn a_disk_without_a_system_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = disk(directory.path(), false, false);
    assert!(matches!(network_file(&image), Err(PlaceError::NoSystem)));
    blank(&image, MIB);
    assert!(matches!(network_file(&image), Err(PlaceError::NoSystem)));
}

#[test]
fn the_reason_is_the_systems_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = disk(directory.path(), true, false);
    let of_disk = format!("{}?offset={MIB}", utf8(&image));
    run(&sbin("debugfs"), ["-w", "-R", "feature needs_recovery", &of_disk]);
    let error = network_file(&image).expect_err("it is to be refused");
    assert!(error.to_string().contains("journal"), "{error}");
}
