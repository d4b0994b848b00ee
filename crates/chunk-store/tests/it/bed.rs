//! A store with its ledger and index, to run operations on.

use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_block::BlockDevice;
use kiln_chunk_store::{
    Amounts, ChunkIndex, ChunkReader, JobId, Manifest, ManifestDevice, ManifestId, MemoryJob, MemoryLedger,
    MemoryStore, ObjectStore, Result, Scope, Stored, Target, ingest,
};

/// Lets every operation go on.
pub(crate) fn go_on(_: Amounts) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// One region: store, ledger, index, and a reader with a cache of 4 MiB.
pub(crate) struct Bed {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) ledger: MemoryLedger,
    pub(crate) index: ChunkIndex,
    pub(crate) reader: Arc<ChunkReader>,
}

impl Bed {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        let reader = Arc::new(ChunkReader::new(store.clone(), 4 << 20));
        Self { store, ledger: MemoryLedger::default(), index: ChunkIndex::new(Scope::new("account")), reader }
    }

    pub(crate) fn in_memory() -> Self {
        Self::new(Arc::new(MemoryStore::default()))
    }

    pub(crate) fn target<'a>(&'a self, job: &'a MemoryJob) -> Target<'a> {
        let (store, index) = (self.store.clone(), &self.index);
        Target { store, ledger: job, index, also_search: &[], progress: &go_on, threads: 3 }
    }

    /// Stores a disk and publishes it.
    pub(crate) fn ingest(&self, job: JobId, device: &dyn BlockDevice) -> Result<Stored> {
        let job = self.ledger.job(job);
        let stored = ingest(&self.target(&job), device)?;
        job.publish(stored.manifest_id, stored.manifest.packs())?;
        Ok(stored)
    }

    /// Opens a stored disk as a later process would: from its manifest's object.
    pub(crate) fn open(&self, id: ManifestId) -> ManifestDevice {
        let manifest = Manifest::read(&*self.store, id).expect("the manifest is readable");
        ManifestDevice::new(self.reader.clone(), Arc::new(manifest))
    }
}
