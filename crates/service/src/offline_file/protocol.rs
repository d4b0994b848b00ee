//! What the service and the process that places a file say to each other, over one socket.
//!
//! ```text
//! service → child   job: u32 length, JSON
//! child → service   READ  u64 offset, u32 length        answered by 0 and the bytes, or by 1
//!                   DONE  u32 runs, each u64 offset, u32 length, bytes
//!                   REFUSED  u32 length, text
//! ```
//!
//! Numbers are little-endian. The service trusts nothing that comes back: the child has read a stranger's disk.

use std::io::{self, Read, Write};

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
/// Longest job, in bytes.
const JOB_BYTES_MAX: usize = 64 << 10;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The base disk's size.
    pub(super) size_bytes: u64,
    /// Whom the child becomes before it reads the disk, where it is root.
    pub(super) uid: Option<u32>,
    /// What the file says.
    pub(super) facts: NetworkFacts,
}

pub(super) fn write_job(to: &mut impl Write, job: &Job) -> io::Result<()> {
    let text = serde_json::to_vec(job)?;
    to.write_all(&(text.len() as u32).to_le_bytes())?;
    to.write_all(&text)
}

pub(super) fn read_job(from: &mut impl Read) -> io::Result<Job> {
    let len = read_u32(from)? as usize;
    if len > JOB_BYTES_MAX {
        return Err(io::Error::other("the job is too long"));
    }
    Ok(serde_json::from_slice(&read_bytes(from, len)?)?)
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
