//! The deduplication index of one scope: which pack holds which chunk.
//!
//! It is a hint, in memory only: what it says is relied on after the ledger has confirmed that the pack is live
//! (see [`crate::Ledger::hold`]). It takes about 60 bytes a chunk and is bounded; beyond the bound further chunks
//! are not remembered, which costs deduplication and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kiln_block::Digest;

use crate::{Chunk, Error, ObjectStore, PackId, Scope, StoredForm, read_index};

/// Chunks that an index remembers unless it is made with another limit: 64 GiB of distinct data, about 60 MB.
pub const MAX_INDEX_CHUNKS: usize = 1 << 20;
const SHARDS: usize = 16;

type Shard = HashMap<Digest, Location>;

/// Where a chunk lies, with the pack by its number in [`Packs`].
#[derive(Debug, Clone, Copy)]
struct Location {
    pack: u32,
    len: u32,
    position: u32,
    stored: StoredForm,
}

/// The packs that are indexed, numbered to keep locations small.
#[derive(Debug, Default)]
struct Packs {
    numbers: HashMap<PackId, u32>,
    /// By number. Numbers of forgotten packs are not used again.
    ids: Vec<PackId>,
}

/// The chunks of one scope's packs, by digest. Any number of threads may use it at once.
#[derive(Debug)]
pub struct ChunkIndex {
    scope: Scope,
    max_chunks: usize,
    chunk_count: AtomicUsize,
    /// Locked before a shard where both are needed.
    packs: RwLock<Packs>,
    shards: [RwLock<Shard>; SHARDS],
    /// Held while packs are loaded, so that two jobs do not read the same ones.
    loading: Mutex<()>,
}

/// What [`ChunkIndex::load`] did.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Packs whose index was read.
    pub loaded: usize,
    /// Packs whose index could not be read: their chunks are stored again when they are met.
    pub unreadable: Vec<(PackId, Error)>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn shard_of(digest: &Digest) -> usize {
    usize::from(digest.as_bytes()[0]) % SHARDS
}

impl ChunkIndex {
    /// An empty index for the packs of a scope.
    pub fn new(scope: Scope) -> Self {
        Self::with_limit(scope, MAX_INDEX_CHUNKS)
    }

    /// An empty index that remembers at most about `max_chunks` chunks.
    pub fn with_limit(scope: Scope, max_chunks: usize) -> Self {
        let shards = std::array::from_fn(|_| RwLock::default());
        let (packs, loading) = (RwLock::default(), Mutex::default());
        Self { scope, max_chunks, chunk_count: AtomicUsize::new(0), packs, shards, loading }
    }

    /// The scope whose packs are indexed.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How many chunks are remembered.
    pub fn chunk_count(&self) -> usize {
        self.chunk_count.load(Ordering::Relaxed)
    }

    /// Whether the chunks of that pack are indexed.
    pub fn contains_pack(&self, pack: PackId) -> bool {
        read(&self.packs).numbers.contains_key(&pack)
    }

    /// Reads the indexes of those `packs` that are not indexed yet, until the index is full.
    pub fn load(&self, store: &dyn ObjectStore, packs: &[PackId]) -> LoadReport {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = LoadReport::default();
        for id in packs {
            if self.contains_pack(*id) {
                continue;
            }
            if self.chunk_count() >= self.max_chunks {
                tracing::warn!(scope = %self.scope, "the chunk index is full: deduplication is incomplete");
                break;
            }
            match read_index(store, *id) {
                Ok(chunks) => {
                    self.insert_pack(*id, &chunks);
                    report.loaded += 1;
                }
                Err(error) => report.unreadable.push((*id, error)),
            }
        }
        report
    }

    /// Forgets the chunks of those packs, as they are condemned.
    pub fn forget(&self, packs: &[PackId]) {
        let mut table = write(&self.packs);
        let mut forgotten = vec![false; table.ids.len()];
        for id in packs {
            if let Some(number) = table.numbers.remove(id) {
                forgotten[number as usize] = true;
            }
        }
        if !forgotten.contains(&true) {
            return;
        }
        for shard in &self.shards {
            let mut shard = write(shard);
            let before = shard.len();
            shard.retain(|_, location| !forgotten[location.pack as usize]);
            self.chunk_count.fetch_sub(before - shard.len(), Ordering::Relaxed);
        }
    }

    /// Remembers the chunks of a pack. A chunk known from another pack stays known from that one.
    pub(crate) fn insert_pack(&self, id: PackId, chunks: &[Chunk]) {
        // The table stays locked, so that no `forget` comes between a pack and its chunks.
        let mut table = write(&self.packs);
        if table.numbers.contains_key(&id) {
            return;
        }
        let pack =
            u32::try_from(table.ids.len()).expect("fewer packs than chunks, of which there is a limit");
        table.numbers.insert(id, pack);
        table.ids.push(id);
        for chunk in chunks {
            if self.chunk_count() >= self.max_chunks {
                break;
            }
            let Chunk { len, position, stored, .. } = *chunk;
            let mut shard = write(&self.shards[shard_of(&chunk.digest)]);
            shard.entry(chunk.digest).or_insert_with(|| {
                self.chunk_count.fetch_add(1, Ordering::Relaxed);
                Location { pack, len, position, stored }
            });
        }
    }

    /// Where the chunk with that digest lies, as far as is known.
    pub(crate) fn find(&self, digest: Digest) -> Option<(PackId, Chunk)> {
        let Location { pack, len, position, stored } = *read(&self.shards[shard_of(&digest)]).get(&digest)?;
        let id = *read(&self.packs).ids.get(pack as usize)?;
        Some((id, Chunk { digest, len, position, stored }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(numbers: std::ops::Range<u32>) -> Vec<Chunk> {
        let chunk = |i: u32| Chunk {
            digest: Digest::of(&i.to_le_bytes()),
            len: 65536,
            position: i,
            stored: StoredForm::raw(65536),
        };
        numbers.map(chunk).collect()
    }

    #[test]
    fn chunks_of_forgotten_packs_are_not_found() {
        let index = ChunkIndex::new(Scope::new("a"));
        let (one, two) = (PackId::random(), PackId::random());
        index.insert_pack(one, &chunks(0..100));
        index.insert_pack(two, &chunks(50..150));
        assert_eq!(index.chunk_count(), 150);
        assert_eq!(index.find(chunks(60..61)[0].digest).map(|(id, _)| id), Some(one));
        index.forget(&[one, PackId::random()]);
        assert!(!index.contains_pack(one) && index.contains_pack(two));
        assert_eq!(index.chunk_count(), 50);
        assert_eq!(index.find(chunks(60..61)[0].digest), None);
        assert_eq!(index.find(chunks(120..121)[0].digest).map(|(id, _)| id), Some(two));
    }

    #[test]
    fn a_full_index_forgets_nothing_and_learns_nothing() {
        let index = ChunkIndex::with_limit(Scope::new("a"), 10);
        index.insert_pack(PackId::random(), &chunks(0..100));
        assert_eq!(index.chunk_count(), 10);
        assert!(index.find(chunks(0..1)[0].digest).is_some());
        assert!(index.find(chunks(99..100)[0].digest).is_none());
    }
}
