//! A file as a list of runs on its volume: the reader behind XFS and NTFS.

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::Error;
use crate::window::{Window, seek_position};

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First byte in the file.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// First byte on the volume; `None` where the piece reads as zeros.
    pub(crate) source: Option<u64>,
}

/// Reads a file through its runs; what no run covers reads as zeros.
pub(crate) struct RunReader {
    volume: Window,
    /// Sorted by `start`, not overlapping.
    runs: Vec<Run>,
    size: u64,
    position: u64,
}

impl RunReader {
    /// Takes the runs in any order; of two that overlap, the later in the file begins where the earlier ends.
    pub(crate) fn new(volume: Window, mut runs: Vec<Run>, size: u64) -> Self {
        runs.sort_by_key(|run| run.start);
        Self { volume, runs, size, position: 0 }
    }

    /// How far the piece at the position goes, and where it is stored.
    fn piece(&self) -> (u64, Option<u64>) {
        let after = self.runs.partition_point(|run| run.start <= self.position);
        let next = self.runs.get(after).map_or(self.size, |run| run.start.min(self.size));
        let until_next = next - self.position;
        match after.checked_sub(1).map(|index| self.runs[index]) {
            Some(run) if self.position - run.start < run.len => {
                let within = self.position - run.start;
                let source = run.source.map(|source| source.saturating_add(within));
                ((run.len - within).min(until_next), source)
            }
            _ => (until_next, None),
        }
    }
}

impl Read for RunReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buf.is_empty() {
            return Ok(0);
        }
        let (len, source) = self.piece();
        let count = len.min(buf.len() as u64) as usize;
        let part = &mut buf[..count];
        match source {
            Some(source) => self.volume.read_at(source, part).map_err(Error::into_io)?,
            None => part.fill(0),
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for RunReader {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.position = seek_position(target, self.position, self.size)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Disk, window};

    #[test]
    fn runs_holes_and_tails_read_as_they_should() {
        let mut disk = Disk::new(1 << 16);
        disk.write(4096, &[1; 512]);
        disk.write(8192, &[2; 512]);
        let runs = vec![
            Run { start: 1024, len: 512, source: Some(8192) },
            Run { start: 0, len: 512, source: Some(4096) },
            Run { start: 2048, len: 512, source: None },
        ];
        let mut reader = RunReader::new(window(&disk), runs, 3000);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("readable");
        let mut expected = vec![0; 3000];
        expected[..512].fill(1);
        expected[1024..1536].fill(2);
        assert_eq!(bytes, expected);
        reader.seek(SeekFrom::End(-2000)).expect("in bounds");
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("readable");
        assert_eq!(byte, expected[1000..1001]);
    }
}
