//! Reading chunks: runs of stored bytes from packs, and a cache of chunks that are decompressed and verified.
//!
//! The cache is keyed by place (pack and position), not by digest: disks share cached chunks exactly where they share
//! stored ones, and so never across scopes. Chunks that a request takes whole are not kept, because such readers
//! seldom come back; those that it takes in part are.
//!
//! Invariant: nothing is handed out or cached whose digest was not verified.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_block::Digest;

use crate::chunk::Decoder;
use crate::{Chunk, Entry, Error, ObjectStore, PackId, Result};

/// The most stored bytes that are read at once.
const MAX_RUN_BYTES: u64 = 1 << 20;
/// Working memories kept for the next reads (each at most 1 MiB and a decoder).
const MAX_IDLE_SESSIONS: usize = 16;
const CACHE_SHARDS: usize = 16;

/// Chunks of a manifest, or of a part of one: entries, and the packs that they name by number.
#[derive(Clone, Copy)]
pub(crate) struct ChunkList<'a> {
    pub(crate) packs: &'a [PackId],
    pub(crate) entries: &'a [Entry],
}

impl ChunkList<'_> {
    pub(crate) fn pack_of(&self, entry: &Entry) -> PackId {
        self.packs[entry.pack as usize]
    }

    /// Where in its pack the run of stored bytes ends that begins with entry `first`: those of the entries after it
    /// which follow without a gap.
    fn run_end(&self, first: usize) -> u64 {
        let Entry { pack, chunk, .. } = self.entries[first];
        let mut end = chunk.stored_end();
        for entry in &self.entries[first + 1..] {
            let next_end = entry.chunk.stored_end();
            if entry.pack != pack
                || u64::from(entry.chunk.position) != end
                || next_end - u64::from(chunk.position) > MAX_RUN_BYTES
            {
                break;
            }
            end = next_end;
        }
        end
    }
}

/// Stored bytes read in runs: the buffer keeps the run that was read last.
#[derive(Default)]
pub(crate) struct RunBuffer {
    bytes: Vec<u8>,
    run: Option<(PackId, Range<u64>)>,
}

impl RunBuffer {
    /// The stored bytes of entry `at`. Where they have to be read, what follows them in the list and in the pack is
    /// read along with them.
    pub(crate) fn stored(
        &mut self,
        store: &dyn ObjectStore,
        list: ChunkList<'_>,
        at: usize,
    ) -> Result<&[u8]> {
        let entry = &list.entries[at];
        let pack = list.pack_of(entry);
        let wanted = u64::from(entry.chunk.position)..entry.chunk.stored_end();
        let read = self
            .run
            .as_ref()
            .filter(|(of, run)| *of == pack && run.start <= wanted.start && wanted.end <= run.end);
        let start = match read {
            Some((_, run)) => run.start,
            None => {
                let run = wanted.start..list.run_end(at);
                self.run = None;
                self.bytes.resize((run.end - run.start) as usize, 0);
                store.read_exact_at(pack.into(), &mut self.bytes, run.start)?;
                self.run = Some((pack, run));
                wanted.start
            }
        };
        Ok(&self.bytes[(wanted.start - start) as usize..(wanted.end - start) as usize])
    }
}

/// The error that a chunk of a pack is not what its record says.
pub(crate) fn corrupt_chunk(pack: PackId, chunk: &Chunk, reason: &str) -> Error {
    Error::corrupt(pack.into(), chunk.position.into(), reason)
}

/// Reads verified chunks of one store, for any number of devices and threads at once.
pub struct ChunkReader {
    store: Arc<dyn ObjectStore>,
    cache: Cache,
    idle: Mutex<Vec<Working>>,
}

/// What a read needs besides its result.
struct Working {
    runs: RunBuffer,
    decoder: Decoder,
}

impl ChunkReader {
    /// A reader of `store` that keeps at most `cache_bytes` of decompressed chunks.
    pub fn new(store: Arc<dyn ObjectStore>, cache_bytes: usize) -> Self {
        Self { store, cache: Cache::new(cache_bytes), idle: Mutex::default() }
    }

