//! VHD (Virtual PC hard disk): fixed and dynamic disks.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification"; where that leaves a choice, what `qemu-img
//! convert` reads decides. Two such choices: the sector bitmaps before the blocks of a dynamic disk are not looked
//! at, because a block that is there is there whole; and which size field counts depends on the creator (see
//! `footer.rs`).
//!
//! Stricter than QEMU: the footer at the end must be there and agree with its copy at the beginning, both checksums
//! must be right, and no two blocks may share bytes. Not here: differencing disks, which are refused.

mod dynamic;
mod footer;

use std::sync::Arc;

use kiln_block::{BlockDevice, SECTOR_BYTES};

use self::footer::{Footer, Kind};
use crate::open::check_virtual_size;
use crate::window::Window;
use crate::{Error, Format, Limits, Reference, Result};

/// What a footer, and so a dynamic disk's file, begins with.
pub(crate) const COOKIE: &[u8; 8] = b"conectix";

/// Length of a footer.
const FOOTER_BYTES: usize = 512;
/// Length of the footers of Virtual PC before 2004, at the end of a file.
const OLD_FOOTER_BYTES: u64 = 511;

/// Opens a VHD file.
pub(crate) fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Arc<dyn BlockDevice>> {
    let footer_at = device.size_bytes().next_multiple_of(SECTOR_BYTES) - SECTOR_BYTES;
    let (head, tail) = (read_footer(&device, 0)?, read_footer(&device, footer_at)?);
    let sectors: Vec<_> = [head, tail].into_iter().filter(|sector| sector.starts_with(COOKIE)).collect();
    if sectors.iter().any(footer::is_differencing) {
        return Err(parent());
    }
    if !tail.starts_with(COOKIE) {
        return Err(malformed("there is no footer in its last sector, so it is not complete"));
    }
    if ![0, OLD_FOOTER_BYTES].contains(&(device.size_bytes() % SECTOR_BYTES)) {
        return Err(malformed("its last sector is not complete"));
    }
    let footer = Footer::parse(&tail)?;
    check_virtual_size(footer.size_bytes, limits)?;
    match (footer.kind, head.starts_with(COOKIE) && footer_at > 0) {
        (Kind::Fixed, false) => open_fixed(device, &footer, footer_at),
        (Kind::Fixed, true) => Err(malformed("a fixed disk that begins like a dynamic one")),
        (Kind::Dynamic { .. }, false) => Err(malformed("the footer's copy is missing at its beginning")),
        (Kind::Dynamic { header_at }, true) => {
            if Footer::parse(&head)? != footer {
                return Err(malformed("the footer and its copy say different things"));
            }
            dynamic::open(device, footer.size_bytes, header_at, footer_at, limits)
        }
    }
}

fn open_fixed(device: Arc<dyn BlockDevice>, footer: &Footer, footer_at: u64) -> Result<Arc<dyn BlockDevice>> {
    if footer.size_bytes > footer_at {
        return Err(Error::OutsideFile { what: "the end of the disk", offset: footer.size_bytes });
    }
    let disk = Window::new(device, 0, footer.size_bytes);
    Ok(Arc::new(disk.expect("the disk ends before the footer")))
}

/// The sector at `offset`, continued with zeros where the file ends within it.
fn read_footer(device: &dyn BlockDevice, offset: u64) -> Result<[u8; FOOTER_BYTES]> {
    let mut sector = [0; FOOTER_BYTES];
    let stored = (device.size_bytes() - offset).min(SECTOR_BYTES) as usize;
    device.read_exact_at(&mut sector[..stored], offset)?;
    Ok(sector)
}

/// The ones' complement of the sum of all bytes but those of the checksum field itself.
pub(crate) fn checksum(structure: &[u8], field_at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(&structure[..field_at]) + sum(&structure[field_at + 4..]))
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::malformed(Format::Vhd, reason)
}

fn parent() -> Error {
    Error::ExternalReference { format: Format::Vhd, reference: Reference::Parent }
}
