//! The chunk store: disks as deduplicated, compressed, verified chunks in immutable objects.
//!
//! A disk becomes a *manifest* (an immutable object that lists its chunks) whose chunks lie in *packs* (immutable
//! objects of some tens of MiB). [`ingest()`], [`ingest_overlay`] and [`copy()`] write them, [`ManifestDevice`] reads
//! them as a block device and verifies every byte it hands out, [`check()`] verifies a whole store, and
//! [`plan_collection`] decides what is garbage.
//!
//! Deliberately absent: SQL (the references that keep packs alive live behind [`Ledger`]), asynchronous code
//! (calls block, and use threads of their own), image names, accounts and HTTP.
//!
//! Invariants: an object's bytes never change once it is visible; an object's key is random and never used twice;
//! every object is registered with the ledger before it exists; memory is bounded by named limits, whatever the
//! size of the disk, except for a manifest's entries (56 bytes a chunk).

mod check;
mod chunk;
mod collect;
mod copy;
mod device;
mod directory;
mod error;
mod id;
mod index;
mod ingest;
mod ledger;
mod manifest;
mod memory_ledger;
mod memory_store;
mod object;
mod overlay;
mod pack;
mod reader;
mod rewrite;
mod sink;
mod units;

pub use check::{CheckMode, CheckReport, KnownObjects, Problem, check};
pub use chunk::{CHUNK_BYTES, Chunk, Encoding, MAX_CHUNK_BYTES, StoredForm};
pub use collect::{CollectionPolicy, ObjectRow, ObjectState, Plan, plan_collection};
pub use copy::copy;
pub use device::ManifestDevice;
pub use directory::DirectoryStore;
pub use error::{Error, Result};
pub use id::{ManifestId, PackId, ParseIdError, Scope};
pub use index::{ChunkIndex, LoadReport, MAX_INDEX_CHUNKS};
pub use ingest::{Amounts, Stored, Target, ingest};
pub use ledger::{Ledger, LedgerError, SealedPack};
pub use manifest::{Entry, Manifest};
pub use memory_ledger::{JobId, MemoryJob, MemoryLedger};
pub use memory_store::MemoryStore;
pub use object::{ObjectKey, ObjectKind, ObjectStore, ObjectWriter};
pub use overlay::ingest_overlay;
pub use pack::{PACK_TARGET_BYTES, read_index};
pub use reader::ChunkReader;
pub use rewrite::{Rewritten, rewrite};
