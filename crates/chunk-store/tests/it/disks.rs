//! Disks to store, made from a seed, and the comparison of two disks.

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice, extents};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A generator whose seed is printed, so that a failure can be repeated with `KILN_SEED`.
pub(crate) fn seeded() -> StdRng {
    let seed =
        std::env::var("KILN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("KILN_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Bytes that compress more or less, or not at all.
pub(crate) fn content(rng: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    match rng.random_range(0..4) {
        0 => rng.fill(&mut bytes[..]),
        1 => bytes.fill(rng.random()),
        2 => bytes.iter_mut().for_each(|byte| *byte = rng.random_range(b'a'..b'e')),
        _ => {}
    }
    bytes
}

/// Writes `count` random pieces of up to `longest` bytes.
pub(crate) fn scribble(rng: &mut StdRng, device: &MemoryDevice, count: usize, longest: usize) {
    for _ in 0..count {
        let offset = rng.random_range(0..device.size_bytes());
        let longest = (device.size_bytes() - offset).min(longest as u64) as usize;
        let len = rng.random_range(1..=longest);
        let bytes = content(rng, len);
        device.write_all_at(&bytes, offset).expect("in bounds");
    }
}

/// A disk of that size with data, zeros and holes; the size need not be round.
pub(crate) fn disk(rng: &mut StdRng, size_bytes: u64) -> MemoryDevice {
    let device = MemoryDevice::new(size_bytes);
    scribble(rng, &device, 20, 300_000);
    device
}

pub(crate) fn read_all(device: &dyn BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0xAA; device.size_bytes() as usize];
    device.read_exact_at(&mut bytes, 0).expect("readable");
    bytes
}

/// Asserts that two disks have the same bytes, read whole and read in random pieces, and that the first one's zero
/// extents are zero.
pub(crate) fn assert_same(rng: &mut StdRng, found: &dyn BlockDevice, expected: &dyn BlockDevice) {
    assert_eq!(found.size_bytes(), expected.size_bytes());
    let bytes = read_all(expected);
    assert!(read_all(found) == bytes, "the disks differ");
    for _ in 0..100 {
        let offset = rng.random_range(0..bytes.len());
        let len = rng.random_range(0..=(bytes.len() - offset).min(200_000));
        let mut piece = vec![0xAA; len];
        found.read_exact_at(&mut piece, offset as u64).expect("readable");
        assert!(piece == bytes[offset..offset + len], "{len} bytes at {offset} differ");
    }
    let mut end = 0;
    for extent in extents(found, 0, found.size_bytes()) {
        let extent = extent.expect("readable");
        assert_eq!(extent.offset, end);
        end = extent.end();
        let part = &bytes[extent.offset as usize..end as usize];
        assert!(!extent.kind.reads_as_zeros() || part.iter().all(|byte| *byte == 0));
    }
    assert_eq!(end, found.size_bytes());
}
