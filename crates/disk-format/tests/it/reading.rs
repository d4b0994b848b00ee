//! Reading in particular circumstances: odd sizes, odd creators, many threads, formats that are not read.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use kiln_block::BlockDevice;
use kiln_disk_format::Format;
use kiln_testkit::qemu_img;
use rand::Rng;

use crate::build;
use crate::sample::{contents, opened, rng, seed};

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
        ("vhdx", Format::Vhdx),
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

/// Creators that QEMU 7.2 does not know yet. Since version 10 it sizes their disks by the current size, as here; the
/// older one is told to.
#[test]
fn disks_of_other_creators_are_not_cut_to_their_geometry() {
    let mut rng = rng(1);
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("azure.vhd");
    for creator in [b"wa\0\0", b"vbox", b"vs  "] {
        let bytes = build::vhd::with_creator(&mut rng, *creator);
        std::fs::write(&path, bytes).expect("a file");
        let raw = directory.path().join("theirs.raw");
        let source = format!("driver=vpc,force_size_calc=current_size,file.filename={}", path.display());
        let arguments = ["convert", "--image-opts", &source, "-O", "raw", raw.to_str().expect("UTF-8")];
        qemu_img::run("qemu-img", arguments);
        assert!(contents(&opened(&path).device) == std::fs::read(&raw).expect("qemu-img wrote it"));
    }
}
