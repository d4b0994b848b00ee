//! What is asked of a device for one request, on a blocking thread: bytes, extents, or to warm its cache.
//!
//! Invariants: every job is answered, also where the device fails or panics; the last frame of a request ends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_block::{BlockDevice, Extent, ExtentKind, extents};

use crate::budget::{ReplyBytes, Slot};
use crate::device_errors::DeviceErrors;
use crate::limits::{MAX_STATUS_STEPS, MIN_HOLE_BYTES, PIECE_BYTES};
use crate::reply::Frame;
use crate::wire::{Errno, STATE_HOLE, STATE_ZERO};

/// One device call, with all that its reply needs.
pub(crate) struct Job {
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) call: Call,
    pub(crate) bytes: ReplyBytes,
}

/// The kinds of device calls.
pub(crate) enum Call {
    /// All of a read, answered by one simple reply.
    ReadSimple(Slot),
    /// All of a read, answered by chunks.
    Read(Slot),
    /// One of several pieces of a read, answered by chunks.
    ReadPiece(Arc<Pieces>),
    BlockStatus {
        slot: Slot,
        max_extents: usize,
    },
    Cache(Slot),
}

/// What the pieces of a read share: the slot, which goes to the piece that is last.
pub(crate) struct Pieces {
    left: Mutex<(u32, Option<Slot>)>,
}

impl Pieces {
    pub(crate) fn new(count: u32, slot: Slot) -> Self {
        Self { left: Mutex::new((count, Some(slot))) }
    }

    /// Counts a piece whose frames are sent; the last one gets the slot.
    fn finish_one(&self) -> Option<Slot> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.0 -= 1;
        if left.0 == 0 { left.1.take() } else { None }
    }
}

/// Calls the device of one connection.
pub(crate) struct DeviceCaller {
    device: Arc<dyn BlockDevice>,
    errors: DeviceErrors,
}

impl DeviceCaller {
    pub(crate) fn new(device: Arc<dyn BlockDevice>, errors: DeviceErrors) -> Self {
        Self { device, errors }
    }

    /// Does `job`; its frames go to `send`, in order.
    pub(crate) fn run(&self, job: Job, send: impl Fn(Frame)) {
        let Job { cookie, offset, len, call, bytes } = job;
        match call {
            Call::ReadSimple(slot) => {
                let outcome = self.attempt(|device| read(device, offset, u64::from(len)));
                send(Frame::simple(cookie, outcome).holding(bytes).ending(slot));
            }
            Call::Read(slot) => {
                let mut frames = self.read_chunks(cookie, offset, len);
                let last = frames.pop().unwrap_or_else(|| Frame::none(cookie));
                frames.into_iter().for_each(&send);
                send(last.done().holding(bytes).ending(slot));
            }
            Call::ReadPiece(pieces) => {
                let mut frames = self.read_chunks(cookie, offset, len);
                let last = frames.pop();
                frames.into_iter().for_each(&send);
                if let Some(last) = last {
                    send(last.holding(bytes));
                }
                if let Some(slot) = pieces.finish_one() {
                    send(Frame::none(cookie).done().ending(slot));
                }
            }
            Call::BlockStatus { slot, max_extents } => {
                let frame = match self.attempt(|device| states(device, offset, len, max_extents)) {
                    Ok(states) => Frame::block_status(cookie, &states),
                    Err(errno) => Frame::error(cookie, errno, "the device cannot be read"),
                };
                send(frame.done().holding(bytes).ending(slot));
            }
            Call::Cache(slot) => {
                let outcome = self.attempt(|device| warm(device, offset, len));
                send(Frame::simple(cookie, outcome.map(|()| Vec::new())).holding(bytes).ending(slot));
            }
        }
    }

    fn read_chunks(&self, cookie: u64, offset: u64, len: u32) -> Vec<Frame> {
        let outcome = self.attempt(|device| {
            let runs = runs(device, offset, len)?;
            runs.into_iter().map(|run| read_run(device, cookie, run)).collect()
        });
        outcome
            .unwrap_or_else(|errno| vec![Frame::error_at(cookie, errno, offset, "the device cannot be read")])
    }

    /// Calls the device; a failure is logged, and is `EIO` to the client whatever its cause.
    fn attempt<T>(&self, call: impl FnOnce(&dyn BlockDevice) -> kiln_block::Result<T>) -> Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(|| call(&*self.device))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.errors.note(&error),
            Err(_) => self.errors.note(&"the device's code panicked"),
        }
        Err(Errno::Io)
    }
}

fn read(device: &dyn BlockDevice, offset: u64, len: u64) -> kiln_block::Result<Vec<u8>> {
    let mut buf = vec![0; usize::try_from(len).expect("a request has a length of 32 bits")];
    device.read_exact_at(&mut buf, offset)?;
    Ok(buf)
}

