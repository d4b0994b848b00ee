//! qcow2 images that nobody should make: every header field and every kind of table entry.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kiln_block::{BlockDevice, MemoryDevice};
use kiln_disk_format::qcow2::Image;
use kiln_disk_format::{Limits, open};
use kiln_testkit::faulty_device::FaultyDevice;
use kiln_testkit::qemu_img;
use rand::Rng;

use super::{Case, attempt, check_memory};
use crate::sample::{rng, seed};

const CLUSTER: u64 = 65536;
const COMPRESSED: u64 = 1 << 62;

/// A sound image of 1 GiB with clusters in both halves, to be spoilt.
struct Sound {
    bytes: Vec<u8>,
    l1: usize,
    refcount_table: u64,
    /// The two L2 tables.
    l2: [u64; 2],
    /// The entry of the first data cluster.
    entry: usize,
}

/// Bytes to put at a place of a sound image, and the code with which the result is refused.
type Spoilt = (String, Vec<(usize, Vec<u8>)>, &'static str);

/// Every spoilt field of an image that is sound otherwise.
pub(super) fn each_case(check: &mut dyn FnMut(Case)) {
    let sound = Sound::build("");
    assert!(attempt(&sound.bytes).is_ok());
    for (name, changes, code) in
        [sound.header_fields(), sound.optional_fields(), sound.table_entries()].concat()
    {
        check(Case { name: format!("qcow2 {name}"), bytes: sound.spoil(&changes), code });
    }
}

impl Sound {
    fn build(options: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("sound.qcow2");
        qemu_img::create(&path, "qcow2", options, 1 << 30);
        qemu_img::io(&path, "qcow2", &["write -P 1 0 128k", "write -P 2 600M 64k"]);
        let bytes = std::fs::read(&path).expect("qemu-img made it");
        let word = |at: u64| u64::from_be_bytes(bytes[at as usize..][..8].try_into().expect("eight bytes"));
        let l1 = word(40);
        let l2 = [word(l1), word(l1 + 8)].map(|entry| entry & !(1 << 63));
        assert!(l2[0] > 0 && (l2[1] > 0 || options.contains("extended_l2")));
        Self { l1: l1 as usize, refcount_table: word(48), l2, entry: l2[0] as usize, bytes }
    }

    fn spoil(&self, changes: &[(usize, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, value) in changes {
            bytes[*at..at + value.len()].copy_from_slice(value);
        }
        bytes
    }

    fn header_fields(&self) -> Vec<Spoilt> {
        let far = !(CLUSTER - 1);
        let beyond = (self.bytes.len() as u64).next_multiple_of(CLUSTER);
        let (l1, refcounts) = (self.l1 as u64, self.refcount_table);
        let mut found = Vec::new();
        let mut words = |name: &str, at: usize, code: &'static str, values: &[u64]| {
            found.extend(values.iter().map(|value| spoilt(name, at, &value.to_be_bytes(), code)));
        };
        words("backing file offset", 8, "external-reference", &[1, 112, CLUSTER, far, u64::MAX]);
        words("size", 24, "too-large", &[u64::MAX, 1 << 62, (16 << 40) + 512]);
        words("size", 24, "malformed", &[16 << 40, 2 << 30, (1 << 30) + 512]);
        // At an L2 table there would be no tables to overlap with: its entries say other things as those of an L1.
        words("L1 offset", 40, "overlap", &[0, refcounts]);
        words("L1 offset", 40, "malformed", &[1, 8, l1 + 512, u64::MAX]);
        words("L1 offset", 40, "outside-file", &[far, beyond, 1 << 62]);
        words("refcount table offset", 48, "overlap", &[0, l1, self.l2[0]]);
        words("refcount table offset", 48, "malformed", &[1, refcounts + 512, u64::MAX]);
        words("refcount table offset", 48, "outside-file", &[far, beyond, 1 << 62]);
        words("features", 72, "external-reference", &[4, 5, 4 | 1 << 63]);
        words("features", 72, "unsupported-features", &[1 << 5, 1 << 40, 1 << 63 | 1]);
        words("features", 72, "malformed", &[8]);
        let mut halves = |name: &str, at: usize, code: &'static str, values: &[u32]| {
            found.extend(values.iter().map(|value| spoilt(name, at, &value.to_be_bytes(), code)));
        };
        halves("version", 4, "unsupported-version", &[0, 4, 256, u32::MAX]);
        halves("version", 4, "unsupported-format", &[1]);
        halves("cluster bits", 20, "malformed", &[0, 8, 22, 32, 63, 64, u32::MAX]);
        halves("encryption", 32, "encrypted", &[1, 2, 3, u32::MAX]);
        halves("L1 entries", 36, "malformed", &[0, 1]);
        halves("L1 entries", 36, "too-large", &[u32::MAX, (32 << 20) / 8 + 1]);
        halves("L1 entries", 36, "outside-file", &[(32 << 20) / 8]);
        halves("refcount table clusters", 56, "malformed", &[0]);
        halves("refcount table clusters", 56, "too-large", &[129, u32::MAX]);
        halves("refcount table clusters", 56, "outside-file", &[128]);
        halves("snapshots", 60, "malformed", &[65537, u32::MAX]);
        halves("snapshots", 60, "overlap", &[1]);
        halves("refcount order", 96, "malformed", &[7, 64, u32::MAX]);
        halves("header length", 100, "malformed", &[0, 72, 103, 105, 65537, u32::MAX]);
        found
    }

    fn optional_fields(&self) -> Vec<Spoilt> {
        let extension = |kind: u32, len: u32| [kind.to_be_bytes(), len.to_be_bytes()].concat();
        let snapshot = |offset: u64| [1u32.to_be_bytes().to_vec(), offset.to_be_bytes().to_vec()].concat();
        vec![
            spoilt("compression type without its feature", 104, &[1], "malformed"),
            ("unknown compression type".into(), vec![(79, vec![8]), (104, vec![2])], "malformed"),
            spoilt("data file name", 112, &extension(0x4441_5441, 8), "external-reference"),
            spoilt("long data file name", 112, &extension(0x4441_5441, u32::MAX), "external-reference"),
            spoilt("encryption header", 112, &extension(0x0537_be77, 16), "encrypted"),
            spoilt("endless extension", 112, &extension(0x1234_5678, u32::MAX), "malformed"),
            spoilt("long extension", 112, &extension(0x1234_5678, CLUSTER as u32), "malformed"),
            ("hidden data file name".into(), self.hidden_extension(), "external-reference"),
            spoilt("snapshot table far away", 60, &snapshot(1 << 60), "outside-file"),
            spoilt("snapshot table at no cluster", 60, &snapshot(CLUSTER + 8), "malformed"),
        ]
    }

    /// A forbidden extension behind thousands of harmless ones.
    fn hidden_extension(&self) -> Vec<(usize, Vec<u8>)> {
        let mut bytes = [0x1234_5678u32.to_be_bytes(), [0; 4]].concat().repeat(8000);
        bytes.extend([0x4441_5441u32.to_be_bytes(), 8u32.to_be_bytes()].concat());
        vec![(112, bytes)]
    }

    fn table_entries(&self) -> Vec<Spoilt> {
        let (l1, refcounts, l2) = (self.l1 as u64, self.refcount_table, self.l2);
        let beyond = (self.bytes.len() as u64).next_multiple_of(CLUSTER);
        let farthest = 0x00ff_ffff_ffff_0000;
        let mut found = Vec::new();
        let mut words = |name: &str, at: usize, code: &'static str, values: &[u64]| {
            found.extend(values.iter().map(|value| spoilt(name, at, &value.to_be_bytes(), code)));
        };
        words("L1 entry", self.l1, "malformed", &[512, l2[0] + 512, 1 << 63 | 0x200]);
        words("L1 entry", self.l1, "outside-file", &[beyond, farthest, 1 << 63 | farthest]);
        words("L1 entry", self.l1, "overlap", &[l1, refcounts, l2[1]]);
        words("L2 entry", self.entry, "malformed", &[512, l2[0] + 512, 1 << 63 | 0x200]);
        words("L2 entry", self.entry, "outside-file", &[beyond, farthest, 1 << 63 | farthest]);
        words("L2 entry", self.entry, "overlap", &[l1, refcounts, l2[0], l2[1], 1 << 63 | l2[1]]);
        let compressed = |host: u64, sectors: u64| COMPRESSED | sectors << 54 | host;
        words(
            "compressed",
            self.entry,
            "outside-file",
            &[compressed(beyond, 0), compressed((1 << 54) - 1, 255)],
        );
        words("compressed", self.entry, "overlap", &[compressed(0, 0), compressed(l1 + 77, 3)]);
        words("compressed", self.entry, "overlap", &[compressed(l1 - 1, 1), compressed(l2[1] - 512, 255)]);
        found
    }
}

