//! What is inside a disk: every parser that an inspection uses, the whole inspection, and offline writing.
//!
//! Panics, and only panics, are findings: whatever the bytes are, "damaged" is a good answer. A panic in another
//! project's reader, which the inspection catches and reports as a gap, is no finding.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice};
use kiln_guest::place::{CHANGED_BYTES_MAX, NetworkFacts, network_file};
use kiln_guest::{Budget, Inspection, Limits, inspect};

/// Bytes of a packed disk's pieces.
const PIECE_BYTES: usize = 4096;
/// The largest disk that is unpacked.
const DISK_MIB_MAX: u16 = 512;
/// Small enough for an execution of some milliseconds.
const LIMITS: Limits = Limits {
    read_bytes: 64 << 20,
    decompressed_bytes: 8 << 20,
    steps: 200_000,
    time: Duration::from_secs(5),
};

/// Said of a piece's number: all its bytes are ones, as NTFS has its log, and they are left out.
const ONES: u32 = 1 << 31;

/// A disk as an input of moderate length: its size in MiB (two bytes), then only the pieces that are not all zeros,
/// each after its number (four bytes).
pub fn pack(disk: &dyn BlockDevice) -> Vec<u8> {
    let size_mib = u16::try_from(disk.size_bytes() >> 20).expect("a small disk");
    let mut packed = size_mib.to_le_bytes().to_vec();
    for number in 0..(u64::from(size_mib) << 20) / PIECE_BYTES as u64 {
        let mut piece = [0; PIECE_BYTES];
        disk.read_exact_at(&mut piece, number * PIECE_BYTES as u64).expect("in bounds");
        if piece == [0xFF; PIECE_BYTES] {
            packed.extend((number as u32 | ONES).to_le_bytes());
        } else if piece != [0; PIECE_BYTES] {
            packed.extend((number as u32).to_le_bytes());
            packed.extend(piece);
        }
    }
    packed
}

/// The disk of a packed one; pieces that are not on it are left out.
fn unpack(packed: &[u8]) -> Option<Arc<dyn BlockDevice>> {
    let (size_mib, mut rest) = packed.split_first_chunk()?;
    let size_mib = u16::from_le_bytes(*size_mib).min(DISK_MIB_MAX);
    let disk = MemoryDevice::new(u64::from(size_mib) << 20);
    while let Some((number, after)) = rest.split_first_chunk() {
        let number = u32::from_le_bytes(*number);
        let (piece, after) = match number & ONES {
            0 => after.split_at_checked(PIECE_BYTES)?,
            _ => (&[0xFF; PIECE_BYTES][..], after),
        };
        let _ = disk.write_all_at(piece, u64::from(number & !ONES) * PIECE_BYTES as u64);
        rest = after;
    }
    Some(Arc::new(disk))
}

/// A whole inspection of a packed disk.
pub fn disk(packed: &[u8]) -> Option<Inspection> {
    let disk = unpack(packed)?;
    Some(inspect(&disk, &Budget::new(LIMITS)).expect("memory does not fail"))
}

/// Places the network file in a packed disk: what changes is ascending, on the disk and bounded.
/// Whether it was placed.
pub fn place(packed: &[u8]) -> bool {
    let Some(disk) = unpack(packed) else { return false };
    let facts = NetworkFacts {
        ip: Ipv4Addr::new(10, 64, 1, 7),
        prefix: 10,
        gateway: Ipv4Addr::new(10, 127, 255, 253),
        dns: vec![Ipv4Addr::new(10, 127, 255, 254)],
        mac: "52:54:00:00:00:07".to_owned(),
        hostname: "web-1".to_owned(),
    };
    let size = disk.size_bytes();
    let Ok(changes) = network_file(disk, &facts) else { return false };
    let mut end = 0;
    for (offset, bytes) in &changes {
        assert!(*offset >= end);
        end = offset + bytes.len() as u64;
    }
    assert!(end <= size);
    assert!(changes.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= CHANGED_BYTES_MAX);
    true
}