/// A part of a read that is sent as one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    offset: u64,
    len: u64,
    zeros: bool,
}

fn read_run(device: &dyn BlockDevice, cookie: u64, run: Run) -> kiln_block::Result<Frame> {
    if run.zeros {
        return Ok(Frame::hole(cookie, run.offset, run.len as u32));
    }
    Ok(Frame::data(cookie, run.offset, read(device, run.offset, run.len)?))
}

/// Cuts a range into data and zeros; short zeros beside data count as data.
fn runs(device: &dyn BlockDevice, offset: u64, len: u32) -> kiln_block::Result<Vec<Run>> {
    let mut exact = Vec::new();
    for extent in extents(device, offset, u64::from(len)) {
        let Extent { offset, len, kind } = extent?;
        push_run(&mut exact, Run { offset, len, zeros: kind.reads_as_zeros() });
    }
    if exact.len() < 2 {
        return Ok(exact);
    }
    let mut worthwhile = Vec::with_capacity(exact.len());
    for run in exact {
        push_run(&mut worthwhile, Run { zeros: run.zeros && run.len >= MIN_HOLE_BYTES, ..run });
    }
    Ok(worthwhile)
}

fn push_run(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.zeros == run.zeros => last.len += run.len,
        _ => runs.push(run),
    }
}

/// The states of `base:allocation` from `offset` on: at least one, with neighbours of one state merged, but perhaps
/// not up to the end of the range.
fn states(
    device: &dyn BlockDevice,
    offset: u64,
    len: u32,
    max_extents: usize,
) -> kiln_block::Result<Vec<(u32, u32)>> {
    let end = offset + u64::from(len);
    let mut position = offset;
    let mut states: Vec<(u32, u32)> = Vec::new();
    for _ in 0..MAX_STATUS_STEPS {
        if position >= end {
            break;
        }
        let extent = device.extent_at(position, end - position)?;
        position = extent.end();
        let state = state_of(extent.kind);
        let full = states.len() == max_extents;
        match states.last_mut() {
            Some(last) if last.1 == state => last.0 += extent.len as u32,
            _ if full => break,
            _ => states.push((extent.len as u32, state)),
        }
    }
    Ok(states)
}

fn state_of(kind: ExtentKind) -> u32 {
    match kind {
        ExtentKind::Data => 0,
        ExtentKind::Zero => STATE_ZERO,
        ExtentKind::Hole => STATE_HOLE | STATE_ZERO,
    }
}

/// Reads a range for the sake of the device's cache, a piece at a time.
fn warm(device: &dyn BlockDevice, offset: u64, len: u32) -> kiln_block::Result<()> {
    let mut buf = vec![0; PIECE_BYTES.min(len) as usize];
    for extent in extents(device, offset, u64::from(len)) {
        let extent = extent?;
        if extent.kind.reads_as_zeros() {
            continue;
        }
        for position in (extent.offset..extent.end()).step_by(buf.len()) {
            let part = (extent.end() - position).min(buf.len() as u64) as usize;
            device.read_exact_at(&mut buf[..part], position)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_block::{MemoryDevice, WritableBlockDevice};

    use super::*;

    const KIB: u64 = 1024;

    fn device(data: &[(u64, u64)]) -> MemoryDevice {
        let device = MemoryDevice::new(256 * KIB);
        for (offset, len) in data {
            device.write_all_at(&vec![1; (len * KIB) as usize], offset * KIB).expect("within the device");
        }
        device
    }

    #[test]
    fn short_holes_are_sent_as_data() {
        let device = device(&[(0, 64), (72, 8), (128, 64)]);
        let found: Vec<_> = runs(&device, 0, 256 << 10)
            .expect("readable")
            .iter()
            .map(|run| (run.offset / KIB, run.len / KIB, run.zeros))
            .collect();
        assert_eq!(found, [(0, 80, false), (80, 48, true), (128, 64, false), (192, 64, true)]);
        let lone = runs(&device, 80 * KIB, 4096).expect("readable");
        assert!(lone[0].zeros, "a read of nothing but zeros needs no bytes, however short");
    }

    #[test]
    fn states_are_merged_and_bounded() {
        let device = device(&[(64, 64)]);
        let hole = STATE_HOLE | STATE_ZERO;
        let all = states(&device, 0, 256 << 10, 16).expect("readable");
        assert_eq!(all, [(64 << 10, hole), (64 << 10, 0), (128 << 10, hole)]);
        assert_eq!(states(&device, 0, 256 << 10, 1).expect("readable"), [(64 << 10, hole)]);
        assert_eq!(states(&device, 70 << 10, 1, 1).expect("readable"), [(1, 0)]);
    }
}
