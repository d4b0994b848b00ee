//! Disks made to hurt: every one must end soon, with an answer, in bounded memory.

use std::sync::Arc;
use std::time::Duration;

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice};
use kiln_guest::{Budget, Exhausted, GapReason, Inspection, Limits, System, inspect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disks::{Disk, system_disk};
use crate::files::{KERNEL, debian, shell};

/// Varied disks of one run.
const VARIATIONS: u64 = 320;
const LONGEST: Duration = Duration::from_secs(2);
const MEMORY_GROWTH_BYTES: u64 = 256 << 20;
const SEED: u64 = 0x4B69_6C6E;

/// Copies a disk to memory; only what is not zero takes space there.
fn in_memory(disk: &Disk) -> Vec<(u64, Vec<u8>)> {
    let device = disk.device();
    let mut pieces = Vec::new();
    let mut piece = vec![0; 4096];
    for offset in (0..disk.size_bytes).step_by(4096) {
        device.read_exact_at(&mut piece, offset).expect("in bounds");
        if piece.iter().any(|byte| *byte != 0) {
            pieces.push((offset, piece.clone()));
        }
    }
    pieces
}

fn device(pieces: &[(u64, Vec<u8>)], size_bytes: u64) -> Arc<MemoryDevice> {
    let device = MemoryDevice::new(size_bytes);
    for (offset, bytes) in pieces {
        device.write_all_at(bytes, *offset).expect("in bounds");
    }
    Arc::new(device)
}

fn resident_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

/// What this thread has had of a processor: other than a clock's, a measure that a busy machine does not change.
fn processor_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("proc");
    let nanoseconds = statistics.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    Duration::from_nanos(nanoseconds)
}

fn inspect_in_time(disk: Arc<dyn BlockDevice>, what: &str) -> Inspection {
    let started = processor_time();
    let budget = Budget::new(Limits::default());
    let inspection = inspect(&disk, &budget).expect("memory does not fail");
    let taken = processor_time() - started;
    assert!(
        taken < LONGEST,
        "{what} took {taken:?}, reading {} bytes: {:?}",
        budget.read_bytes(),
        inspection.gaps
    );
    inspection
}

/// Varies a disk and expects an answer each time. Most of the damage goes where something is stored: inodes,
/// directories, files; one byte in eight into `head`, where one wrong byte can hide all the rest.
fn vary(name: &str, disk: &Disk, head: std::ops::Range<u64>) {
    let pieces = in_memory(disk);
    let before = resident_peak_bytes();
    let (mut failed_readers, mut systems, started) = (0, 0, processor_time());
    for variation in 0..VARIATIONS {
        let mut random = StdRng::seed_from_u64(SEED ^ variation);
        let victim = device(&pieces, disk.size_bytes);
        for _ in 0..random.random_range(1..12) {
            let at = match random.random_range(0..8) {
                0 => random.random_range(head.clone()),
                _ => random_place(&mut random, &pieces),
            };
            let byte = [random.random_range(0..=255), 0xFF, 0x00][random.random_range(0..3)];
            victim.write_all_at(&[byte], at).expect("in bounds");
        }
        let inspection = inspect_in_time(victim, &format!("{name}, variation {variation}"));
        failed_readers += inspection.gaps.iter().filter(|gap| gap.reason == GapReason::ReaderFailed).count();
        systems += u32::from(inspection.system != System::None);
    }
    let growth = resident_peak_bytes().saturating_sub(before);
    assert!(growth < MEMORY_GROWTH_BYTES, "{name}: memory grew by {growth} bytes");
    let mean = (processor_time() - started) / VARIATIONS as u32;
    eprintln!(
        "{name}: {mean:?} each, {systems} of {VARIATIONS} still a system, {failed_readers} panics caught, memory grew by {} KiB",
        growth >> 10
    );
}

/// A place in a stored piece, with something in it if a few tries find one.
fn random_place(random: &mut StdRng, pieces: &[(u64, Vec<u8>)]) -> u64 {
    let (offset, bytes) = &pieces[random.random_range(0..pieces.len())];
    let mut tries = std::iter::repeat_with(|| random.random_range(0..bytes.len())).take(8);
    let within = tries.find(|at| bytes[*at] != 0).unwrap_or(0);
    offset + within as u64
}

const PARTITION: u64 = 1 << 20;

