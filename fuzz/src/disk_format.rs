//! Disk image formats: what is opened must be readable as its extents say, within bounded time and memory.
//!
//! Panics, and only panics, are findings: an image that is refused, or fails when it is read, is a good answer.

use std::sync::Arc;

use kiln_block::{BlockDevice, MemoryDevice, extents};
use kiln_disk_format::{Format, Limits, detect, open};

/// Extents looked at of one disk.
const EXTENTS_MAX: usize = 2000;
/// Bytes read of one extent.
const READ_BYTES_MAX: u64 = 128 << 10;
/// Bytes read of one disk.
const TOTAL_BYTES_MAX: u64 = 4 << 20;

/// Says what the bytes are, whatever they are.
pub fn detect_any(bytes: &[u8]) {
    let _ = detect(&MemoryDevice::from_bytes(bytes));
}

/// Opens the bytes if they are of this format, and reads the disk.
pub fn open_and_read(bytes: &[u8], format: Format) {
    let device = Arc::new(MemoryDevice::from_bytes(bytes));
    if !detect(&device).is_ok_and(|found| found == format) {
        return;
    }
    let limits = Limits { max_virtual_size_bytes: 1 << 42, max_table_bytes: 16 << 20 };
    let Ok(image) = open(device, &limits) else { return };
    assert!(image.virtual_size_bytes <= limits.max_virtual_size_bytes);
    assert_eq!(image.virtual_size_bytes % 512, 0);
    read_disk(&image.device);
}

/// The same for VHD, whose checksums are made right first: no mutation would get past them.
pub fn open_and_read_vhd(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    seal_vhd(&mut bytes);
    open_and_read(&bytes, Format::Vhd);
}

/// Walks the extents and reads the beginning of each.
fn read_disk(disk: &dyn BlockDevice) {
    let size = disk.size_bytes();
    let (mut position, mut read) = (0, 0);
    for extent in extents(disk, 0, size).take(EXTENTS_MAX) {
        let Ok(extent) = extent else { return };
        assert_eq!(extent.offset, position);
        assert!(extent.len > 0 && extent.end() <= size);
        position = extent.end();
        let mut part = vec![0xa5; extent.len.min(READ_BYTES_MAX) as usize];
        let answer = disk.read_exact_at(&mut part, extent.offset);
        if extent.kind.reads_as_zeros() {
            assert!(answer.is_ok() && part.iter().all(|byte| *byte == 0));
        }
        read += part.len() as u64;
        if read > TOTAL_BYTES_MAX {
            break;
        }
    }
    // Unaligned, and across whatever boundaries there are.
    for offset in [size / 3, (size / 2 + 1).min(size), size.saturating_sub(777)] {
        let mut part = vec![0; (size - offset).min(70_001) as usize];
        let _ = disk.read_exact_at(&mut part, offset);
    }
    assert!(disk.read_exact_at(&mut [0; 2], size.saturating_sub(1)).is_err());
}

/// Puts right checksums into both footers and the dynamic disk header.
fn seal_vhd(bytes: &mut [u8]) {
    const FOOTER_BYTES: usize = 512;
    const HEADER_BYTES: usize = 1024;
    if bytes.len() < FOOTER_BYTES {
        return;
    }
    let last = bytes.len() - FOOTER_BYTES;
    for at in [0, last] {
        seal(&mut bytes[at..at + FOOTER_BYTES], 64);
    }
    let header_at = u64::from_be_bytes(bytes[last + 16..last + 24].try_into().expect("eight bytes"));
    let end = header_at.saturating_add(HEADER_BYTES as u64);
    if end <= bytes.len() as u64 && header_at >= FOOTER_BYTES as u64 {
        seal(&mut bytes[header_at as usize..end as usize], 36);
    }
}

fn seal(structure: &mut [u8], at: usize) {
    structure[at..at + 4].fill(0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}
