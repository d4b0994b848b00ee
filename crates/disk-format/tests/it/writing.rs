//! Images that are written here, as QEMU reads and checks them.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice};
use kiln_disk_format::{Error, FileSink, OutputFormat, Sink, Written, write, write_stream};
use kiln_testkit::faulty_device::FaultyDevice;
use kiln_testkit::qemu_img;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use crate::sample::{contents, opened, rng, seed};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The format's name for QEMU.
fn qemu_name(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Raw => "raw",
        OutputFormat::Qcow2 | OutputFormat::Qcow2Zstd => "qcow2",
        OutputFormat::VhdDynamic | OutputFormat::VhdFixed => "vpc",
        OutputFormat::Vmdk => "vmdk",
    }
}

fn write_file(device: &dyn BlockDevice, format: OutputFormat, path: &Path) -> Written {
    let file = File::create(path).expect("a new file");
    write(device, format, &mut FileSink::new(&file), &mut on).expect("written")
}

/// Writes the disk in every format and has it read by QEMU and by our own readers.
fn check_all_formats(device: &dyn BlockDevice, told: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("image");
    let expected = contents(device);
    for format in OutputFormat::ALL {
        let told = format!("{told} {format:?}");
        let written = write_file(device, format, &path);
        let length = std::fs::metadata(&path).expect("exists").len();
        assert_eq!(written.file_bytes, length, "{told}");
        if format.has_head() && format != OutputFormat::VhdDynamic {
            qemu_img::check(&path, qemu_name(format));
        }
        assert!(
            qemu_img::contents(&path, qemu_name(format)) == expected,
            "{told}: QEMU reads something else"
        );
        assert!(contents(&opened(&path).device) == expected, "{told}: Kiln reads something else");

        let mut stream = Vec::new();
        let streamed = write_stream(device, format, &mut stream, &mut on).expect("written");
        assert_eq!(streamed, written, "{told}");
        assert!(stream == std::fs::read(&path).expect("exists"), "{told}: a stream is another file");
    }
}

fn draw_disk(rng: &mut StdRng, size: u64) -> MemoryDevice {
    let device = MemoryDevice::new(size);
    for _ in 0..rng.random_range(1..12) {
        let start = rng.random_range(0..size);
        let mut bytes = vec![rng.random(); rng.random_range(1..=(size - start).min(300_000)) as usize];
        if rng.random() {
            rng.fill_bytes(&mut bytes);
        }
        device.write_all_at(&bytes, start).expect("in bounds");
    }
    device
}

#[test]
fn disks_of_all_sizes_and_contents() {
    let seed = seed();
    let mut rng = rng(seed);
    let odd = |base: u64| [base - 512, base, base + 512];
    let sizes = [512, 1024].into_iter().chain([64 * KIB, 2 * MIB, 4 * MIB].into_iter().flat_map(odd));
    for size in sizes {
        let told = format!("KILN_TEST_SEED={seed} size {size}");
        check_all_formats(&draw_disk(&mut rng, size), &told);
    }
    check_all_formats(&MemoryDevice::new(3 * MIB + 512), "nothing");
    check_all_formats(&MemoryDevice::from_bytes(&vec![0; 3 * MIB as usize]), "stored zeros");
    let mut noise = vec![0; 5 * MIB as usize + 1536];
    rng.fill_bytes(&mut noise);
    check_all_formats(&MemoryDevice::from_bytes(&noise), "noise");
    let text: Vec<u8> = (0..7 * MIB).map(|n| (n / 37 % 255) as u8 + 1).collect();
    check_all_formats(&MemoryDevice::from_bytes(&text), "text");
}

/// Several tables on each level, and far more disk than data.
#[test]
fn a_large_disk_with_little_on_it() {
    let seed = seed();
    let mut rng = rng(seed);
    let size = 60 << 30;
    let device = MemoryDevice::new(size);
    for _ in 0..40 {
        let mut bytes = vec![0; rng.random_range(1..200_000)];
        rng.fill_bytes(&mut bytes);
        device.write_all_at(&bytes, rng.random_range(0..size - 200_000)).expect("in bounds");
    }
    device.write_all_at(&[9; 512], size - 512).expect("in bounds");
    let directory = tempfile::tempdir().expect("temporary directory");
    let (raw, path) = (directory.path().join("raw"), directory.path().join("image"));
    write_file(&device, OutputFormat::Raw, &raw);
    for format in [OutputFormat::Qcow2, OutputFormat::Qcow2Zstd, OutputFormat::VhdDynamic, OutputFormat::Vmdk]
    {
        write_file(&device, format, &path);
        qemu_img::compare(&raw, "raw", &path, qemu_name(format));
        if qemu_name(format) == "qcow2" {
            qemu_img::check(&path, "qcow2");
        }
        assert!(
            std::fs::metadata(&path).expect("exists").len() < 200 * MIB,
            "KILN_TEST_SEED={seed} {format:?}"
        );
    }
}

