//! The chunk store's ledger, kept in the catalogue for one claim of one task.
//!
//! Every entry is made under the task's fence, so a worker that lost its lease can record nothing more.

use kiln_catalog::{Catalog, Tx};
use kiln_chunk_store::{Ledger, LedgerError, ManifestId, PackId, Scope, SealedPack};
use kiln_model::{RegionId, TaskId, Timestamp};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::region_store::{manifest_key, pack_id, pack_key};

/// Records what one task stores, and takes the references that it relies on.
pub(crate) struct TaskLedger {
    pub(crate) catalog: Catalog,
    pub(crate) region: RegionId,
    pub(crate) task: TaskId,
    pub(crate) fence: i64,
    pub(crate) cancel: CancellationToken,
    /// The runtime whose threads the store's threads are not: its calls wait for the catalogue here.
    pub(crate) runtime: Handle,
}

impl TaskLedger {
    /// Does `work` in a transaction and commits it.
    fn record<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> kiln_catalog::Result<T>,
    ) -> Result<T, LedgerError> {
        if self.cancel.is_cancelled() {
            return Err(LedgerError::Cancelled);
        }
        let recorded = self.runtime.block_on(async {
            let mut tx = self.catalog.write().await?;
            let value = work(&mut tx).await?;
            tx.commit().await?;
            Ok(value)
        });
        recorded.map_err(|error| match error {
            kiln_catalog::Error::Stale(_) => LedgerError::LeaseLost,
            other => LedgerError::Failed(Box::new(other)),
        })
    }
}

impl Ledger for TaskLedger {
    fn register_pack(&self, pack: PackId, scope: &Scope) -> Result<(), LedgerError> {
        let (key, now) = (pack_key(pack), Timestamp::now());
        self.record(async |tx| {
            tx.register_pack(&self.region, &key, scope.as_str(), &self.task, self.fence, now).await
        })
    }

    fn pack_sealed(&self, pack: &SealedPack) -> Result<(), LedgerError> {
        let (key, now) = (pack_key(pack.id), Timestamp::now());
        self.record(async |tx| {
            tx.seal_pack(&key, pack.stored_bytes, pack.chunk_count, &self.task, self.fence, now).await
        })
    }

    fn hold(&self, packs: &[PackId]) -> Result<Vec<PackId>, LedgerError> {
        let keys: Vec<_> = packs.iter().copied().map(pack_key).collect();
        let held = self.record(async |tx| tx.hold_packs(&self.task, self.fence, &keys).await)?;
        held.iter()
            .map(|key| pack_id(key).map_err(|error| LedgerError::Failed(error.to_string().into())))
            .collect()
    }

    fn register_manifest(&self, manifest: ManifestId) -> Result<(), LedgerError> {
        let (key, now) = (manifest_key(manifest), Timestamp::now());
        self.record(async |tx| tx.register_manifest(&self.region, &key, &self.task, self.fence, now).await)
    }
}
