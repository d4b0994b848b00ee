//! The writing end of every operation that stores chunks: batches of stored chunks become packs.
//!
//! ```text
//! workers ──batch──► open pack (positions are given out) ──queue──► writer ──queue──► sealers
//!                                                                  registers,         sync, tell the ledger,
//!                                                                  writes             then the index
//! ```
//!
//! Writer and sealers are threads of their own, so that the workers never wait for a disk unless the queues are full;
//! the queues bound both memory and the number of unfinished packs. There are several sealers because a sync is
//! mostly waiting: file systems commit what is synced at the same time together.
//!
//! Invariants: a pack is registered before its object is created; the ledger and the index hear of it after its
//! object is durable; a pack of another job is named only while the ledger holds it for this job. The first error
//! of any thread ends the whole, and is the one reported.
//!
//! Lock order: `open`, then `unsealed`. `packs` and `entries` are held alone. The sealer never takes `open`, because
//! a worker may hold that while it waits for the queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_block::Digest;

use crate::ingest::{Amounts, Target};
use crate::pack::{HEADER_BYTES, PACK_TARGET_BYTES, header, trailer};
use crate::{Chunk, ChunkIndex, Entry, Error, MAX_CHUNK_BYTES, ObjectWriter, PackId, Result, SealedPack};

/// The most bytes of chunks in a batch, logical and stored.
pub(crate) const BATCH_BYTES: usize = MAX_CHUNK_BYTES as usize;
/// Batches waiting for the writer.
const QUEUED_BATCHES: usize = 4;
/// Packs that are written and wait for a sealer.
const QUEUED_PACKS: usize = 1;
/// Packs that are being synced at once.
const SEALERS: usize = 4;

/// Stored chunks on their way into a pack. Memory is reused: see [`Sink::buffer`].
pub(crate) struct Batch {
    buffer: Box<[u8]>,
    used: usize,
    /// Chunks that lie in other packs already.
    found: Vec<Entry>,
    /// Chunks whose stored bytes are in `buffer`, at their `position`; `pack` is not known yet.
    new: Vec<Entry>,
}

impl Batch {
    /// Adds a chunk at `offset` that lies in the pack of that number.
    pub(crate) fn push_found(&mut self, offset: u64, pack: u32, chunk: Chunk) {
        self.found.push(Entry { offset, pack, chunk });
    }

    /// Adds a chunk at `offset`; `write` puts its stored bytes at the beginning of what it is given and says which
    /// chunk they are, but for the position.
    pub(crate) fn push_new(&mut self, offset: u64, write: impl FnOnce(&mut [u8]) -> Chunk) {
        let mut chunk = write(&mut self.buffer[self.used..]);
        chunk.position = u32::try_from(self.used).expect("a batch is small");
        self.used += chunk.stored.len_bytes() as usize;
        self.new.push(Entry { offset, pack: 0, chunk });
    }
}

/// The pack that chunks are being added to.
struct OpenPack {
    number: u32,
    end: u32,
    chunks: Vec<Chunk>,
}

struct Open {
    pack: Option<OpenPack>,
    /// Absent once the sink is closed.
    to_writer: Option<SyncSender<ToWriter>>,
}

enum ToWriter {
    Begin(PackId),
    Append(Box<[u8]>, usize),
    Seal(Vec<Chunk>),
}

/// A pack that is written but not durable.
struct Written {
    id: PackId,
    writer: Box<dyn ObjectWriter>,
    stored_bytes: u64,
    chunks: Vec<Chunk>,
}

/// The packs that entries may name, by number. `None`: the ledger did not hold the pack.
#[derive(Default)]
struct PackNumbers {
    ids: Vec<PackId>,
    by_id: HashMap<PackId, Option<u32>>,
}

impl PackNumbers {
    fn add(&mut self, id: PackId) -> u32 {
        let number = u32::try_from(self.ids.len()).expect("a disk has fewer packs");
        self.ids.push(id);
        self.by_id.insert(id, Some(number));
        number
    }
}