#[test]
fn stored_zeros_take_no_room() {
    let mut bytes = vec![0; 8 * MIB as usize];
    bytes[5 * MIB as usize] = 1;
    let device = MemoryDevice::from_bytes(&bytes);
    for (format, stored) in [
        (OutputFormat::Raw, 64 * KIB),
        (OutputFormat::Qcow2, 64 * KIB),
        (OutputFormat::Qcow2Zstd, 64 * KIB),
        (OutputFormat::VhdFixed, 64 * KIB),
        (OutputFormat::VhdDynamic, 2 * MIB),
        (OutputFormat::Vmdk, 64 * KIB),
    ] {
        let mut stream = Vec::new();
        let written = write_stream(&device, format, &mut stream, &mut on).expect("written");
        assert_eq!(written.stored_bytes, stored, "{format:?}");
    }
}

#[test]
fn raw_disks_may_end_anywhere_and_others_may_not() {
    let device = MemoryDevice::from_bytes(&[7; 100_001]);
    let mut stream = Vec::new();
    write_stream(&device, OutputFormat::Raw, &mut stream, &mut on).expect("written");
    assert!(stream == [7; 100_001]);
    for format in OutputFormat::ALL.into_iter().filter(|format| *format != OutputFormat::Raw) {
        for size in [0, 100_001] {
            let answer = write_stream(&MemoryDevice::new(size), format, &mut Vec::new(), &mut on);
            assert!(matches!(answer, Err(Error::InvalidSize(_))), "{format:?} {size}");
        }
    }
    for format in [OutputFormat::VhdDynamic, OutputFormat::VhdFixed, OutputFormat::Vmdk] {
        let answer = write_stream(&MemoryDevice::new(4 << 40), format, &mut io::sink(), &mut on);
        assert!(matches!(answer, Err(Error::InvalidSize(_))), "{format:?}");
    }
}

/// A sink with room for so many bytes.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 && !bytes.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_midway_ends_the_work() {
    let device = draw_disk(&mut rng(7), 6 * MIB);
    for format in OutputFormat::ALL {
        let mut whole = Vec::new();
        write_stream(&device, format, &mut whole, &mut on).expect("written");
        for room in (0..whole.len()).step_by(whole.len() / 17 + 1).chain([whole.len() - 1]) {
            let error = write_stream(&device, format, &mut Small(room), &mut on).expect_err("no room");
            assert_eq!(error.code(), "unwritable", "{format:?}: {error}");
        }
        write_stream(&device, format, &mut Small(whole.len()), &mut on).expect("just enough room");
    }
}

/// A sink that takes everything but the head.
struct Headless;

impl Sink for Headless {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn put_head(&mut self, _head: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn a_failing_head_or_device_is_told() {
    let device = draw_disk(&mut rng(8), 6 * MIB);
    for format in OutputFormat::ALL.into_iter().filter(|format| format.has_head()) {
        let error = write(&device, format, &mut Headless, &mut on).expect_err("no head");
        assert_eq!(error.code(), "unwritable");
    }
    let seed = seed();
    let mut failed = 0;
    for number in 0..60 {
        let format = OutputFormat::ALL[number as usize % OutputFormat::ALL.len()];
        let bytes = contents(&draw_disk(&mut rng(seed.wrapping_add(number)), 4 * MIB));
        let device = FaultyDevice::new(MemoryDevice::from_bytes(&bytes), seed.wrapping_add(number), 0.1);
        if let Err(error) = write_stream(&device, format, &mut io::sink(), &mut on) {
            assert_eq!(error.code(), "unreadable", "KILN_TEST_SEED={seed} {error}");
            failed += 1;
        }
    }
    assert!(failed > 0, "KILN_TEST_SEED={seed}");
}

#[test]
fn progress_only_grows_and_can_stop_the_work() {
    let device = MemoryDevice::from_bytes(&vec![5; 20 * MIB as usize]);
    for format in OutputFormat::ALL {
        let mut last = 0;
        let mut grows = |done: u64| {
            assert!(done >= last, "{format:?}");
            last = done;
            ControlFlow::Continue(())
        };
        write_stream(&device, format, &mut io::sink(), &mut grows).expect("written");
        assert_eq!(last, device.size_bytes(), "{format:?}");
        let mut stops =
            |done: u64| if done > 9 * MIB { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let answer = write_stream(&device, format, &mut io::sink(), &mut stops);
        assert!(matches!(answer, Err(Error::Cancelled)), "{format:?}");
    }
}
