//! From a disk to the pieces of an image: one thread finds what is data, others read it (which may mean to decompress
//! it), drop zeros and compress, the caller writes.
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
/// On a Debian disk a quarter of the time that `qemu-img` takes at zlib's default, for a twelfth more bytes.
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
    let spare = Spare::default();
    std::thread::scope(|scope| {
        // In here, so that leaving early closes it and stops the reader.
        let (order, packed) = sync_channel::<Receiver<Result<Packed>>>(QUEUE);
        scope.spawn(move || cut_batches(device, unit_bytes, &jobs, &order));
        for _ in 0..workers() {
            scope.spawn(|| work(device, &waiting, &spare, unit_bytes, packing));
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
            spare.keep(batch.bytes);
        }
        Ok(())
    })?;
    if progress(device.size_bytes()).is_break() { Err(Error::Cancelled) } else { Ok(()) }
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get).min(WORKERS_MAX)
}

/// Buffers that were written and can be filled again: the kernel takes as long to give new ones as to fill them.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// A buffer of any contents and length.
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn keep(&self, buffer: Vec<u8>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < 2 * QUEUE {
            buffers.push(buffer);
        }
    }
}

/// Some neighbouring units to read and pack.
struct Job {
    first_unit: u64,
    units: usize,
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

/// Cuts what the disk's extents say is data into jobs, until it is all done or nobody wants it any more.
fn cut_batches(
    device: &dyn BlockDevice,
    unit_bytes: usize,
    jobs: &SyncSender<Job>,
    order: &SyncSender<Receiver<Result<Packed>>>,
) {
    let (size, unit) = (device.size_bytes(), unit_bytes as u64);
    let units_per_batch = (BATCH_BYTES / unit_bytes).max(1) as u64;
    let mut next_unit = 0;
    for extent in extents(device, 0, size) {
        let extent = match extent {
            Ok(extent) if extent.kind.reads_as_zeros() => continue,
            Ok(extent) => extent,
            Err(error) => {
                let (answer, packed) = sync_channel(1);
                // Where nobody listens any more, nobody needs to know.
                let _ = answer.send(Err(error.into()));
                let _ = order.send(packed);
                return;
            }
        };
        let end_unit = extent.end().div_ceil(unit);
        next_unit = next_unit.max(extent.offset / unit);
        while next_unit < end_unit {
            let units = units_per_batch.min(end_unit - next_unit);
            let end = ((next_unit + units) * unit).min(size);
            let (answer, packed) = sync_channel(1);
            let job = Job { first_unit: next_unit, units: units as usize, end, answer };
            if jobs.send(job).is_err() || order.send(packed).is_err() {
                return;
            }
            next_unit += units;
        }
    }
}

/// Does jobs until there are no more.
fn work(
    device: &dyn BlockDevice,
    waiting: &Mutex<Receiver<Job>>,
    spare: &Spare,
    unit_bytes: usize,
    packing: Packing,
) {
    let mut packer = Packer::new(packing);
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let packed = read(device, &job, unit_bytes, spare.take())
            .map_err(Error::from)
            .and_then(|bytes| pack(&mut packer, &job, bytes, unit_bytes, spare));
        let _ = job.answer.send(packed);
    }
}

/// Reads the job's units into `bytes`; the last one of the disk is filled up with zeros.
fn read(
    device: &dyn BlockDevice,
    job: &Job,
    unit_bytes: usize,
    mut bytes: Vec<u8>,
) -> kiln_block::Result<Vec<u8>> {
    let start = job.first_unit * unit_bytes as u64;
    bytes.resize(job.units * unit_bytes, 0);
    let (disk, beyond) = bytes.split_at_mut((job.end - start) as usize);
    device.read_exact_at(disk, start)?;
    beyond.fill(0);
    Ok(bytes)
}

fn pack(packer: &mut Packer, job: &Job, bytes: Vec<u8>, unit_bytes: usize, spare: &Spare) -> Result<Packed> {
    let units = bytes.chunks_exact(unit_bytes).enumerate().filter(|(_, unit)| !is_zero(unit));
    let mut pieces = Vec::with_capacity(job.units);
    if matches!(packer, Packer::Store) {
        pieces.extend(units.map(|(number, _)| {
            (job.first_unit + number as u64, number * unit_bytes..(number + 1) * unit_bytes)
        }));
        return Ok(Packed { bytes, pieces, end: job.end });
    }
    let mut packed = spare.take();
    packed.clear();
    for (number, unit) in units {
        let start = packed.len();
        packer.pack(unit, &mut packed)?;
        pieces.push((job.first_unit + number as u64, start..packed.len()));
    }
    spare.keep(bytes);
    Ok(Packed { bytes: packed, pieces, end: job.end })
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

    /// Adds what the unit becomes to `packed`.
    fn pack(&mut self, unit: &[u8], packed: &mut Vec<u8>) -> Result<()> {
        let start = packed.len();
        match self {
            Self::Store => packed.extend(unit),
            Self::Zstd(compressor) => {
                packed.resize(start + zstd::zstd_safe::compress_bound(unit.len()), 0);
                let len = compressor.compress_to_buffer(unit, &mut packed[start..]).map_err(Error::Sink)?;
                packed.truncate(start + len);
            }
            Self::Zlib(compressor) => deflate(compressor, unit, packed)?,
        }
        Ok(())
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
