//! Storing a whole disk.
//!
//! Every worker takes the next unit of the disk, reads it, passes over zero chunks, hashes the others, looks them
//! up, and compresses only those that no pack holds yet: compression is the budget. Units are taken in order, so
//! chunks that are neighbours on the disk are neighbours in their pack, but for the order of a few units.
//!
//! Memory: a unit and a batch per worker, the batches queued for the writer, and 56 bytes a chunk for the manifest.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_block::{BlockDevice, Digest};

use crate::chunk::{Encoder, is_zero};
use crate::sink::{BATCH_BYTES, Sink, Taken, with_sink};
use crate::units::{Unit, Units, cut};
use crate::{Chunk, ChunkIndex, Error, Ledger, Manifest, ManifestId, ObjectStore, Result};

/// The most threads that read and compress, however many cores there are (each takes about 4 MiB).
const MAX_WORKERS: usize = 16;

/// Where an operation stores chunks, and who is told.
pub struct Target<'a> {
    /// The store that is written to.
    pub store: Arc<dyn ObjectStore>,
    /// The references of the job that stores.
    pub ledger: &'a dyn Ledger,
    /// The index of the scope that new packs belong to. It is searched, and learns the new packs.
    pub index: &'a ChunkIndex,
    /// Indexes of further scopes, of the same store, whose chunks may be shared.
    pub also_search: &'a [&'a ChunkIndex],
    /// Called often, from any worker, with what is done so far; [`ControlFlow::Break`] ends the work with
    /// [`Error::Cancelled`].
    pub progress: &'a (dyn Fn(Amounts) -> ControlFlow<()> + Sync),
    /// Number of threads that read and compress; 0 for as many as there are cores.
    pub threads: usize,
}

impl Target<'_> {
    pub(crate) fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = if self.threads == 0 { cores() } else { self.threads };
        wanted.clamp(1, MAX_WORKERS)
    }
}

/// How much was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// What there is to do: the disk's size, or what is to be copied, in bytes.
    pub total_bytes: u64,
    /// How much of it is done, zeros included.
    pub processed_bytes: u64,
    /// Bytes of new chunks as they are stored.
    pub stored_bytes: u64,
    /// Chunks that were stored.
    pub new_chunks: u64,
    /// Chunks that the store had already.
    pub reused_chunks: u64,
}

/// A disk that is stored: durable, and referenced by nothing but the job until its manifest is published.
#[derive(Debug)]
pub struct Stored {
    /// The manifest's id.
    pub manifest_id: ManifestId,
    /// The manifest. Its packs are what the published disk references.
    pub manifest: Manifest,
    /// Length of the manifest's object in bytes.
    pub manifest_bytes: u64,
    /// What was done.
    pub amounts: Amounts,
}

/// Stores a disk.
///
/// # Errors
/// What the device ([`Error::Source`]), the store or the ledger say, and [`Error::Cancelled`]. Packs sealed until
/// then stay, referenced by the job: the next attempt, given an index that knows them, finds their chunks.
pub fn ingest(target: &Target<'_>, device: &dyn BlockDevice) -> Result<Stored> {
    let size_bytes = device.size_bytes();
    let whole = std::iter::once(0..size_bytes).collect();
    let taken = with_sink(target, size_bytes, &[], |sink| store_regions(sink, device, whole))?;
    write_manifest(target, size_bytes, taken)
}

/// Stores those regions of a disk. Counts the whole of each as processed.
pub(crate) fn store_regions(
    sink: &Sink<'_>,
    device: &dyn BlockDevice,
    regions: Vec<Range<u64>>,
) -> Result<()> {
    let all_bytes: u64 = regions.iter().map(|region| region.end - region.start).sum();
    let units = Mutex::new((Units::new(device, regions), all_bytes));
    let take_unit = || -> Result<Option<Unit>> {
        let (units, left_bytes) = &mut *units.lock().unwrap_or_else(PoisonError::into_inner);
        let unit = units.next()?;
        let done =
            unit.as_ref().map_or(*left_bytes, |unit| unit.zero_bytes + unit.range.end - unit.range.start);
        *left_bytes -= done;
        if unit.is_none() && done > 0 {
            sink.advance(done)?;
        }
        Ok(unit)
    };
    sink.on_workers(|| {
        let mut worker = Worker::new(sink, device)?;
        while !sink.is_stopped()
            && let Some(unit) = take_unit()?
        {
            worker.store(&unit)?;
        }
        Ok(())
    });
    Ok(())
}

/// Writes and registers the manifest of what was stored.
pub(crate) fn write_manifest(target: &Target<'_>, size_bytes: u64, taken: Taken) -> Result<Stored> {
    let Taken { packs, entries, amounts } = taken;
    let manifest = Manifest::new(size_bytes, &packs, entries)?;
    let manifest_id = ManifestId::random();
    target.ledger.register_manifest(manifest_id)?;
    let manifest_bytes = manifest.write(&*target.store, manifest_id)?;
    Ok(Stored { manifest_id, manifest, manifest_bytes, amounts })
}

struct Worker<'a> {
    sink: &'a Sink<'a>,
    device: &'a dyn BlockDevice,
    encoder: Encoder,
    data: Box<[u8]>,
}

impl<'a> Worker<'a> {
    fn new(sink: &'a Sink<'_>, device: &'a dyn BlockDevice) -> Result<Self> {
        let encoder =
            Encoder::new().map_err(|source| Error::Storage { what: "starting zstd".into(), source })?;
        Ok(Self { sink, device, encoder, data: vec![0; BATCH_BYTES].into_boxed_slice() })
    }

    fn store(&mut self, unit: &Unit) -> Result<()> {
        let Range { start, end } = unit.range;
        let data = &mut self.data[..(end - start) as usize];
        self.device.read_exact_at(data, start).map_err(Error::Source)?;
        let mut batch = self.sink.batch();
        for piece in cut(start..end) {
            let bytes = &data[(piece.start - start) as usize..(piece.end - start) as usize];
            if is_zero(bytes) {
                continue;
            }
            let digest = Digest::of(bytes);
            let len = u32::try_from(bytes.len()).expect("a chunk is at most 64 KiB");
            match self.sink.find(digest, len)? {
                Some((pack, chunk)) => batch.push_found(piece.start, pack, chunk),
                None => batch.push_new(piece.start, |out| Chunk {
                    digest,
                    len,
                    position: 0,
                    stored: self.encoder.encode(bytes, out),
                }),
            }
        }
        self.sink.append(batch)?;
        self.sink.advance(unit.zero_bytes + end - start)
    }
}
