//! From a disk to the pieces of an image: one thread reads, others drop zeros and compress, the caller writes.
//!
//! Invariants: pieces come in the order of the disk; at most [`QUEUE`] batches wait at either end, each of them
//! [`BATCH_BYTES`] or one unit long, so memory does not depend on the disk; when the caller stops, so do the threads.

use std::num::NonZero;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, FlushCompress, Status};
use kiln_block::{BlockDevice, extents};

use super::Progress;
use crate::{Error, Result};

/// Bytes of the disk that are read and packed at once.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for a worker, and for the caller.
const QUEUE: usize = 4;
/// Most threads that compress.
const WORKERS_MAX: usize = 8;
/// Zstandard's fastest level, as in the chunk store: compression is what bounds an export.
const ZSTD_LEVEL: i32 = 1;
/// Three times as fast as zlib's default for about a twentieth more bytes.
const ZLIB_LEVEL: u32 = 2;
/// Zeros are looked for in steps of so many bytes.
const ZERO_STEP_BYTES: usize = 1024;

/// What becomes of the bytes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Store,
    Zstd,
    Zlib,
}

/// A unit of the disk that is not all zeros.
pub(super) struct Piece<'a> {
    /// Which unit of the disk it is.
    pub(super) unit: u64,
    /// Its packed bytes. A unit at the end of the disk is filled up with zeros before it is packed.
    pub(super) bytes: &'a [u8],
}

/// Cuts the disk into units of `unit_bytes` and gives those that are not zeros to `consume`, in order.
pub(super) fn pump(
    device: &dyn BlockDevice,
    unit_bytes: usize,
    packing: Packing,
    progress: &mut Progress<'_>,
    mut consume: impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<()> {
    let (jobs, waiting) = sync_channel::<Job>(QUEUE);
    let waiting = Mutex::new(waiting);
    std::thread::scope(|scope| {
        // In here, so that leaving early closes it and stops the reader.
        let (order, packed) = sync_channel::<Receiver<Result<Packed>>>(QUEUE);
        scope.spawn(move || read_batches(device, unit_bytes, &jobs, &order));
        for _ in 0..workers(packing) {
            scope.spawn(|| work(&waiting, unit_bytes, packing));
        }
        for answer in &packed {
            let batch =
                answer.recv().map_err(|_| Error::Sink(std::io::Error::other("a worker stopped")))??;
            for (unit, range) in &batch.pieces {
                consume(Piece { unit: *unit, bytes: &batch.bytes[range.clone()] })?;
            }
            if progress(batch.end).is_break() {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    })?;
    if progress(device.size_bytes()).is_break() { Err(Error::Cancelled) } else { Ok(()) }
}

fn workers(packing: Packing) -> usize {
    match packing {
        Packing::Store => 1,
        _ => std::thread::available_parallelism().map_or(2, NonZero::get).min(WORKERS_MAX),
    }
}

/// Some neighbouring units to pack.
struct Job {
    first_unit: u64,
    bytes: Vec<u8>,
    /// How far the disk is done with them.
    end: u64,
    answer: SyncSender<Result<Packed>>,
}

/// Packed units one after the other.
struct Packed {
    bytes: Vec<u8>,
    pieces: Vec<(u64, Range<usize>)>,
    end: u64,
}

/// Reads what the disk's extents say is data, until it is all read or nobody wants it any more.
fn read_batches(
    device: &dyn BlockDevice,
    unit_bytes: usize,
    jobs: &SyncSender<Job>,
    order: &SyncSender<Receiver<Result<Packed>>>,
) {
    let (size, unit) = (device.size_bytes(), unit_bytes as u64);
    let units_per_batch = (BATCH_BYTES / unit_bytes).max(1) as u64;
    let mut next_unit = 0;
    let fail = |error: kiln_block::Error| {
        let (answer, packed) = sync_channel(1);
        // Where nobody listens any more, nobody needs to know.
        let _ = answer.send(Err(error.into()));
        let _ = order.send(packed);
    };
    for extent in extents(device, 0, size) {
        let extent = match extent {
            Ok(extent) if extent.kind.reads_as_zeros() => continue,
            Ok(extent) => extent,
            Err(error) => return fail(error),
        };
        let end_unit = extent.end().div_ceil(unit);
        next_unit = next_unit.max(extent.offset / unit);
        while next_unit < end_unit {
            let count = units_per_batch.min(end_unit - next_unit);
            let start = next_unit * unit;
            let end = (start + count * unit).min(size);
            let mut bytes = vec![0; count as usize * unit_bytes];
            if let Err(error) = device.read_exact_at(&mut bytes[..(end - start) as usize], start) {
                return fail(error);
            }
            let (answer, packed) = sync_channel(1);
            let job = Job { first_unit: next_unit, bytes, end, answer };
            if jobs.send(job).is_err() || order.send(packed).is_err() {
                return;
            }
            next_unit += count;
        }
    }
}

/// Packs jobs until there are no more.
fn work(waiting: &Mutex<Receiver<Job>>, unit_bytes: usize, packing: Packing) {
    let mut packer = Packer::new(packing);
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let packed = pack(&mut packer, job.first_unit, job.bytes, job.end, unit_bytes);
        let _ = job.answer.send(packed);
    }
}

fn pack(packer: &mut Packer, first_unit: u64, bytes: Vec<u8>, end: u64, unit_bytes: usize) -> Result<Packed> {
    let mut pieces = Vec::new();
    let mut packed = Vec::new();
    for (number, unit) in bytes.chunks_exact(unit_bytes).enumerate().filter(|(_, unit)| !is_zero(unit)) {
        let start = packed.len();
        let range = match packer {
            Packer::Store => number * unit_bytes..(number + 1) * unit_bytes,
            Packer::Zstd(compressor) => {
                packed.resize(start + zstd::zstd_safe::compress_bound(unit.len()), 0);
                let len = compressor.compress_to_buffer(unit, &mut packed[start..]).map_err(Error::Sink)?;
                packed.truncate(start + len);
                start..packed.len()
            }
            Packer::Zlib(compressor) => {
                deflate(compressor, unit, &mut packed)?;
                start..packed.len()
            }
        };
        pieces.push((first_unit + number as u64, range));
    }
    let bytes = if matches!(packer, Packer::Store) { bytes } else { packed };
    Ok(Packed { bytes, pieces, end })
}

/// A worker's compressor.
enum Packer {
    Store,
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    Zlib(Box<Compress>),
}

impl Packer {
    fn new(packing: Packing) -> Self {
        match packing {
            Packing::Store => Self::Store,
            Packing::Zstd => {
                let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL);
                Self::Zstd(Box::new(compressor.expect("the level is one of Zstandard's")))
            }
            Packing::Zlib => Self::Zlib(Box::new(Compress::new(flate2::Compression::new(ZLIB_LEVEL), true))),
        }
    }
}

/// Adds a whole zlib stream to `output`.
fn deflate(compressor: &mut Compress, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
    compressor.reset();
    // Deflate's own bound on what noise becomes, generously.
    output.reserve(input.len() + input.len() / 100 + 1024);
    let status = compressor.compress_vec(input, output, FlushCompress::Finish);
    match status.map_err(|error| Error::Sink(error.into()))? {
        Status::StreamEnd => Ok(()),
        other => Err(Error::Sink(std::io::Error::other(format!("compression ended with {other:?}")))),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZERO_STEP_BYTES).all(|step| step.iter().fold(0, |any, byte| any | byte) == 0)
}
