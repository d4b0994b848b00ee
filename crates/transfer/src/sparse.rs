//! Writing a stream into a file, leaving holes where it is zero, so that a sparse disk stays sparse.
//!
//! Not for overwriting: whatever the file holds after the start position must be a hole or beyond its end.
//!
//! Invariant: after every flush the file ends at the stream's position, trailing holes included, so its length
//! says how much of the stream it holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The aligned piece that becomes a hole where it is zero, in bytes.
pub(crate) const HOLE_BYTES: usize = 64 * 1024;
/// The stream is written in aligned blocks of this many bytes.
const BLOCK_BYTES: usize = 1024 * 1024;

static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Takes a stream and writes what is not zero.
pub(crate) struct SparseWriter<'a> {
    file: &'a File,
    /// The position in the file of the buffer's first byte.
    flushed: u64,
    buffer: Vec<u8>,
}

impl<'a> SparseWriter<'a> {
    /// A writer that goes on at `start`, where the file ends.
    pub(crate) fn new(file: &'a File, start: u64) -> Self {
        Self { file, flushed: start, buffer: Vec::with_capacity(BLOCK_BYTES) }
    }

    /// Everything before this position is in the file.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    pub(crate) fn append(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let room = until_boundary(self.flushed, BLOCK_BYTES) - self.buffer.len();
            let (now, later) = data.split_at(room.min(data.len()));
            self.buffer.extend_from_slice(now);
            data = later;
            if now.len() == room {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is still held.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let end = self.flushed + self.buffer.len() as u64;
        let written_to = write_nonzero(self.file, self.flushed, &self.buffer)?;
        if written_to < end {
            self.file.set_len(end)?;
        }
        self.flushed = end;
        self.buffer.clear();
        Ok(())
    }
}

/// Writes the runs of pieces that are not zero; the end of the last one, or `offset` where there was none.
fn write_nonzero(file: &File, offset: u64, data: &[u8]) -> io::Result<u64> {
    let mut written_to = offset;
    let mut run = 0..0;
    let mut piece_start = 0;
    while piece_start < data.len() {
        let room = until_boundary(offset + piece_start as u64, HOLE_BYTES);
        let piece_end = (piece_start + room).min(data.len());
        if is_zero(&data[piece_start..piece_end]) {
            written_to = write_run(file, offset, data, run, written_to)?;
            run = piece_end..piece_end;
        } else {
            run.end = piece_end;
        }
        piece_start = piece_end;
    }
    write_run(file, offset, data, run, written_to)
}

fn write_run(
    file: &File,
    offset: u64,
    data: &[u8],
    run: std::ops::Range<usize>,
    written_to: u64,
) -> io::Result<u64> {
    if run.is_empty() {
        return Ok(written_to);
    }
    file.write_all_at(&data[run.clone()], offset + run.start as u64)?;
    Ok(offset + run.end as u64)
}

/// Bytes from `position` to the next multiple of `unit`, 1 to `unit`.
fn until_boundary(position: u64, unit: usize) -> usize {
    unit - usize::try_from(position % unit as u64).expect("a remainder is smaller than its divisor")
}

fn is_zero(piece: &[u8]) -> bool {
    piece == &ZEROS[..piece.len()]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    fn written(data: &[u8], split: usize, start: u64) -> (Vec<u8>, u64) {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(start).expect("length");
        let mut writer = SparseWriter::new(&file, start);
        for part in data.chunks(split.max(1)) {
            writer.append(part).expect("written");
        }
        writer.flush().expect("flushed");
        assert_eq!(writer.flushed(), start + data.len() as u64);
        let metadata = file.metadata().expect("metadata");
        assert_eq!(metadata.len(), writer.flushed());
        let mut found = vec![1; data.len()];
        file.read_exact_at(&mut found, start).expect("read");
        (found, metadata.blocks() * 512)
    }

    #[test]
    fn zeros_take_no_space_and_their_length_counts() {
        let mut data = vec![0; 5 * BLOCK_BYTES + 17];
        data[2 * BLOCK_BYTES + 3] = 7;
        let (found, allocated) = written(&data, 100_000, 0);
        assert!(found == data);
        assert!(allocated <= HOLE_BYTES as u64, "{allocated}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_stream_is_read_back(
            runs in prop::collection::vec((0_u8..3, 1_usize..200_000), 0..12),
            split in 1_usize..300_000,
            start in prop_oneof![Just(0_u64), 0_u64..3_000_000],
        ) {
            let data: Vec<u8> = runs.iter().flat_map(|&(byte, len)| std::iter::repeat_n(byte, len)).collect();
            let (found, _) = written(&data, split, start);
            prop_assert!(found == data);
        }
    }
}
