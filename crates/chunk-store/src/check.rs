//! Verifying a store against itself and against the ledger. Nothing is changed, whatever is found.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::chunk::Decoder;
use crate::reader::{ChunkList, RunBuffer, corrupt_chunk};
use crate::{
    Amounts, Chunk, Entry, Error, Manifest, ManifestId, ObjectKey, ObjectKind, ObjectStore, PackId, Result,
    read_index,
};

/// Problems that are listed; further ones are counted.
const MAX_PROBLEMS: usize = 10_000;
/// Pack indexes kept while manifests are compared with them (each about 50 KB).
const MAX_CACHED_INDEXES: usize = 512;
/// Chunks verified between two calls of the progress callback.
const CHUNKS_AT_ONCE: usize = 64;

/// How much of the store is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckMode {
    /// Manifests and pack indexes, and whether they agree.
    References,
    /// Every chunk's bytes as well.
    EveryByte,
}

/// What the ledger knows.
#[derive(Debug, Clone, Default)]
pub struct KnownObjects {
    /// Packs and manifests whose objects must exist.
    pub present: HashSet<ObjectKey>,
    /// Packs and manifests that may or may not exist: pending, or being deleted.
    pub possible: HashSet<ObjectKey>,
    /// What the ledger has each published manifest reference.
    pub references: HashMap<ManifestId, Vec<PackId>>,
}

/// Something that is not as it must be.
#[derive(Debug)]
pub enum Problem {
    /// An object that must exist does not.
    Missing(ObjectKey),
    /// An object is damaged, or cannot be read.
    Unreadable(ObjectKey, Error),
    /// A manifest names a chunk that is not in the pack at that position.
    NoSuchChunk {
        /// The manifest.
        manifest: ManifestId,
        /// Offset of the chunk on the disk.
        offset: u64,
        /// The pack it names.
        pack: PackId,
    },
    /// A manifest needs a pack that the ledger does not have it reference.
    NotReferenced {
        /// The manifest.
        manifest: ManifestId,
        /// The pack.
        pack: PackId,
    },
}

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Packs whose index was read.
    pub packs: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Chunks whose bytes were verified.
    pub chunks: u64,
    /// What is wrong: the first ten thousand.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problem_count: u64,
    /// Objects that the ledger does not know. They are left alone.
    pub unknown: Vec<ObjectKey>,
}

impl CheckReport {
    /// Whether everything is as it must be. Unknown objects only take space.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Checks a store: that every object the ledger knows is there, every manifest well formed, every chunk that it names
/// in its pack, and, if asked, every chunk's digest. `progress` counts stored bytes of packs.
///
/// # Errors
/// What prevents checking at all: a listing that fails, [`Error::Cancelled`].
pub fn check(
    store: &dyn ObjectStore,
    known: &KnownObjects,
    mode: CheckMode,
    progress: &(dyn Fn(Amounts) -> ControlFlow<()> + Sync),
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let (packs, manifests) = check_listing(store, known, &mut report)?;
    let mut indexes = Indexes { store, cached: HashMap::new() };
    for id in manifests {
        match Manifest::read(store, id) {
            Ok(manifest) => check_manifest(id, &manifest, known, &mut indexes, &mut report),
            Err(error) => report.add(Problem::Unreadable(id.into(), error)),
        }
        report.manifests += 1;
        if progress(Amounts::default()).is_break() {
            return Err(Error::Cancelled);
        }
    }
    let report = Mutex::new(report);
    PackCheck { store, mode, packs: &packs, progress, report: &report }.run()?;
    Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Compares what is there with what the ledger knows; returns what there is to look into.
fn check_listing(
    store: &dyn ObjectStore,
    known: &KnownObjects,
    report: &mut CheckReport,
) -> Result<(Vec<PackId>, Vec<ManifestId>)> {
    let (mut packs, mut manifests) = (Vec::new(), Vec::new());
    let mut listed = HashSet::new();
    for kind in ObjectKind::ALL {
        listed.extend(store.list(kind)?);
    }
    report
        .unknown
        .extend(listed.iter().filter(|key| !known.present.contains(*key) && !known.possible.contains(*key)));
    report.unknown.sort_unstable();
    let mut present: Vec<_> = known.present.iter().copied().collect();
    present.sort_unstable();
    for key in present {
        match key {
            // A listing may be older than an object's deletion or creation: the object itself decides.
            _ if !listed.contains(&key) && store.len(key).is_err() => report.add(Problem::Missing(key)),
            ObjectKey::Pack(id) => packs.push(id),
            ObjectKey::Manifest(id) => manifests.push(id),
        }
    }
    Ok((packs, manifests))
}

/// Pack indexes by pack, the chunks by position. `None` for a pack that cannot be read, which is reported elsewhere.
struct Indexes<'a> {
    store: &'a dyn ObjectStore,
    cached: HashMap<PackId, Option<Vec<Chunk>>>,
}

impl Indexes<'_> {
    fn of(&mut self, pack: PackId) -> Option<&[Chunk]> {
        if self.cached.len() >= MAX_CACHED_INDEXES && !self.cached.contains_key(&pack) {
            self.cached.clear();
        }
        let store = self.store;
        self.cached.entry(pack).or_insert_with(|| read_index(store, pack).ok()).as_deref()
    }
}

