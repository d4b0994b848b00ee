//! Every byte and every extent as `qemu-img` gives them.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use kiln_block::BlockDevice;
use kiln_disk_format::Format;
use kiln_testkit::qemu_img;
use rand::Rng;

use crate::sample::{Sample, contents, map, opened, rng, seed};

/// Images drawn for one run of the differential test.
const SAMPLES: u64 = 60;

#[test]
fn drawn_images_read_as_qemu_reads_them() {
    let seed = seed();
    let threads: Vec<_> = (0..2)
        .map(|part| {
            std::thread::spawn(move || (part..SAMPLES).step_by(2).for_each(|n| compare_sample(seed, n)))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

fn compare_sample(seed: u64, number: u64) {
    let mut rng = rng(seed.wrapping_add(number));
    let sample = Sample::draw(&mut rng);
    let told = format!("KILN_TEST_SEED={seed} sample {number}: {}", sample.options);
    let image = opened(&sample.path);
    assert_eq!(image.format, Format::Qcow2, "{told}");

    let expected = qemu_img::contents(&sample.path, "qcow2");
    assert_eq!(image.virtual_size_bytes, expected.len() as u64, "{told}");
    assert!(contents(&image.device) == expected, "{told}: contents differ");
    assert_eq!(map(&image.device), qemu_img::map(&sample.path, "qcow2"), "{told}");
    for _ in 0..50 {
        let start = rng.random_range(0..expected.len());
        let len = rng.random_range(0..=(expected.len() - start).min(200_000));
        let mut part = vec![0x5a; len];
        image.device.read_exact_at(&mut part, start as u64).expect("in bounds");
        assert!(part == expected[start..start + len], "{told}: {len} bytes at {start}");
    }
}

#[test]
fn a_size_within_a_sector_is_cut_as_qemu_cuts_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("odd.qcow2");
    qemu_img::create(&path, "qcow2", "", 1 << 20);
    qemu_img::io(&path, "qcow2", &["write -P 9 0 1M"]);
    let file = OpenOptions::new().write(true).open(&path).expect("the image exists");
    file.write_all_at(&1_000_000u64.to_be_bytes(), 24).expect("a file");
    let image = opened(&path);
    assert_eq!(contents(&image.device), qemu_img::contents(&path, "qcow2"));

    let raw = directory.path().join("odd.raw");
    std::fs::write(&raw, vec![3; 1_000_001]).expect("a file");
    let image = opened(&raw);
    assert_eq!(image.format, Format::Raw);
    assert_eq!(contents(&image.device), qemu_img::contents(&raw, "raw"));
}

#[test]
fn many_threads_read_one_image_at_once() {
    let seed = seed();
    let directory = tempfile::tempdir().expect("temporary directory");
    let (raw, path) = (directory.path().join("source.raw"), directory.path().join("image.qcow2"));
    let commands: Vec<_> = (0..64).map(|n| format!("write -P {} {} 100k", n + 1, n * 128 * 1024)).collect();
    qemu_img::create(&raw, "raw", "", 8 << 20);
    qemu_img::io(&raw, "raw", &commands);
    qemu_img::convert(&raw, "raw", &path, "qcow2", "compression_type=zstd,cluster_size=4k", true);
    let expected = std::fs::read(&raw).expect("qemu-io wrote it");
    let image = opened(&path);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (image, expected) = (&image, &expected);
            scope.spawn(move || {
                let mut rng = rng(seed.wrapping_add(thread));
                for _ in 0..200 {
                    let start = rng.random_range(0..expected.len());
                    let mut part = vec![0; rng.random_range(0..=(expected.len() - start).min(50_000))];
                    image.device.read_exact_at(&mut part, start as u64).expect("in bounds");
                    assert!(part == expected[start..start + part.len()], "KILN_TEST_SEED={seed}");
                }
            });
        }
    });
}

#[test]
fn formats_that_are_only_recognised_are_refused_by_name() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (format, expected) in [
        ("vpc", Format::Vhd),
        ("vhdx", Format::Vhdx),
        ("vmdk", Format::Vmdk),
        ("vdi", Format::Vdi),
        ("qed", Format::Qed),
        ("qcow", Format::Qcow1),
        ("parallels", Format::Parallels),
    ] {
        let path = directory.path().join(format);
        qemu_img::create(&path, format, "", 16 << 20);
        let error = kiln_disk_format::open(crate::sample::device(&path), &Default::default());
        let error = error.expect_err("not read here");
        assert!(
            matches!(error, kiln_disk_format::Error::UnsupportedFormat(found) if found == expected),
            "{format}: {error}"
        );
    }
}
