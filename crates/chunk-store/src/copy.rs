//! Copying a disk to another store: the chunks that it lacks move as they are stored, without being compressed again.
//!
//! Every chunk that moves is decompressed once, to verify its digest: a copy never spreads damage.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::chunk::Decoder;
use crate::ingest::write_manifest;
use crate::reader::{ChunkList, RunBuffer, corrupt_chunk};
use crate::sink::{BATCH_BYTES, Sink, with_sink};
use crate::{Error, MAX_CHUNK_BYTES, Manifest, ObjectStore, Result, Stored, Target};

/// Entries that one worker takes at a time: 1 MiB of a disk in chunks of 64 KiB.
const ENTRIES_AT_ONCE: usize = 16;

/// Copies the disk of `manifest`, whose packs are in `source`, to the target. The caller keeps those packs alive.
///
/// Progress counts the bytes of chunks, uncompressed.
///
/// # Errors
/// What the stores or the ledger say, [`Error::Corrupt`] where a chunk of the source is damaged, and
/// [`Error::Cancelled`]. Packs sealed until then stay, as for [`crate::ingest()`].
pub fn copy(target: &Target<'_>, source: &dyn ObjectStore, manifest: &Manifest) -> Result<Stored> {
    let list = ChunkList { packs: manifest.packs(), entries: manifest.entries() };
    let taken = with_sink(target, manifest.data_bytes(), &[], |sink| move_chunks(sink, source, list))?;
    write_manifest(target, manifest.size_bytes(), taken)
}

/// Gives the sink every chunk of the list, under the offset that its entry has.
pub(crate) fn move_chunks(sink: &Sink<'_>, source: &dyn ObjectStore, list: ChunkList<'_>) -> Result<()> {
    let next = AtomicUsize::new(0);
    sink.on_workers(|| {
        let mut worker = Worker::new(sink, source, list)?;
        while !sink.is_stopped() {
            let first = next.fetch_add(ENTRIES_AT_ONCE, Ordering::Relaxed);
            if first >= list.entries.len() {
                break;
            }
            worker.move_some(first..(first + ENTRIES_AT_ONCE).min(list.entries.len()))?;
        }
        Ok(())
    });
    Ok(())
}

struct Worker<'a> {
    sink: &'a Sink<'a>,
    source: &'a dyn ObjectStore,
    list: ChunkList<'a>,
    runs: RunBuffer,
    decoder: Decoder,
    decoded: Box<[u8]>,
}

impl<'a> Worker<'a> {
    fn new(sink: &'a Sink<'a>, source: &'a dyn ObjectStore, list: ChunkList<'a>) -> Result<Self> {
        let decoder =
            Decoder::new().map_err(|source| Error::Storage { what: "starting zstd".into(), source })?;
        let decoded = vec![0; MAX_CHUNK_BYTES as usize].into_boxed_slice();
        Ok(Self { sink, source, list, runs: RunBuffer::default(), decoder, decoded })
    }

    fn move_some(&mut self, range: Range<usize>) -> Result<()> {
        // What lies beyond the range belongs to another worker, and is not to be read along.
        let list = ChunkList { packs: self.list.packs, entries: &self.list.entries[range] };
        let mut batch = self.sink.batch();
        let mut room = BATCH_BYTES;
        for (at, entry) in list.entries.iter().enumerate() {
            let chunk = entry.chunk;
            if let Some((pack, chunk)) = self.sink.find(chunk.digest, chunk.len)? {
                batch.push_found(entry.offset, pack, chunk);
                continue;
            }
            let stored = self.runs.stored(self.source, list, at)?;
            let decoded = self.decoder.decode(&chunk, stored, &mut self.decoded[..chunk.len as usize]);
            decoded.map_err(|reason| corrupt_chunk(list.pack_of(entry), &chunk, reason))?;
            if stored.len() > room {
                self.sink.append(std::mem::replace(&mut batch, self.sink.batch()))?;
                room = BATCH_BYTES;
            }
            room -= stored.len();
            batch.push_new(entry.offset, |out| {
                out[..stored.len()].copy_from_slice(stored);
                chunk
            });
        }
        self.sink.append(batch)?;
        self.sink.advance(list.entries.iter().map(|entry| u64::from(entry.chunk.len)).sum())
    }
}
