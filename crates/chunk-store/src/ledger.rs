//! What the chunk store needs to be told, and needs to tell, about references: the rules that keep garbage
//! collection away from what a running job relies on.
//!
//! The rows themselves (in SQL, at pack grain) are not here. A value of this trait stands for one running job; the
//! implementation knows the job's id and fence, and compares the fence in every transaction.

use crate::{ManifestId, PackId, Scope};

/// A pack whose object is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedPack {
    /// Its id.
    pub id: PackId,
    /// Length of the object in bytes.
    pub stored_bytes: u64,
    /// Number of chunks in it.
    pub chunk_count: u32,
}

/// Why the ledger refuses. Each ends the work under way.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The fence was bumped: the job goes on elsewhere, or has ended.
    #[error("the job's lease was lost")]
    LeaseLost,
    /// The job was asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The ledger's own storage failed.
    #[error("the ledger failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The references of one running job. Called from several threads; every call is one transaction.
pub trait Ledger: Send + Sync {
    /// Records a pack that is about to be written: pending, of that scope, referenced by the job.
    ///
    /// # Errors
    /// See [`LedgerError`]; the pack is then not written.
    fn register_pack(&self, pack: PackId, scope: &Scope) -> Result<(), LedgerError>;

    /// Records that the object of a registered pack is durable: live, and still referenced by the job.
    ///
    /// # Errors
    /// See [`LedgerError`]; the pack is then not relied on.
    fn pack_sealed(&self, pack: &SealedPack) -> Result<(), LedgerError>;

    /// Takes the job's reference on those of `packs` that are live, and returns them. Packs that are pending,
    /// condemned or unknown are left out. Taking a reference again changes nothing.
    ///
    /// # Errors
    /// See [`LedgerError`].
    fn hold(&self, packs: &[PackId]) -> Result<Vec<PackId>, LedgerError>;

    /// Records a manifest that is about to be written, referenced by the job until it is published.
    ///
    /// # Errors
    /// See [`LedgerError`]; the manifest is then not written.
    fn register_manifest(&self, manifest: ManifestId) -> Result<(), LedgerError>;
}
