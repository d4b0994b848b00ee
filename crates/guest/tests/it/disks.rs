//! Whole disks from file systems: partitioned by sfdisk, filled by the file systems' own tools.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::{BlockDevice, FileDevice};
use kiln_guest::{Budget, Inspection, Limits, inspect};

use crate::files::{Tree, shell, shell_with_input};

const UUID: &str = "11111111-2222-3333-4444-555555555555";
const MIB: u64 = 1 << 20;

/// A disk in a file.
pub(crate) struct Disk {
    directory: tempfile::TempDir,
    pub(crate) size_bytes: u64,
}

impl Disk {
    pub(crate) fn new(size_mib: u64) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let size_bytes = size_mib * MIB;
        File::create(directory.path().join("disk"))
            .and_then(|file| file.set_len(size_bytes))
            .expect("a file");
        Self { directory, size_bytes }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Partitions it with a script for sfdisk.
    pub(crate) fn partition(&self, script: &str) -> &Self {
        shell_with_input("sfdisk --quiet disk", self.directory.path(), script.as_bytes());
        self
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> &Self {
        let file = OpenOptions::new().write(true).open(self.path()).expect("the disk");
        file.write_all_at(bytes, offset).expect("in bounds");
        self
    }

    /// Boot code that says it is GRUB's.
    pub(crate) fn grub(&self) -> &Self {
        self.write(0, b"\xEB\x63\x90").write(0x180, b"GRUB \0Geom\0Hard Disk\0")
    }

    /// Makes a file system of a kind (`ext4`, `xfs`, ...) at a place, from a tree.
    pub(crate) fn file_system(&self, kind: &str, start_mib: u64, size_mib: u64, tree: &Tree) -> &Self {
        let part = self.directory.path().join("part");
        File::create(&part).and_then(|file| file.set_len(size_mib * MIB)).expect("a file");
        let tree = tree.path().display();
        let command = match kind {
            "ext2" | "ext3" | "ext4" => {
                format!("mke2fs -q -F -t {kind} -U {UUID} -d {tree} part")
            }
            "ext4 without checksums" => {
                format!("mke2fs -q -F -t ext4 -O ^metadata_csum -U {UUID} -d {tree} part")
            }
            "xfs" => make_xfs(self.directory.path(), &tree.to_string(), "crc=1"),
            "xfs without checksums" => make_xfs(self.directory.path(), &tree.to_string(), "crc=0"),
            "vfat" => format!("mkfs.vfat -F 32 part >/dev/null && mcopy -s -i part {tree}/* ::/"),
            "btrfs" => format!("mkfs.btrfs -q --rootdir {tree} part"),
            "ntfs" => "mkntfs -q -F -f -s 512 part".to_owned(),
            "swap" => "mkswap -q part".to_owned(),
            other => panic!("no file system {other}"),
        };
        shell(&command, self.directory.path());
        let target = start_mib * MIB;
        let copy = format!("dd if=part of=disk bs=1M seek={} conv=notrunc,sparse status=none", target / MIB);
        shell(&copy, self.directory.path());
        self
    }

    /// Runs a command in the directory of the disk.
    pub(crate) fn run(&self, command: &str) -> Vec<u8> {
        shell(command, self.directory.path())
    }

    pub(crate) fn device(&self) -> Arc<dyn BlockDevice> {
        let file = File::open(self.path()).expect("the disk");
        Arc::new(FileDevice::new(file).expect("a device"))
    }

    pub(crate) fn inspect(&self) -> Inspection {
        inspect(&self.device(), &Budget::new(Limits::default())).expect("a readable device")
    }
}

/// The command for a tree on XFS. mkfs.xfs takes a list of files, and asks for 300 MiB.
fn make_xfs(directory: &Path, tree: &str, checksums: &str) -> String {
    std::fs::write(directory.join("proto"), proto_of(Path::new(tree))).expect("a file");
    format!("mkfs.xfs -q -f -m {checksums} -m uuid={UUID} -d agcount=4 -p proto part 2>/dev/null")
}

/// The list: name, mode, owner, and a source, a target, or more entries up to `$`.
fn proto_of(tree: &Path) -> String {
    let mut text = "/\n0 0\nd--755 0 0\n".to_owned();
    add_entries(tree, &mut text);
    text.push_str("$\n");
    text
}

fn add_entries(directory: &Path, text: &mut String) {
    let mut entries: Vec<_> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_symlink() {
            let target = std::fs::read_link(&path).expect("a link");
            text.push_str(&format!("{name} l--777 0 0 {}\n", target.display()));
        } else if path.is_dir() {
            text.push_str(&format!("{name} d--755 0 0\n"));
            add_entries(&path, text);
            text.push_str("$\n");
        } else {
            text.push_str(&format!("{name} ---644 0 0 {}\n", path.display()));
        }
    }
}

/// A disk with an MBR, GRUB's boot code and one active partition with a system.
pub(crate) fn system_disk(kind: &str, tree: &Tree) -> Disk {
    let disk = Disk::new(96);
    disk.partition("label: dos\nstart=2048, type=83, bootable\n").grub();
    disk.file_system(kind, 1, 95, tree);
    disk
}
