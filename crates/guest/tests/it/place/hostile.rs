//! Made-up file systems: sound ones with seeded damage. Whatever happens, the base is not written, the changes stay
//! within their cap, and the answer comes in time. A panic is an answer too: the process that does this is a child's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_block::{CowDevice, MemoryDevice};
use kiln_guest::place::{self, CHANGED_BYTES_MAX};
use kiln_testkit::qemu_img::run;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{blank, sbin, utf8};

/// How many damaged file systems of each kind.
const ROUNDS: u32 = 1500;
/// What one may cost on a busy machine; the child's own limit is lower than what this adds up to.
const ROUND_MAX: Duration = Duration::from_secs(5);

fn seed() -> u64 {
    std::env::var("KILN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random)
}

/// What the old file is full of.
const FILLING: u8 = 7;

/// Positions worth damaging: neither zeros nor the old file's content, so that most rounds hit metadata or names.
fn targets(image: &[u8]) -> Vec<usize> {
    let worth = |(at, byte): (usize, &u8)| (![0, FILLING].contains(byte)).then_some(at);
    image.iter().enumerate().filter_map(worth).collect()
}

fn damage(image: &mut [u8], targets: &[usize], rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..12) {
        let at = targets[rng.random_range(0..targets.len())];
        let len = rng.random_range(1..5).min(image.len() - at);
        let value = match rng.random_range(0..4) {
            0 => 0,
            1 => 0xFF,
            2 => 1 << rng.random_range(0..8),
            _ => rng.random(),
        };
        image[at..at + len].fill(value);
    }
}

fn survive(what: &str, image: &[u8], path: &str) {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let targets = targets(image);
    let (mut taken, mut refused, mut panicked, mut slowest) = (0, 0, 0, Duration::ZERO);
    for round in 0..ROUNDS {
        let mut damaged = image.to_vec();
        damage(&mut damaged, &targets, &mut rng);
        let base = MemoryDevice::from_bytes(&damaged);
        let layer = Arc::new(CowDevice::new(base, CHANGED_BYTES_MAX));
        let start = Instant::now();
        let range = (0, damaged.len() as u64);
        match catch_unwind(AssertUnwindSafe(|| place::file(layer.clone(), range, path, b"[ip]\n"))) {
            Ok(Ok(())) => taken += 1,
            Ok(Err(_)) => refused += 1,
            Err(_) => panicked += 1,
        }
        slowest = slowest.max(start.elapsed());
        assert!(start.elapsed() < ROUND_MAX, "{what}, round {round}, KILN_TEST_SEED={seed}");
        let changed: usize = layer.changes().iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(changed <= CHANGED_BYTES_MAX);
    }
    println!(
        "{what}: {taken} taken, {refused} refused, {panicked} panicked, slowest {slowest:?}, seed {seed}"
    );
}

fn ext(options: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("etc")).expect("a directory");
    for n in 0..60 {
        std::fs::write(root.join(format!("etc/configuration-{n}")), "x").expect("a file");
    }
    std::fs::write(root.join("etc/qcloud-network-config.ini"), vec![FILLING; 40_000]).expect("a file");
    let image = directory.path().join("disk.raw");
    blank(&image, 4 << 20);
    let options = ["-q", "-F", "-d", utf8(&root)].into_iter().chain(options.split_whitespace());
    run(&sbin("mke2fs"), options.chain([utf8(&image)]));
    let script = format!("{} -fyD $0; test $? -le 1", sbin("e2fsck"));
    run("sh", ["-c", &script, utf8(&image)]);
    std::fs::read(&image).expect("the image exists")
}

/// Without checksums, so that damage gets further than the first look.
#[test]
fn damaged_ext_file_systems_cost_little() {
    for options in
        ["-t ext2 -b 1024", "-t ext3 -b 1024 -J size=1", "-t ext4 -b 1024 -O ^metadata_csum -J size=1"]
    {
        survive(options, &ext(options), "/etc/qcloud-network-config.ini");
    }
    let options = "-t ext4 -b 1024 -J size=1 -O inline_data";
    survive(options, &ext(options), "/etc/qcloud-network-config.ini");
}

#[test]
fn damaged_ntfs_volumes_cost_little() {
    let volume = super::ntfs::volume(2 << 20);
    survive("NTFS", &std::fs::read(volume.image()).expect("the image exists"), "/qcloud-network-config.ini");
}