fn spoilt(name: &str, at: usize, value: &[u8], code: &'static str) -> Spoilt {
    (format!("{name} {value:02x?}"), vec![(at, value.to_vec())], code)
}

#[test]
fn references_are_refused_before_anything_else_is_looked_at() {
    let sound = Sound::build("");
    let absurd = [(20, vec![0xff; 4]), (24, vec![0xff; 8]), (36, vec![0xff; 12]), (56, vec![0xff; 16])];
    for (at, value, code) in [(8, vec![1; 8], "external-reference"), (32, vec![0, 0, 0, 1], "encrypted")] {
        let mut changes = absurd.to_vec();
        changes.push((at, value));
        assert_eq!(attempt(&sound.spoil(&changes)).expect_err("refused").code(), code);
    }
}

#[test]
fn a_contradicting_subcluster_and_small_extended_clusters_are_refused() {
    let sound = Sound::build("extended_l2=on");
    let both = vec![(sound.entry + 8, vec![0xff; 8])];
    assert_eq!(attempt(&sound.spoil(&both)).expect_err("refused").code(), "malformed");
    let nowhere = vec![(sound.entry, vec![0; 8])];
    assert_eq!(attempt(&sound.spoil(&nowhere)).expect_err("refused").code(), "malformed");
    let small = vec![(20, vec![0, 0, 0, 13])];
    assert_eq!(attempt(&sound.spoil(&small)).expect_err("refused").code(), "malformed");
    let old = Sound::build("compat=0.10");
    let zero_cluster = vec![(old.entry + 7, vec![1])];
    assert_eq!(attempt(&old.spoil(&zero_cluster)).expect_err("refused").code(), "malformed");
}

