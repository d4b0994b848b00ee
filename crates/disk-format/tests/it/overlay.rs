//! Overlays: made here, written by QEMU, read back here.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_block::{BlockDevice, CowDevice, ExtentKind, WritableBlockDevice};
use kiln_disk_format::qcow2::{CLUSTER_BYTES, Overlay, OverlayWriter, create_overlay, create_overlay_with};
use kiln_disk_format::{Error, Limits};
use kiln_testkit::qemu_img;
use rand::Rng;

use crate::sample::{contents, device, map, rng, seed};

const MIB: u64 = 1 << 20;

fn created(path: &Path, size_bytes: u64) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("new file");
    create_overlay(&file, size_bytes).expect("written");
    file
}

fn overlay(path: &Path) -> Overlay {
    Overlay::open(device(path), &Limits::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

#[test]
fn a_new_overlay_is_a_sound_image_that_holds_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (n, size) in [512, 65536, 10 * MIB, 512 * MIB + 512, 50 << 30, 16 << 40].into_iter().enumerate() {
        let path = directory.path().join(format!("{n}.qcow2"));
        created(&path, size);
        qemu_img::check(&path, "qcow2");
        let info = qemu_img::info(&path);
        assert_eq!(info["virtual-size"], size);
        assert_eq!(info["cluster-size"], CLUSTER_BYTES);
        assert!(info.get("backing-filename").is_none());
        let overlay = overlay(&path);
        assert_eq!(overlay.size_bytes(), size);
        assert!(map(&overlay).iter().all(|extent| extent.kind == ExtentKind::Hole));
        // QEMU writes into it as into one of its own.
        qemu_img::io(&path, "qcow2", &[format!("write -P 5 {} 512", size - 512)]);
        qemu_img::check(&path, "qcow2");
    }
}

#[test]
fn a_hundred_overlays_take_no_time_and_no_room() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let start = Instant::now();
    for n in 0..100 {
        created(&directory.path().join(n.to_string()), 50 << 30);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let blocks = std::fs::metadata(directory.path().join("0")).expect("exists").blocks();
    assert!(blocks * 512 <= 64 * 1024, "{blocks} blocks");
}

#[test]
fn first_clusters_are_there_when_qemu_opens_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("prepared.qcow2");
    let size = 3 << 30;
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("new file");
    let mut writer = OverlayWriter::new(&file, size).expect("a size");
    let last = size / CLUSTER_BYTES as u64 - 1;
    for (index, byte) in [(9, 1), (last, 2), (0, 3), (9, 4)] {
        writer.write_cluster(index, &[byte; CLUSTER_BYTES]).expect("written");
    }
    writer.finish().expect("written");
    qemu_img::check(&path, "qcow2");
    let verify = |at: u64, byte: u8| format!("read -P {byte} {at} {CLUSTER_BYTES}");
    let cluster = CLUSTER_BYTES as u64;
    qemu_img::io(&path, "qcow2", &[verify(0, 3), verify(cluster, 0), verify(9 * cluster, 4)]);
    qemu_img::io(&path, "qcow2", &[verify(last * cluster, 2)]);
    assert_eq!(map(&overlay(&path)), qemu_img::map(&path, "qcow2"));
}

/// Changes that were made through the copy-on-write device are what QEMU finds over the base, and nothing else is.
#[test]
fn an_overlay_begins_as_its_base_with_the_changes() {
    let seed = seed();
    let mut rng = rng(seed);
    let directory = tempfile::tempdir().expect("temporary directory");
    let [base, top, wanted] = ["base.raw", "top.qcow2", "wanted.raw"].map(|name| directory.path().join(name));
    // Neither a whole number of clusters nor of pages, and shorter than the instance's disk.
    let (base_size, size) = (4 * MIB + 31 * 512, 6 * MIB);
    let bytes: Vec<u8> = (0..base_size).map(|n| (n / 512 % 255) as u8 + 1).collect();
    std::fs::write(&base, &bytes).expect("a file");
    let cow = CowDevice::new(device(&base), 1 << 20);
    let last = base_size as usize - 1;
    let writes: Vec<_> = (0..12).map(|_| (rng.random_range(0..last), rng.random_range(1..9000))).collect();
    for (offset, len) in writes.into_iter().chain([(last, 1), (0, 700)]) {
        let bytes = vec![rng.random(); len.min(base_size as usize - offset)];
        cow.write_all_at(&bytes, offset as u64).expect("within the cap");
    }
    let file = File::options().read(true).write(true).create_new(true).open(&top).expect("new file");
    create_overlay_with(&file, size, &device(&base), &cow.changes()).expect("written");

    qemu_img::check(&top, "qcow2");
    assert_eq!(map(&overlay(&top)), qemu_img::map(&top, "qcow2"));
    let mut disk = contents(&cow);
    disk.resize(size as usize, 0);
    std::fs::write(&wanted, disk).expect("a file");
    let chain = format!(
        "driver=qcow2,file.driver=file,file.filename={},backing.driver=raw,backing.file.driver=file,\
         backing.file.filename={}",
        top.display(),
        base.display()
    );
    let wanted = format!("driver=raw,file.driver=file,file.filename={}", wanted.display());
    qemu_img::run("qemu-img", ["compare", "--image-opts", &chain, &wanted]);
    let whole = |extent: &kiln_block::Extent| extent.len.is_multiple_of(CLUSTER_BYTES as u64);
    assert!(map(&overlay(&top)).iter().all(whole), "KILN_TEST_SEED={seed}");

    // A change beyond the end of the base needs nothing of it.
    let file = tempfile::tempfile().expect("temporary file");
    create_overlay_with(&file, size, &device(&base), &[(size - 512, vec![7; 512])]).expect("written");
    let outside = [(size - 1, vec![0; 2])];
    let file = tempfile::tempfile().expect("temporary file");
    assert!(create_overlay_with(&file, size, &device(&base), &outside).is_err());
}

