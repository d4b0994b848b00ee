//! Seeded images: options and contents drawn at random, built by QEMU's tools.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, FileDevice, extents};
use kiln_disk_format::{Limits, OpenedImage, open};
use kiln_testkit::qemu_img;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

/// A seed from the environment, to repeat a failure, or a new one. Either is printed.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("KILN_TEST_SEED") {
        Ok(text) => text.parse().expect("KILN_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("KILN_TEST_SEED={seed}");
    seed
}

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn device(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::new(File::open(path).expect("the image exists")).expect("a file"))
}

pub(crate) fn opened(path: &Path) -> OpenedImage {
    open(device(path), &Limits::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

pub(crate) fn contents(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0xa5; device.size_bytes() as usize];
    device.read_exact_at(&mut bytes, 0).expect("readable");
    bytes
}

pub(crate) fn map(device: &dyn BlockDevice) -> Vec<Extent> {
    extents(device, 0, device.size_bytes()).map(|extent| extent.expect("readable")).collect()
}

/// A qcow2 image with random options and contents, in a directory of its own.
pub(crate) struct Sample {
    pub(crate) path: PathBuf,
    pub(crate) options: String,
    _directory: TempDir,
}

impl Sample {
    /// Draws an image: half of them converted (so that compression types occur), half written by `qemu-io`.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("image.qcow2");
        let (mut options, size) = draw_options(rng);
        if rng.random_bool(0.4) {
            let raw = directory.path().join("source.raw");
            write_raw(rng, &raw, size);
            qemu_img::convert(&raw, "raw", &path, "qcow2", &options, rng.random_bool(0.7));
        } else {
            if rng.random_bool(0.25) {
                let how = ["metadata", "falloc"].choose(rng).expect("not empty");
                options += &format!(",preallocation={how}");
            }
            qemu_img::create(&path, "qcow2", &options, size);
        }
        let commands = draw_commands(rng, size, options.contains("compat=0.10"));
        qemu_img::io(&path, "qcow2", &commands);
        if rng.random_bool(0.3) {
            // QEMU cannot make snapshots with every combination of options; the image is as good without one.
            let mut snapshot = std::process::Command::new("qemu-img");
            snapshot.args(["snapshot", "-c", "before"]).arg(&path).stderr(std::process::Stdio::null());
            snapshot.status().expect("qemu-img must be installed");
            qemu_img::io(&path, "qcow2", &draw_commands(rng, size, options.contains("compat=0.10")));
        }
        Self { path, options: format!("{options} size={size}"), _directory: directory }
    }
}

/// Options of `qemu-img create`, and a size which need not be a whole number of clusters.
fn draw_options(rng: &mut StdRng) -> (String, u64) {
    let old = rng.random_bool(0.2);
    let extended = !old && rng.random_bool(0.3);
    let cluster_bits = rng.random_range(if extended { 14 } else { 9 }..=21);
    let mut options =
        format!("cluster_size={},compat={}", 1 << cluster_bits, if old { "0.10" } else { "1.1" });
    if !old {
        let lazy = ["on", "off"].choose(rng).expect("not empty");
        let compression = ["zlib", "zstd"].choose(rng).expect("not empty");
        let refcount_bits = 1 << rng.random_range(3..=6);
        options +=
            &format!(",lazy_refcounts={lazy},compression_type={compression},refcount_bits={refcount_bits}");
        if extended {
            options += ",extended_l2=on";
        }
    }
    // Small clusters have small tables; a small disk already has many.
    let largest = if cluster_bits < 12 { 1 << 20 } else { 12u64 << 20 };
    (options, rng.random_range(1..=largest / 512) * 512)
}

fn write_raw(rng: &mut StdRng, path: &Path, size: u64) {
    qemu_img::create(path, "raw", "", size);
    qemu_img::io(path, "raw", &draw_commands(rng, size, true));
}

/// Writes, zeros and discards of all lengths at places aligned to sectors.
fn draw_commands(rng: &mut StdRng, size: u64, plain: bool) -> Vec<String> {
    let sectors = size / 512;
    let mut commands = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let first = rng.random_range(0..sectors);
        let longest = 1 << rng.random_range(0..12);
        let count = rng.random_range(1..=(sectors - first).min(longest));
        let range = format!("{} {}", first * 512, count * 512);
        let pattern = rng.random_range(1..=255);
        commands.push(match rng.random_range(0..10) {
            0 if !plain => format!("write -z {range}"),
            1 if !plain => format!("write -z -u {range}"),
            2 if !plain => format!("discard {range}"),
            _ => format!("write -P {pattern} {range}"),
        });
    }
    commands
}