#[test]
fn a_file_cut_anywhere_before_its_last_cluster_is_refused() {
    let sound = Sound::build("");
    let last = sound.bytes.len() as u64 / CLUSTER * CLUSTER - CLUSTER;
    for cut in (0..=last).step_by(4096 + 512).chain([1, 3, 4, 8, 71, 72, 103, 104, last]) {
        assert!(attempt(&sound.bytes[..cut as usize]).is_err() || cut < 4, "cut at {cut}");
    }
}

#[test]
fn limits_of_the_caller_hold() {
    let sound = Sound::build("");
    let open = |max_virtual_size_bytes, max_table_bytes| {
        let device = Arc::new(MemoryDevice::from_bytes(&sound.bytes));
        open(device, &Limits { max_virtual_size_bytes, max_table_bytes }).map(|_| ()).map_err(|e| e.code())
    };
    assert_eq!(open(1 << 30, 2 * CLUSTER + 16), Ok(()));
    assert_eq!(open((1 << 30) - 1, 1 << 30), Err("too-large"));
    assert_eq!(open(1 << 30, 2 * CLUSTER + 15), Err("too-large"));
}

/// A stream that would become more than its cluster fails when it is read, and never becomes more.
#[test]
fn bombs_do_not_go_off() {
    let sound = Sound::build("compression_type=zstd");
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).expect("memory");
    let host = sound.bytes.len().next_multiple_of(CLUSTER as usize) as u64;
    let mut bytes = sound.bytes.clone();
    bytes.resize(host as usize, 0);
    bytes.extend(&bomb);
    let entry = COMPRESSED | (bomb.len() as u64 / 512) << 54 | host;
    bytes[sound.entry..sound.entry + 8].copy_from_slice(&entry.to_be_bytes());
    let image = attempt(&bytes).expect("its tables are sound");
    let error = image.device.read_exact_at(&mut [0; 100], 0).expect_err("a bomb");
    assert!(matches!(error, kiln_block::Error::Corrupt { .. }), "{error}");
    check_memory();
}

