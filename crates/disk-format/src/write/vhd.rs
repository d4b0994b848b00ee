//! VHD: fixed (the disk, then a footer) and dynamic (footer, header and block table as the head, then blocks).
//!
//! The creator is given as `win `, because every reader takes the current size for the disk's size then; for names that
//! they do not know, older readers round it to the geometry. Identity and time are derived from the contents' layout
//! and 0, so that the same disk always becomes the same file.

use kiln_block::{BlockDevice, Digest, SECTOR_BYTES};

use super::pump::{Packing, pump};
use super::sink::Output;
use super::{Progress, Written, raw};
use crate::vhd::{COOKIE, checksum};
use crate::{Error, Result};

const FOOTER_BYTES: usize = 512;
const HEADER_BYTES: usize = 1024;
/// 2040 GiB, the format's own bound.
pub(super) const SIZE_BYTES_MAX: u64 = 0xff00_0000 * SECTOR_BYTES;
/// What Virtual PC and Hyper-V use.
const BLOCK_BYTES: usize = 2 << 20;
/// A bit for each sector of a block.
const BITMAP_BYTES: usize = BLOCK_BYTES / 512 / 8;
const UNALLOCATED: u32 = u32::MAX;
const VERSION: u32 = 1 << 16;

/// Which kind of disk a footer is of.
#[derive(Clone, Copy)]
enum Kind {
    Fixed = 2,
    Dynamic = 3,
}

/// Writes the disk's bytes and a footer.
pub(super) fn write_fixed(
    device: &dyn BlockDevice,
    mut output: Output<'_>,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let stored_bytes = raw::write_disk(device, &mut output, progress)?;
    output.append(&footer(device.size_bytes(), Kind::Fixed, &[]))?;
    Ok(Written { file_bytes: output.position(), stored_bytes })
}

/// Writes the blocks that are not zeros.
pub(super) fn write_dynamic(
    device: &dyn BlockDevice,
    mut output: Output<'_>,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let size = device.size_bytes();
    let mut table = vec![UNALLOCATED; size.div_ceil(BLOCK_BYTES as u64) as usize];
    let table_bytes = (table.len() * 4).next_multiple_of(FOOTER_BYTES);
    output.reserve_head((FOOTER_BYTES + HEADER_BYTES + table_bytes) as u64)?;
    let mut blocks = 0;
    pump(device, BLOCK_BYTES, Packing::Store, progress, |piece| {
        let sector = output.position() / SECTOR_BYTES;
        table[piece.unit as usize] = u32::try_from(sector).map_err(|_| Error::InvalidSize(size))?;
        blocks += 1;
        output.append(&[0xff; BITMAP_BYTES])?;
        output.append(piece.bytes)
    })?;
    let entries: Vec<u8> = table.iter().flat_map(|sector| sector.to_be_bytes()).collect();
    let footer = footer(size, Kind::Dynamic, &entries);
    output.append(&footer)?;
    let mut head = [footer.as_slice(), &dynamic_header(table.len() as u32), &entries].concat();
    // What fills the table's last sector is no block, either.
    head.resize(FOOTER_BYTES + HEADER_BYTES + table_bytes, 0xff);
    output.put_head(&head)?;
    Ok(Written { file_bytes: output.position(), stored_bytes: blocks * BLOCK_BYTES as u64 })
}

fn footer(size: u64, kind: Kind, entries: &[u8]) -> [u8; FOOTER_BYTES] {
    const CHECKSUM_AT: usize = 64;
    const RESERVED_FEATURE: u32 = 2;
    let mut footer = [0; FOOTER_BYTES];
    let mut put = |at: usize, field: &[u8]| footer[at..at + field.len()].copy_from_slice(field);
    let header_at = match kind {
        Kind::Fixed => u64::MAX,
        Kind::Dynamic => FOOTER_BYTES as u64,
    };
    let (cylinders, heads, sectors) = geometry(size / SECTOR_BYTES);
    put(0, COOKIE);
    put(8, &RESERVED_FEATURE.to_be_bytes());
    put(12, &VERSION.to_be_bytes());
    put(16, &header_at.to_be_bytes());
    put(28, b"win ");
    put(32, &VERSION.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &(kind as u32).to_be_bytes());
    put(68, &Digest::of(&[&size.to_be_bytes(), entries].concat()).as_bytes()[..16]);
    let sum = checksum(&footer, CHECKSUM_AT);
    footer[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
    footer
}

fn dynamic_header(entries: u32) -> [u8; HEADER_BYTES] {
    const CHECKSUM_AT: usize = 36;
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, b"cxsparse");
    put(8, &u64::MAX.to_be_bytes());
    put(16, &((FOOTER_BYTES + HEADER_BYTES) as u64).to_be_bytes());
    put(24, &VERSION.to_be_bytes());
    put(28, &entries.to_be_bytes());
    put(32, &(BLOCK_BYTES as u32).to_be_bytes());
    let sum = checksum(&header, CHECKSUM_AT);
    header[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

/// Cylinders, heads and sectors of a disk, by the rule in the appendix of the specification.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    const LARGEST: u64 = 65535 * 16 * 255;
    const WITH_63: u64 = 65535 * 16 * 63;
    let sectors = sectors.min(LARGEST);
    if sectors >= WITH_63 {
        return ((sectors / 255 / 16) as u16, 16, 255);
    }
    let tracks = sectors / 17;
    let heads = tracks.div_ceil(1024).max(4);
    let (tracks, heads, per_track) = if heads <= 16 && tracks < heads * 1024 {
        (tracks, heads, 17)
    } else if sectors / 31 < 16 * 1024 {
        (sectors / 31, 16, 31)
    } else {
        (sectors / 63, 16, 63)
    };
    ((tracks / heads) as u16, heads as u8, per_track)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_never_larger_than_the_disk() {
        for sectors in (0..6_000_000).step_by(4801).chain([1 << 28, 1 << 31, 0xff00_0000]) {
            let (cylinders, heads, per_track) = geometry(sectors);
            let product = u64::from(cylinders) * u64::from(heads) * u64::from(per_track);
            assert!(product <= sectors, "{sectors}");
            assert!(product + 16 * 255 > sectors.min(65535 * 16 * 255), "{sectors} {product}");
        }
    }
}
