//! Images that nobody should make: every header field and every kind of table entry set to what it must not be.
//!
//! Each is refused with the code of its cause when it is opened (a bad compressed stream: when it is read), within
//! [`MEMORY_BYTES`] and [`TIME`]. That no other file is read needs no test: a reader has only the device it is given.

mod polyglot;
mod qcow2;
mod vhd;
mod vmdk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_block::{BlockDevice, MemoryDevice};
use kiln_disk_format::{Limits, OpenedImage, Result, open};

/// Most memory that the whole test program may ever have taken.
const MEMORY_BYTES: u64 = 256 << 20;
/// Longest time for one image.
const TIME: Duration = Duration::from_secs(2);
/// How many images there must be.
const CASES_MIN: usize = 500;

/// An image and why it is refused.
struct Case {
    name: String,
    bytes: Vec<u8>,
    code: &'static str,
}

/// The code of images that open, because only a part of their data is bad, and then fail when they are read.
const CORRUPT: &str = "corrupt when read";

#[test]
fn every_spoilt_field_is_refused_for_its_own_cause() {
    let mut count = 0;
    let mut wrong = Vec::new();
    let mut check = |case: Case| {
        count += 1;
        let found = match attempt(&case.bytes) {
            Ok(image) => read_all(&image).map_or(CORRUPT, |()| "no cause"),
            Err(error) => error.code(),
        };
        if found != case.code {
            wrong.push(format!("{}: {found} instead of {}", case.name, case.code));
        }
    };
    for each_case in [qcow2::each_case, vhd::each_case, vmdk::each_case, polyglot::each_case] {
        each_case(&mut check);
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{count} hostile images");
    assert!(count >= CASES_MIN);
    check_memory();
}

fn attempt(bytes: &[u8]) -> Result<OpenedImage> {
    let device = Arc::new(MemoryDevice::from_bytes(bytes));
    let start = Instant::now();
    let answer = open(device, &Limits::default());
    assert!(start.elapsed() < TIME, "{:?}", start.elapsed());
    answer
}

/// Reads the beginning of a disk, which is where the spoilt images hold data.
fn read_all(image: &OpenedImage) -> kiln_block::Result<()> {
    const BYTES: u64 = 4 << 20;
    let start = Instant::now();
    let mut bytes = vec![0; image.virtual_size_bytes.min(BYTES) as usize];
    let answer = image.device.read_exact_at(&mut bytes, 0);
    assert!(start.elapsed() < TIME, "{:?}", start.elapsed());
    answer
}

fn check_memory() {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("the most memory ever taken");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    println!("{line}");
    assert!(kib * 1024 <= MEMORY_BYTES, "{line}");
}