#[test]
fn damaged_ext4_ends_in_an_answer() {
    // With checksums, the damage is seen; without, it reaches the readers.
    vary("ext4", &system_disk("ext4", &debian()), PARTITION + 1024..PARTITION + 2048);
    let disk = system_disk("ext4 without checksums", &debian());
    vary("ext4 without checksums", &disk, PARTITION + 1024..PARTITION + 2048);
}

#[test]
fn damaged_ext3_ends_in_an_answer() {
    vary("ext3", &system_disk("ext3", &debian()), PARTITION + 1024..PARTITION + 2048);
}

#[test]
fn damaged_xfs_ends_in_an_answer() {
    for kind in ["xfs", "xfs without checksums"] {
        let disk = Disk::new(400);
        disk.partition("label: dos\nstart=2048, type=83, bootable\n").file_system(kind, 1, 399, &debian());
        vary(kind, &disk, PARTITION..PARTITION + 512);
    }
}

#[test]
fn damaged_fat_ends_in_an_answer() {
    let efi = crate::files::Tree::new();
    efi.write("EFI/BOOT/BOOTX64.EFI", "MZ");
    let disk = Disk::new(42);
    disk.partition("label: dos\nstart=2048, type=ef\n").file_system("vfat", 1, 41, &efi);
    vary("fat", &disk, PARTITION..PARTITION + 64);
}

#[test]
fn damaged_ntfs_ends_in_an_answer() {
    vary("ntfs", &crate::windows_disk::system_disk(), PARTITION..PARTITION + 80);
}

#[test]
fn damaged_tables_end_in_an_answer() {
    let disk = Disk::new(64);
    disk.partition(
        "label: dos\ndisk1 : start=2048, size=8M, type=83\ndisk2 : type=5\ndisk5 : size=20M, type=82\ndisk6 : type=83\n",
    );
    vary("mbr", &disk, 440..512);
    let disk = Disk::new(64);
    disk.partition("label: gpt\nsize=8M\nsize=20M\n");
    vary("gpt", &disk, 512..604);
}

#[test]
fn a_truncated_disk_ends_in_an_answer() {
    let disk = system_disk("ext4", &debian());
    let pieces = in_memory(&disk);
    for size in [0, 1, 511, 512, 4096, 1 << 20, (1 << 20) + 1500, 5 << 20, 40 << 20] {
        let kept: Vec<_> =
            pieces.iter().filter(|(offset, bytes)| offset + bytes.len() as u64 <= size).cloned().collect();
        inspect_in_time(device(&kept, size), &format!("{size} bytes"));
    }
}

#[test]
fn a_bomb_in_the_initramfs_is_cut_off() {
    let tree = debian();
    let bomb = shell(
        "truncate -s 3G zeros && echo zeros | cpio --quiet -o -H newc | gzip -1 && rm zeros",
        tree.path(),
    );
    tree.write(&format!("/boot/initrd.img-{KERNEL}"), bomb);
    let disk = system_disk("ext4", &tree);
    let before = resident_peak_bytes();
    let budget = Budget::new(Limits::default());
    let inspection = inspect(&disk.device(), &budget).expect("a readable device");
    assert!(resident_peak_bytes() - before < MEMORY_GROWTH_BYTES);
    assert_eq!(budget.exhausted(), Some(Exhausted::DecompressedBytes));
    let reason = GapReason::Exhausted(Exhausted::DecompressedBytes);
    assert!(inspection.gaps.iter().any(|gap| gap.reason == reason), "{:?}", inspection.gaps);
    assert!(
        matches!(&inspection.system, System::Linux(linux) if linux.release.is_some()),
        "what came before is kept"
    );
}

#[test]
fn loops_of_links_and_huge_files_are_passed_over() {
    let tree = debian();
    tree.remove("/etc/os-release").link("/etc/os-release", "os-release");
    tree.link("/root/loop", ".").link("/home/a/b", "../a");
    tree.write("/etc/network/interfaces", "source interfaces\nsource /etc/network/*\n");
    let huge = std::fs::File::create(tree.path().join("etc/fstab")).expect("a file");
    huge.set_len(1 << 40).expect("a sparse file");
    let inspection = inspect_in_time(system_disk("ext4", &tree).device(), "links");
    let System::Linux(linux) = &inspection.system else { panic!("no Linux: {inspection:?}") };
    assert_eq!(
        linux.release.as_ref().map(|release| release.version.as_str()),
        Some("12"),
        "from the other file"
    );
}