#[derive(Default)]
struct Counters {
    total_bytes: AtomicU64,
    processed_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    new_chunks: AtomicU64,
    reused_chunks: AtomicU64,
}

/// Takes batches from many workers at once.
pub(crate) struct Sink<'a> {
    target: &'a Target<'a>,
    open: Mutex<Open>,
    /// Chunks of packs that the index does not know yet.
    unsealed: Mutex<HashMap<Digest, (u32, Chunk)>>,
    packs: Mutex<PackNumbers>,
    entries: Mutex<Vec<Entry>>,
    buffers: Mutex<Vec<Box<[u8]>>>,
    counters: Counters,
    failure: Mutex<Option<Error>>,
    stopped: AtomicBool,
}

/// What a sink has taken: packs by number, and entries that name them, sorted by offset.
pub(crate) struct Taken {
    pub(crate) packs: Vec<PackId>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) amounts: Amounts,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the sink's queue, also when a worker panics, so that writer and sealer end.
struct CloseOnDrop<'s, 'a>(&'s Sink<'a>);

impl Drop for CloseOnDrop<'_, '_> {
    fn drop(&mut self) {
        lock(&self.0.open).to_writer = None;
    }
}

/// Runs `work` with a sink, and returns what the sink took once everything in it is durable and registered.
/// `total_bytes` is what progress counts up to, `packs` get the first numbers (the ledger holds them already).
pub(crate) fn with_sink(
    target: &Target<'_>,
    total_bytes: u64,
    packs: &[PackId],
    work: impl FnOnce(&Sink<'_>) -> Result<()>,
) -> Result<Taken> {
    let (to_writer, from_workers) = sync_channel(QUEUED_BATCHES);
    let (to_sealer, from_writer) = sync_channel(QUEUED_PACKS);
    let sink = Sink::new(target, total_bytes, packs, to_writer);
    std::thread::scope(|scope| {
        // An error is recorded before the thread's end of a queue goes away, so it comes before its consequences.
        scope.spawn(|| {
            let from_workers = from_workers;
            sink.record(sink.write_packs(&from_workers, &to_sealer));
            drop(to_sealer);
        });
        let from_writer = Arc::new(Mutex::new(from_writer));
        for _ in 0..SEALERS {
            let from_writer = Arc::clone(&from_writer);
            let sink = &sink;
            // The last sealer to end takes the writer's queue with it, so that the writer never waits for nobody.
            scope.spawn(move || sink.record(sink.seal_packs(&from_writer)));
        }
        drop(from_writer);
        let _close = CloseOnDrop(&sink);
        sink.record(work(&sink));
        if !sink.is_stopped() {
            sink.record(sink.seal_open_pack(&mut lock(&sink.open)));
        }
    });
    sink.into_taken()
}

impl<'a> Sink<'a> {
    fn new(
        target: &'a Target<'a>,
        total_bytes: u64,
        packs: &[PackId],
        to_writer: SyncSender<ToWriter>,
    ) -> Self {
        let mut numbers = PackNumbers::default();
        packs.iter().for_each(|id| {
            numbers.add(*id);
        });
        Self {
            target,
            open: Mutex::new(Open { pack: None, to_writer: Some(to_writer) }),
            unsealed: Mutex::default(),
            packs: Mutex::new(numbers),
            entries: Mutex::default(),
            buffers: Mutex::default(),
            counters: Counters { total_bytes: total_bytes.into(), ..Counters::default() },
            failure: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> Batch {
        let recycled = lock(&self.buffers).pop();
        let buffer = recycled.unwrap_or_else(|| vec![0; BATCH_BYTES].into_boxed_slice());
        Batch { buffer, used: 0, found: Vec::new(), new: Vec::new() }
    }

    /// The chunk of that digest, if it lies in a pack of this job or in one that the ledger holds for it.
    pub(crate) fn find(&self, digest: Digest, len: u32) -> Result<Option<(u32, Chunk)>> {
        if let Some(found) = lock(&self.unsealed).get(&digest) {
            return Ok(Some(*found));
        }
        for index in std::iter::once(&self.target.index).chain(self.target.also_search) {
            let Some((id, chunk)) = index.find(digest).filter(|(_, chunk)| chunk.len == len) else {
                continue;
            };
            if let Some(number) = self.number_of(id, index)? {
                return Ok(Some((number, chunk)));
            }
        }
        Ok(None)
    }

    /// The number of a pack that an index names; `None` where it is not live, and so must not be relied on.
    fn number_of(&self, id: PackId, index: &ChunkIndex) -> Result<Option<u32>> {
        let mut packs = lock(&self.packs);
        if let Some(known) = packs.by_id.get(&id) {
            return Ok(*known);
        }
        if self.target.ledger.hold(&[id])?.contains(&id) {
            return Ok(Some(packs.add(id)));
        }
        packs.by_id.insert(id, None);
        index.forget(&[id]);
        Ok(None)
    }

    /// Takes a batch. Its chunks may be shared with others from here on.
    pub(crate) fn append(&self, batch: Batch) -> Result<()> {
        let Batch { mut buffer, used: _, mut found, mut new } = batch;
        Counters::add(&self.counters.reused_chunks, found.len() as u64);
        if new.is_empty() {
            lock(&self.buffers).push(buffer);
        } else {
            let mut open = lock(&self.open);
            let pack = self.open_pack(&mut open)?;
            let used = self.place(pack, &mut new, &mut buffer);
            pack.end += u32::try_from(used).expect("a batch is small");
            let full = u64::from(pack.end) >= PACK_TARGET_BYTES;
            Counters::add(&self.counters.stored_bytes, used as u64);
            self.send(&open, ToWriter::Append(buffer, used))?;
            if full {
                self.seal_open_pack(&mut open)?;
            }
        }
        let mut entries = lock(&self.entries);
        entries.append(&mut found);
        entries.append(&mut new);
        Ok(())
    }

    fn open_pack<'o>(&self, open: &'o mut Open) -> Result<&'o mut OpenPack> {
        if open.pack.is_none() {
            let id = PackId::random();
            let number = lock(&self.packs).add(id);
            self.send(open, ToWriter::Begin(id))?;
            open.pack = Some(OpenPack { number, end: HEADER_BYTES, chunks: Vec::new() });
        }
        Ok(open.pack.as_mut().expect("just opened"))
    }

    /// Gives new chunks their places in the pack, and closes the gaps that chunks leave which another worker has
    /// stored meanwhile. Returns the bytes used.
    fn place(&self, pack: &mut OpenPack, new: &mut [Entry], buffer: &mut [u8]) -> usize {
        let mut unsealed = lock(&self.unsealed);
        let mut used = 0;
        for entry in new {
            if let Some((number, chunk)) = unsealed.get(&entry.chunk.digest) {
                (entry.pack, entry.chunk) = (*number, *chunk);
                Counters::add(&self.counters.reused_chunks, 1);
                continue;
            }
            let from = entry.chunk.position as usize;
            let len = entry.chunk.stored.len_bytes() as usize;
            if from != used {
                buffer.copy_within(from..from + len, used);
            }
            entry.pack = pack.number;
            entry.chunk.position = pack.end + u32::try_from(used).expect("a batch is small");
            unsealed.insert(entry.chunk.digest, (entry.pack, entry.chunk));
            pack.chunks.push(entry.chunk);
            used += len;
            Counters::add(&self.counters.new_chunks, 1);
        }
        used
    }

    fn seal_open_pack(&self, open: &mut Open) -> Result<()> {
        match open.pack.take() {
            Some(pack) if !pack.chunks.is_empty() => self.send(open, ToWriter::Seal(pack.chunks)),
            _ => Ok(()),
        }
    }

    fn send(&self, open: &Open, message: ToWriter) -> Result<()> {
        let sent = open.to_writer.as_ref().map(|queue| queue.send(message));
        // The writer is gone only after it has recorded why, so this error is never the one that is reported.
        if let Some(Ok(())) = sent { Ok(()) } else { Err(Error::Cancelled) }
    }

    fn write_packs(&self, queue: &Receiver<ToWriter>, to_sealer: &SyncSender<Written>) -> Result<()> {
        while let Ok(ToWriter::Begin(id)) = queue.recv() {
            self.target.ledger.register_pack(id, self.target.index.scope())?;
            let mut writer = self.target.store.create(id.into())?;
            writer.write_all(&header())?;
            let mut stored_bytes = u64::from(HEADER_BYTES);
            let chunks = loop {
                match queue.recv() {
                    Ok(ToWriter::Append(buffer, used)) => {
                        writer.write_all(&buffer[..used])?;
                        stored_bytes += used as u64;
                        lock(&self.buffers).push(buffer);
                    }
                    Ok(ToWriter::Seal(chunks)) => break chunks,
                    Ok(ToWriter::Begin(_)) => unreachable!("a pack begins after the one before was sealed"),
                    // The work was given up: the unfinished object goes with its writer.
                    Err(_) => return Ok(()),
                }
            };
            let trailer = trailer(&chunks);
            writer.write_all(&trailer)?;
            stored_bytes += trailer.len() as u64;
            if to_sealer.send(Written { id, writer, stored_bytes, chunks }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn seal_packs(&self, queue: &Mutex<Receiver<Written>>) -> Result<()> {
        // One sealer waits for the next pack while it holds the lock; the others wait for the lock.
        let next = || lock(queue).recv();
        while let Ok(Written { id, writer, stored_bytes, chunks }) = next() {
            writer.finish()?;
            let chunk_count = u32::try_from(chunks.len()).expect("a pack has few chunks");
            self.target.ledger.pack_sealed(&SealedPack { id, stored_bytes, chunk_count })?;
            self.target.index.insert_pack(id, &chunks);
            let mut unsealed = lock(&self.unsealed);
            chunks.iter().for_each(|chunk| {
                unsealed.remove(&chunk.digest);
            });
        }
        Ok(())
    }

    /// Counts bytes of the source as done, and tells the caller.
    pub(crate) fn advance(&self, bytes: u64) -> Result<()> {
        Counters::add(&self.counters.processed_bytes, bytes);
        match (self.target.progress)(self.counters.read()) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }

    /// Runs `work` on as many threads as the target asks for, until all have returned.
    pub(crate) fn on_workers(&self, work: impl Fn() -> Result<()> + Sync) {
        std::thread::scope(|scope| {
            for _ in 0..self.target.worker_count() {
                scope.spawn(|| self.record(work()));
            }
        });
    }

    /// Whether some thread has failed, so that going on is useless.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn record(&self, result: Result<()>) {
        if let Err(error) = result {
            lock(&self.failure).get_or_insert(error);
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn into_taken(self) -> Result<Taken> {
        let unpoisoned = "a thread that panicked took the scope with it";
        if let Some(error) = self.failure.into_inner().expect(unpoisoned) {
            return Err(error);
        }
        let mut entries = self.entries.into_inner().expect(unpoisoned);
        entries.sort_unstable_by_key(|entry| entry.offset);
        let packs = self.packs.into_inner().expect(unpoisoned).ids;
        Ok(Taken { packs, entries, amounts: self.counters.read() })
    }
}

impl Counters {
    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    fn read(&self) -> Amounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Amounts {
            total_bytes: read(&self.total_bytes),
            processed_bytes: read(&self.processed_bytes),
            stored_bytes: read(&self.stored_bytes),
            new_chunks: read(&self.new_chunks),
            reused_chunks: read(&self.reused_chunks),
        }
    }
}
