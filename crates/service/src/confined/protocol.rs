//! What the service and its confined process say to each other, over one socket.
//!
//! ```text
//! service → child   job: u32 length, JSON
//! child → service   READ  u64 offset, u32 length        answered by 0 and the bytes, or by 1
//!                   DONE  what the work gave: of an inspection u32 length, JSON;
//!                         of a placed file u32 runs, each u64 offset, u32 length, bytes
//!                   REFUSED  u32 length, text
//! ```
//!
//! Numbers are little-endian. The service trusts nothing that comes back: the child has read a stranger's disk.

use std::io::{self, Read, Write};
use std::time::Duration;

use kiln_guest::place::NetworkFacts;
use serde::{Deserialize, Serialize};

pub(super) const READ: u8 = 1;
pub(super) const DONE: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const ANSWERED: u8 = 0;
pub(super) const FAILED: u8 = 1;

/// Longest read, in bytes.
pub(super) const READ_BYTES_MAX: usize = 1 << 20;
/// Longest reason, in bytes.
pub(super) const REASON_BYTES_MAX: usize = 1024;
/// Longest inspection, in bytes of JSON.
pub(super) const INSPECTION_BYTES_MAX: usize = 4 << 20;
/// Longest job, in bytes.
const JOB_BYTES_MAX: usize = 64 << 10;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The disk's size.
    pub(super) size_bytes: u64,
    /// Whom the child becomes before it reads the disk, where it is root.
    pub(super) uid: Option<u32>,
    /// The work on it.
    pub(super) work: Work,
}

/// Work on a stranger's disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// Look at what is on it.
    Inspect,
    /// Put the network file, which says this, into its system.
    PlaceNetworkFile(NetworkFacts),
}

/// What work may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// From the process's start to its answer.
    pub(super) time: Duration,
    /// Of the processor.
    pub(super) cpu_seconds: u64,
    /// Requests to read the disk.
    pub(super) reads: u32,
    /// Bytes read of the disk.
    pub(super) read_bytes: u64,
}

impl Work {
    /// An inspection keeps a budget of its own ([`kiln_guest::Limits`]), within these bounds: what it could not look
    /// at is then a finding of its report.
    pub(super) fn bounds(&self) -> Bounds {
        match self {
            Self::Inspect => Bounds {
                time: Duration::from_secs(90),
                cpu_seconds: 75,
                reads: 4_000_000,
                read_bytes: 2 << 30,
            },
            Self::PlaceNetworkFile(_) => Bounds {
                time: Duration::from_secs(30),
                cpu_seconds: 10,
                reads: 200_000,
                read_bytes: 512 << 20,
            },
        }
    }
}

pub(super) fn write_job(to: &mut impl Write, job: &Job) -> io::Result<()> {
    write_block(to, &serde_json::to_vec(job)?)
}

pub(super) fn read_job(from: &mut impl Read) -> io::Result<Job> {
    let text = read_block(from, JOB_BYTES_MAX)?.ok_or_else(|| io::Error::other("the job is too long"))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Writes bytes after their length.
pub(super) fn write_block(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(bytes)
}

/// Reads bytes after their length; `None` where they are more than `max_bytes`.
pub(super) fn read_block(from: &mut impl Read, max_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let len = read_u32(from)? as usize;
    if len > max_bytes { Ok(None) } else { read_bytes(from, len).map(Some) }
}

pub(super) fn read_u8(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

pub(super) fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(super) fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads `len` bytes, which the caller has bounded.
pub(super) fn read_bytes(from: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
