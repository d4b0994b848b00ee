//! The parsers of untrusted bytes as plain functions, for the fuzz targets in `fuzz/`. Not part of the crate's interface.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use kiln_block::{BlockDevice, MemoryDevice};

use crate::budget::{Budget, Limits};
use crate::linux::network::{ifcfg, ifupdown, keyfile, netplan};
use crate::linux::{cloud_init, cpio, fstab, initramfs, kernel, release, yaml};
use crate::window::Window;
use crate::windows::hive::Hive;

/// Small enough for an execution of some milliseconds.
const LIMITS: Limits = Limits {
    read_bytes: 16 << 20,
    decompressed_bytes: 4 << 20,
    steps: 100_000,
    time: Duration::from_secs(5),
};

/// The partition table of a disk with these bytes: MBR, logical partitions, GPT.
pub fn partition_table(bytes: &[u8]) {
    let disk: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::from_bytes(bytes));
    let _ = crate::table::read(&Window::whole(disk, Budget::new(LIMITS)));
}

/// A registry hive; whether it could be opened.
pub fn hive(bytes: &[u8]) -> bool {
    let budget = Budget::new(LIMITS);
    let Ok(mut hive) = Hive::open(Box::new(Cursor::new(bytes)), &budget) else {
        return false;
    };
    if let Ok(Some(key)) = hive.key(&["ControlSet001", "Services", "viostor"]) {
        let _ = hive.number(key, "Start");
        let _ = hive.text(key, "ImagePath");
    }
    true
}

/// A plain cpio archive.
pub fn cpio(bytes: &[u8]) {
    let mut visit = |_: &str| std::ops::ControlFlow::Continue(());
    let _ = cpio::walk(&mut Cursor::new(bytes), &Budget::new(LIMITS), &mut visit);
}

/// An initramfs with its compressions.
pub fn initramfs(bytes: &[u8]) {
    let _ = initramfs::find_drivers(&mut Cursor::new(bytes), &Budget::new(LIMITS), &["virtio_blk"]);
}

/// The text formats: network configuration, release files, fstab, YAML.
pub fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = netplan::parse(&text, "fuzz");
    let _ = ifupdown::parse(&text);
    let _ = ifcfg::parse(&text, "eth0", "fuzz");
    let _ = keyfile::parse_networkd(&text, "fuzz");
    let _ = keyfile::parse_network_manager(&text, "fuzz");
    let _ = yaml::Value::parse(&text);
    let _ = fstab::parse(&text);
    let _ = release::parse_os_release(&text);
    let _ = release::parse_release_line(&text);
    let _ = release::parse_suse_release(&text);
    let _ = kernel::compare_versions(&text, "6.1.0-18-amd64");
    let _ = kernel::banner(bytes);
    let _ = cloud_init::parse(&text);
}
