//! Raw: the disk's bytes. Zeros are skipped, which makes holes in files and zeros in streams.

use kiln_block::BlockDevice;

use super::pump::{Packing, pump};
use super::sink::Output;
use super::{Progress, Written};
use crate::Result;

/// Zeros are found in pieces of this length.
const UNIT_BYTES: usize = 64 << 10;

/// Writes all bytes of the disk, which may end anywhere.
pub(super) fn write(
    device: &dyn BlockDevice,
    mut output: Output<'_>,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let stored_bytes = write_disk(device, &mut output, progress)?;
    Ok(Written { file_bytes: output.position(), stored_bytes })
}

/// Writes the disk's bytes where the output is and returns how many were not skipped.
pub(super) fn write_disk(
    device: &dyn BlockDevice,
    output: &mut Output<'_>,
    progress: &mut Progress<'_>,
) -> Result<u64> {
    let (start, size) = (output.position(), device.size_bytes());
    let mut stored_bytes = 0;
    pump(device, UNIT_BYTES, Packing::Store, progress, |piece| {
        let offset = piece.unit * UNIT_BYTES as u64;
        let len = (size - offset).min(UNIT_BYTES as u64);
        output.skip(start + offset - output.position())?;
        stored_bytes += len;
        output.append(&piece.bytes[..len as usize])
    })?;
    output.skip(start + size - output.position())?;
    Ok(stored_bytes)
}
