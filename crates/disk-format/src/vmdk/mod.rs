//! VMDK (VMware disk): files that hold a whole disk by themselves.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; where that leaves a choice, what `qemu-img convert` reads decides.
//!
//! - `monolithicSparse` and `streamOptimized` files: a header, an embedded descriptor, grains found by two levels
//!   of tables (`sparse.rs`). Markers between the grains are never walked, so they cannot lead in circles.
//! - a descriptor whose one flat extent is a later part of the same file.
//!
//! A VMDK names its files, even itself, and a reader is not told the name of the file that it was given. So one name
//! without a path counts as the file's own; a second one, a path, a parent, or data that is not here is refused.
//! Descriptors without data, the older COWD files and seSparse files are parts of disks and refused for that.

mod descriptor;
mod header;
mod sparse;

use std::sync::Arc;

use kiln_block::{BlockDevice, SECTOR_BYTES};

use self::descriptor::Descriptor;
use self::header::{Header, MAGIC};
use crate::open::check_virtual_size;
use crate::window::Window;
use crate::{Error, Format, Limits, Reference, Result};

/// Longest descriptor, and QEMU's own bound. They are a few hundred bytes long.
const DESCRIPTOR_BYTES_MAX: u64 = 1 << 20;

/// Files that are extents of a disk whose descriptor lies elsewhere: ESX's older and newer sparse formats.
const EXTENT_MAGICS: [&[u8]; 2] = [b"COWD", b"\xbe\xba\xfe\xca\0\0\0\0"];

/// Opens a VMDK file.
pub(crate) fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Arc<dyn BlockDevice>> {
    let mut head = vec![0; device.size_bytes().min(SECTOR_BYTES) as usize];
    device.read_exact_at(&mut head, 0)?;
    if EXTENT_MAGICS.iter().any(|magic| head.starts_with(magic)) {
        return Err(external(Reference::Extent));
    }
    if head.starts_with(MAGIC) { open_sparse(device, &head, limits) } else { open_flat(device, limits) }
}

fn open_sparse(device: Arc<dyn BlockDevice>, head: &[u8], limits: &Limits) -> Result<Arc<dyn BlockDevice>> {
    let first = Header::parse(head)?;
    let (text_at, text_bytes) = first.descriptor_place()?;
    let text = read_text(&device, text_at, text_bytes)?;
    // The descriptor goes first: what leads out of the file is refused before anything else is looked at.
    let descriptor = Descriptor::parse(&text)?;
    let extent = descriptor.embedded_extent()?;
    let header = first.effective(&device)?;
    header.check(device.size_bytes())?;
    check_virtual_size(header.size_bytes(), limits)?;
    // A capacity may be rounded up to whole grains.
    let beyond = header.capacity.checked_sub(extent.sectors);
    if beyond.is_none_or(|sectors| sectors >= header.grain_sectors) {
        let reason =
            format!("{} sectors in its descriptor, {} in its header", extent.sectors, header.capacity);
        return Err(malformed(reason));
    }
    sparse::open(device, &header, (text_at, text_at + text_bytes), limits)
}

/// A text that describes a disk. It is one by itself only where the disk's data follow it in the same file.
fn open_flat(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Arc<dyn BlockDevice>> {
    let text = read_text(&device, 0, device.size_bytes().min(DESCRIPTOR_BYTES_MAX))?;
    let descriptor = Descriptor::parse(&text)?;
    let extent = descriptor.own_flat_extent()?;
    let size = extent.sectors.saturating_mul(SECTOR_BYTES);
    let start = extent.offset.unwrap_or(0).saturating_mul(SECTOR_BYTES);
    if start < text.len() as u64 {
        return Err(external(Reference::Extent));
    }
    check_virtual_size(size, limits)?;
    let disk = Window::new(device, start, size).ok_or(external(Reference::Extent))?;
    Ok(Arc::new(disk))
}

/// The bytes of a descriptor, up to the first zero.
fn read_text(device: &dyn BlockDevice, offset: u64, len: u64) -> Result<Vec<u8>> {
    let what = "the descriptor";
    if len > DESCRIPTOR_BYTES_MAX {
        return Err(Error::TooLarge { what, size: len, limit: DESCRIPTOR_BYTES_MAX });
    }
    if offset + len > device.size_bytes() {
        return Err(Error::OutsideFile { what, offset });
    }
    let mut text = vec![0; len as usize];
    device.read_exact_at(&mut text, offset)?;
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    Ok(text)
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::malformed(Format::Vmdk, reason)
}

fn external(reference: Reference) -> Error {
    Error::ExternalReference { format: Format::Vmdk, reference }
}