fn check_manifest(
    id: ManifestId,
    manifest: &Manifest,
    known: &KnownObjects,
    indexes: &mut Indexes<'_>,
    report: &mut CheckReport,
) {
    if let Some(referenced) = known.references.get(&id) {
        let referenced: HashSet<_> = referenced.iter().collect();
        for pack in manifest.packs().iter().filter(|pack| !referenced.contains(pack)) {
            report.add(Problem::NotReferenced { manifest: id, pack: *pack });
        }
    }
    // By pack, so that every index is looked up once.
    let mut order: Vec<u32> = (0..).take(manifest.entries().len()).collect();
    order.sort_unstable_by_key(|at| manifest.entries()[*at as usize].pack);
    for same_pack in
        order.chunk_by(|a, b| manifest.entries()[*a as usize].pack == manifest.entries()[*b as usize].pack)
    {
        let pack = manifest.pack_of(&manifest.entries()[same_pack[0] as usize]);
        let index = indexes.of(pack).unwrap_or_default();
        for at in same_pack {
            let Entry { offset, chunk, .. } = manifest.entries()[*at as usize];
            let found = index.binary_search_by_key(&chunk.position, |chunk| chunk.position);
            if found.is_ok_and(|found| index[found] == chunk) {
                continue;
            }
            report.add(Problem::NoSuchChunk { manifest: id, offset, pack });
        }
    }
}

/// The check of all packs, on as many threads as there are cores.
struct PackCheck<'a> {
    store: &'a dyn ObjectStore,
    mode: CheckMode,
    packs: &'a [PackId],
    progress: &'a (dyn Fn(Amounts) -> ControlFlow<()> + Sync),
    report: &'a Mutex<CheckReport>,
}

impl PackCheck<'_> {
    fn run(&self) -> Result<()> {
        let next = AtomicUsize::new(0);
        let total_bytes = self.packs.iter().filter_map(|id| self.store.len((*id).into()).ok()).sum();
        let processed = AtomicU64::new(0);
        let done = |bytes: u64| {
            let processed_bytes = processed.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let amounts = Amounts { total_bytes, processed_bytes, ..Amounts::default() };
            if (self.progress)(amounts).is_break() { Err(Error::Cancelled) } else { Ok(()) }
        };
        let work = || {
            while let Some(id) = self.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.check_pack(*id, &done)?;
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).fold(Ok(()), Result::and)
        })
    }

    fn check_pack(&self, id: PackId, done: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<()> {
        let stored_bytes = self.store.len(id.into()).unwrap_or(0);
        let mut chunk_count = 0;
        let found = match read_index(self.store, id) {
            Ok(chunks) if self.mode == CheckMode::EveryByte => {
                self.verify_chunks(id, &chunks, &mut chunk_count)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.packs += 1;
        report.chunks += chunk_count;
        if let Err(error) = found {
            report.add(Problem::Unreadable(id.into(), error));
        }
        drop(report);
        done(stored_bytes)
    }

    /// Verifies the chunks of a pack until one is damaged.
    fn verify_chunks(&self, id: PackId, chunks: &[Chunk], verified: &mut u64) -> Result<()> {
        let mut decoder =
            Decoder::new().map_err(|source| Error::Storage { what: "starting zstd".into(), source })?;
        let mut runs = RunBuffer::default();
        let mut bytes = Vec::new();
        for chunks in chunks.chunks(CHUNKS_AT_ONCE) {
            let entries: Vec<_> =
                chunks.iter().map(|chunk| Entry { offset: 0, pack: 0, chunk: *chunk }).collect();
            let list = ChunkList { packs: &[id], entries: &entries };
            for (at, chunk) in chunks.iter().enumerate() {
                let stored = runs.stored(self.store, list, at)?;
                bytes.resize(chunk.len as usize, 0);
                decoder
                    .decode(chunk, stored, &mut bytes)
                    .map_err(|reason| corrupt_chunk(id, chunk, reason))?;
                *verified += 1;
            }
        }
        Ok(())
    }
}