#[test]
fn random_damage_is_refused_or_read_as_qemu_reads_it() {
    let seed = seed();
    let mut rng = rng(seed);
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("damaged.qcow2");
    let mut agreed = 0;
    for options in
        ["", "compat=0.10,cluster_size=4k", "extended_l2=on,compression_type=zstd", "cluster_size=512"]
    {
        qemu_img::create(&path, "qcow2", options, 2 << 20);
        qemu_img::io(&path, "qcow2", &["write -P 1 0 700k", "write -c -P 2 1M 128k"]);
        let sound = std::fs::read(&path).expect("qemu-img made it");
        for _ in 0..150 {
            let mut bytes = sound.clone();
            for _ in 0..rng.random_range(1..4) {
                // Most bytes of the file are data; the structures are where it matters.
                let at =
                    if rng.random_bool(0.4) { rng.random_range(4..112) } else { structure(&mut rng, &bytes) };
                bytes[at] = rng.random();
            }
            let Ok(image) = attempt(&bytes) else { continue };
            let mut ours = vec![0; image.virtual_size_bytes.min(64 << 20) as usize];
            if image.device.read_exact_at(&mut ours, 0).is_err() || agreed >= 60 {
                continue;
            }
            std::fs::write(&path, &bytes).expect("a file");
            if let Some(theirs) = qemu_contents(&path, directory.path(), ours.len()) {
                assert!(ours == theirs, "KILN_TEST_SEED={seed} {options}");
                agreed += 1;
            }
        }
    }
    assert!(agreed > 0);
    check_memory();
}

/// A byte that is not zero, of one of the clusters after the header.
fn structure(rng: &mut impl Rng, bytes: &[u8]) -> usize {
    (0..10_000)
        .map(|_| rng.random_range(112..bytes.len()))
        .find(|at| !matches!(bytes[*at], 0..=2))
        .unwrap_or(40)
}

/// The beginning of a damaged image's disk as qemu-img reads it, if it does. Damage can make the disk itself large.
fn qemu_contents(path: &std::path::Path, directory: &std::path::Path, len: usize) -> Option<Vec<u8>> {
    let raw = directory.join("theirs.raw");
    let arguments = ["convert", "-f", "qcow2", "-O", "raw"];
    let mut command = std::process::Command::new("qemu-img");
    let status = command.args(arguments).arg(path).arg(&raw).stderr(std::process::Stdio::null()).status();
    let status = status.expect("qemu-img must be installed");
    status.success().then(|| {
        let mut contents = vec![0; len];
        let raw = std::fs::File::open(&raw).expect("qemu-img wrote it");
        raw.read_exact_at(&mut contents, 0).expect("it is as long as the disk");
        contents
    })
}

#[test]
fn a_failing_device_is_an_error_and_nothing_else() {
    let sound = Sound::build("");
    let seed = seed();
    let (mut failed, mut read) = (0, 0);
    for n in 0..200 {
        let device = FaultyDevice::new(MemoryDevice::from_bytes(&sound.bytes), seed.wrapping_add(n), 0.1);
        match Image::open(Arc::new(device), &Limits::default()) {
            Err(error) => {
                assert_eq!(error.code(), "unreadable", "{error}");
                failed += 1;
            }
            Ok(image) => {
                let mut first = [0; 1000];
                match image.read_exact_at(&mut first, 0) {
                    Ok(()) => assert_eq!(first, [1; 1000]),
                    Err(error) => assert!(matches!(error, kiln_block::Error::Io(_)), "{error}"),
                }
                read += 1;
            }
        }
    }
    assert!(failed > 0 && read > 0);
}