    /// The store that is read.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn session(&self) -> Result<Session<'_>> {
        let working = match lock(&self.idle).pop() {
            Some(working) => working,
            None => {
                let decoder = Decoder::new();
                let decoder =
                    decoder.map_err(|source| Error::Storage { what: "starting zstd".into(), source })?;
                Working { runs: RunBuffer::default(), decoder }
            }
        };
        Ok(Session { reader: self, working: Some(working) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread's reading of chunks. Its working memory goes back to the reader.
pub(crate) struct Session<'a> {
    reader: &'a ChunkReader,
    /// Absent only while it is dropped.
    working: Option<Working>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let mut idle = lock(&self.reader.idle);
        if idle.len() < MAX_IDLE_SESSIONS {
            idle.extend(self.working.take());
        }
    }
}

impl Session<'_> {
    /// Fills `out` with the bytes of entry `at` from `skip` on. The rest of the list says what will be read next.
    pub(crate) fn read(&mut self, list: ChunkList<'_>, at: usize, skip: usize, out: &mut [u8]) -> Result<()> {
        let entry = &list.entries[at];
        let (pack, chunk) = (list.pack_of(entry), &entry.chunk);
        if let Some(bytes) = self.reader.cache.get(pack, chunk) {
            out.copy_from_slice(&bytes[skip..skip + out.len()]);
            return Ok(());
        }
        let Working { runs, decoder } = self.working.as_mut().expect("present until dropped");
        let stored = runs.stored(&*self.reader.store, list, at)?;
        if out.len() == chunk.len as usize {
            return decoder.decode(chunk, stored, out).map_err(|reason| corrupt_chunk(pack, chunk, reason));
        }
        let mut bytes = vec![0; chunk.len as usize];
        decoder.decode(chunk, stored, &mut bytes).map_err(|reason| corrupt_chunk(pack, chunk, reason))?;
        out.copy_from_slice(&bytes[skip..skip + out.len()]);
        self.reader.cache.insert(pack, chunk, bytes.into());
        Ok(())
    }
}

/// Decompressed chunks by place, the least recently used going first, roughly: each shard has two generations; a
/// chunk that is used while old becomes young again, and when the young ones have their half, the old ones go.
struct Cache {
    shards: [Mutex<Shard>; CACHE_SHARDS],
    /// Bytes that one generation of one shard may hold.
    generation_bytes: usize,
}

type Place = (PackId, u32);
type Generation = HashMap<Place, (Digest, Arc<[u8]>)>;

#[derive(Default)]
struct Shard {
    young: Generation,
    young_bytes: usize,
    old: Generation,
}

impl Cache {
    fn new(bytes: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, generation_bytes: bytes / CACHE_SHARDS / 2 }
    }

    fn shard(&self, chunk: &Chunk) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(chunk.digest.as_bytes()[0]) % CACHE_SHARDS])
    }

    fn get(&self, pack: PackId, chunk: &Chunk) -> Option<Arc<[u8]>> {
        let place = (pack, chunk.position);
        let mut shard = self.shard(chunk);
        let (digest, bytes) = match shard.young.get(&place) {
            Some(found) => found.clone(),
            None => {
                let found = shard.old.remove(&place)?;
                shard.insert(place, found.clone(), self.generation_bytes);
                found
            }
        };
        // Two manifests that disagree about a place: at most one of them is right, and this copy is not the other's.
        (digest == chunk.digest).then_some(bytes)
    }

    fn insert(&self, pack: PackId, chunk: &Chunk, bytes: Arc<[u8]>) {
        self.shard(chunk).insert((pack, chunk.position), (chunk.digest, bytes), self.generation_bytes);
    }
}

impl Shard {
    fn insert(&mut self, place: Place, cached: (Digest, Arc<[u8]>), generation_bytes: usize) {
        let len = cached.1.len();
        if len > generation_bytes {
            return;
        }
        if self.young_bytes + len > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(place, cached).is_none() {
            self.young_bytes += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoredForm;

    fn chunk(i: u32) -> Chunk {
        Chunk { digest: Digest::of(&i.to_le_bytes()), len: 1000, position: i, stored: StoredForm::raw(1000) }
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        const LIMIT: usize = 1 << 20;
        let cache = Cache::new(LIMIT);
        let pack = PackId::random();
        cache.insert(pack, &chunk(0), vec![7; 1000].into());
        for i in 1..10_000 {
            cache.insert(pack, &chunk(i), vec![0; 1000].into());
            assert_eq!(cache.get(pack, &chunk(0)).as_deref(), Some(&[7; 1000][..]));
        }
        let bytes = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            shard.young.values().chain(shard.old.values()).map(|(_, bytes)| bytes.len()).sum::<usize>()
        };
        assert!(cache.shards.iter().map(bytes).sum::<usize>() <= LIMIT);
        assert!(cache.get(pack, &chunk(1)).is_none());
        assert!(cache.get(PackId::random(), &chunk(0)).is_none());
    }

    #[test]
    fn a_run_ends_where_the_pack_the_neighbourhood_or_the_limit_ends() {
        let packs = [PackId::random(), PackId::random()];
        let entry = |pack, position| Entry { offset: 0, pack, chunk: Chunk { position, ..chunk(0) } };
        let entries = [entry(0, 16), entry(0, 1016), entry(0, 3016), entry(1, 4016)];
        let list = ChunkList { packs: &packs, entries: &entries };
        assert_eq!([0, 1, 2, 3].map(|first| list.run_end(first)), [2016, 2016, 4016, 5016]);
        let many: Vec<_> = (0..10_000).map(|i| entry(0, i * 1000)).collect();
        assert!(ChunkList { packs: &packs, entries: &many }.run_end(0) <= MAX_RUN_BYTES);
    }
}