/// What a guest changed over a base, as QEMU wrote it, put over that base again is what QEMU's guest saw.
#[test]
fn an_overlay_over_its_base_is_what_the_guest_saw() {
    let seed = seed();
    let mut rng = rng(seed);
    let directory = tempfile::tempdir().expect("temporary directory");
    let (base, top) = (directory.path().join("base.raw"), directory.path().join("top.qcow2"));
    let size = 16 * MIB;
    std::fs::write(&base, (0..size).map(|n| (n / 512 % 255) as u8 + 1).collect::<Vec<_>>()).expect("a file");
    created(&top, size);
    let chain = format!(
        "driver=qcow2,file.driver=file,file.filename={},backing.driver=raw,backing.file.driver=file,\
         backing.file.filename={}",
        top.display(),
        base.display()
    );
    let mut commands = vec!["--image-opts".to_owned()];
    for _ in 0..30 {
        let sector = rng.random_range(0..size / 512 - 512);
        let range = format!("{} {}", sector * 512, rng.random_range(1..512) * 512);
        let command = ["write -P 200", "write -z", "write -z -u", "discard"][rng.random_range(0..4)];
        commands.extend(["-c".to_owned(), format!("{command} {range}")]);
    }
    commands.push(chain.clone());
    qemu_img::run("qemu-io", &commands);
    let seen = directory.path().join("seen.raw");
    let arguments = ["convert", "--image-opts", &chain, "-O", "raw", seen.to_str().expect("UTF-8")];
    qemu_img::run("qemu-img", arguments);

    let overlay = overlay(&top);
    let mut expected = std::fs::read(&base).expect("exists");
    let above = contents(&overlay);
    for extent in map(&overlay) {
        assert!(extent.offset.is_multiple_of(65536) && extent.len.is_multiple_of(65536));
        if extent.kind != ExtentKind::Hole {
            let range = extent.offset as usize..extent.end() as usize;
            expected[range.clone()].copy_from_slice(&above[range]);
        }
    }
    assert!(expected == std::fs::read(&seen).expect("exists"), "KILN_TEST_SEED={seed}");
}

#[test]
fn what_a_killed_qemu_left_reads_well() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("dirty.qcow2");
    qemu_img::create(&path, "qcow2", "lazy_refcounts=on", 8 * MIB);
    let arguments = ["-f", "qcow2", "-c", "write -P 7 1M 1M", "-c", "flush", "-c", "sigraise 9"];
    let killed = std::process::Command::new("qemu-io").args(arguments).arg(&path).output().expect("qemu-io");
    assert!(!killed.status.success());
    let mut features = [0; 8];
    File::open(&path).expect("exists").read_exact_at(&mut features, 72).expect("a header");
    assert_eq!(features[7] & 1, 1, "the dirty bit is set");
    let overlay = overlay(&path);
    let data: Vec<_> = map(&overlay).into_iter().filter(|extent| extent.kind == ExtentKind::Data).collect();
    assert_eq!((data[0].offset, data[0].len, data.len()), (MIB, MIB, 1));
    assert!(contents(&overlay)[MIB as usize..2 * MIB as usize].iter().all(|byte| *byte == 7));
}

#[test]
fn an_overlay_that_names_its_base_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (base, top) = (directory.path().join("base.raw"), directory.path().join("top.qcow2"));
    qemu_img::create(&base, "raw", "", MIB);
    let options = format!("backing_file={},backing_fmt=raw", base.display());
    qemu_img::create(&top, "qcow2", &options, MIB);
    let answer = Overlay::open(device(&top), &Limits::default());
    assert!(matches!(answer.err(), Some(Error::ExternalReference { .. })));
    let file = OpenOptions::new().write(true).open(&top).expect("exists");
    file.write_all_at(&[0; 8], 8).expect("a file");
    assert!(Overlay::open(device(&top), &Limits::default()).is_ok());
}
