//! Long work: each file does one kind of task. A task's steps can be repeated: whoever claims a task that another
//! worker left goes on from what is already durable.
//!
//! A job either records its own success, in the transaction that publishes its result, or returns a [`JobError`],
//! which the worker records. Nothing is ever left in a state that only a person could mend.

mod create;
mod disk_content;
mod disks;
mod export;
mod import;
mod launch;
mod network_file;
mod power;
mod preview;
mod progress;
mod publish;
mod reset;
mod snapshot;
mod sync;
mod terminate;
mod worker;

use std::sync::Arc;

use kiln_chunk_store::{Amounts, ChunkIndex, Ledger, Target};
use kiln_model::{Failure, ImageKind, Task, TaskKind};
use tokio_util::sync::CancellationToken;

pub(crate) use disk_content::new_file;
pub(crate) use export::output_format;
pub(crate) use import::sweep_staging;
pub(crate) use launch::seed_components;
pub(crate) use worker::{cancelled, record_end, spawn_workers};

use crate::Service;
use crate::ledger::TaskLedger;
use crate::region_store::{RegionStore, ScopeIndexes};
use progress::ProgressMeter;

/// Why a job ended without its result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// For a reason that the task's owner is told.
    #[error("{}: {}", .0.code, .0.message)]
    Failed(Failure),
    /// Because the task's owner asked.
    #[error("cancelled")]
    Cancelled,
    /// Because another worker has the task now. Nothing is recorded.
    #[error("another worker has the task")]
    LeaseLost,
    /// Through a fault of the service.
    #[error("{0}")]
    Internal(String),
}

impl JobError {
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure { code: code.to_owned(), message: message.into() })
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string())
    }
}

impl From<kiln_catalog::Error> for JobError {
    fn from(error: kiln_catalog::Error) -> Self {
        match error {
            kiln_catalog::Error::Stale(_) => Self::LeaseLost,
            other => Self::internal(other),
        }
    }
}

impl From<kiln_chunk_store::Error> for JobError {
    fn from(error: kiln_chunk_store::Error) -> Self {
        use kiln_chunk_store::Error as E;
        match error {
            E::LeaseLost => Self::LeaseLost,
            E::Cancelled => Self::Cancelled,
            E::StorageFull { .. } => Self::failed(
                "FailedOperation.StorageFull",
                "The region's store is full, so the image could not be kept; nothing of it was. Free or add space, \
                 then ask again.",
            ),
            E::Source(source) => Self::failed(
                "FailedOperation.SourceUnreadable",
                format!(
                    "The disk could not be read to its end: {source}. Repair or replace it, then ask again."
                ),
            ),
            other => Self::internal(other),
        }
    }
}

impl From<tokio::task::JoinError> for JobError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(error)
    }
}

impl From<kiln_qemu::Error> for JobError {
    fn from(error: kiln_qemu::Error) -> Self {
        Self::failed("FailedOperation.InstanceOperationFailed", format!("The virtual machine: {error}."))
    }
}

impl From<std::io::Error> for JobError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::failed(
                "FailedOperation.StorageFull",
                "The data directory's file system is full. Free or add space, then ask again.",
            );
        }
        Self::internal(error)
    }
}

/// What a job works with: the service, the task as it was claimed, and its ways to report and to be stopped.
#[derive(Clone)]
pub(crate) struct JobContext {
    pub(crate) service: Arc<Service>,
    pub(crate) task: Arc<Task>,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: Arc<ProgressMeter>,
}

impl JobContext {
    /// The store of the region that the task works in.
    pub(crate) fn store(&self) -> Result<Arc<RegionStore>, JobError> {
        self.service.store(&self.task.region).ok_or_else(|| {
            JobError::failed(
                "UnsupportedRegion",
                format!("Region {} is no longer configured on this server.", self.task.region),
            )
        })
    }

    /// Whether the task is still this worker's. Only then may what belongs to the task be removed: the next worker goes on
    /// with it.
    pub(crate) async fn is_ours(&self) -> bool {
        let asserted = async {
            let mut tx = self.service.catalog.read().await?;
            tx.assert_fence(&self.task.id, self.task.fence).await
        };
        asserted.await.is_ok() && !self.service.shutdown.is_cancelled()
    }

    /// Whether what the task stores is for everybody.
    async fn makes_public_image(&self) -> Result<bool, JobError> {
        let Some(id) = self.task.kind.image() else { return Ok(false) };
        let image = self.service.catalog.read().await?.image(id).await?;
        Ok(image.is_some_and(|image| image.kind == ImageKind::Public))
    }

    fn ledger(&self) -> TaskLedger {
        TaskLedger {
            catalog: self.service.catalog.clone(),
            region: self.task.region.clone(),
            task: self.task.id.clone(),
            fence: self.task.fence,
            cancel: self.cancel.clone(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Runs `work` on a thread of its own, with everything that storing a disk needs.
    pub(crate) async fn store_disk<T: Send + 'static>(
        &self,
        store: &RegionStore,
        work: impl FnOnce(&Target<'_>) -> Result<T, JobError> + Send + 'static,
    ) -> Result<T, JobError> {
        let ScopeIndexes { own, public } = store
            .scope_indexes(&self.service.catalog, self.task.owner, self.makes_public_image().await?)
            .await?;
        let (ledger, objects) = (self.ledger(), Arc::clone(&store.objects));
        let (progress, cancel) = (Arc::clone(&self.progress), self.cancel.clone());
        let report = move |amounts: Amounts| {
            progress.set(amounts.processed_bytes, amounts.total_bytes);
            if cancel.is_cancelled() {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        };
        let stored = tokio::task::spawn_blocking(move || {
            let also_search: Vec<&ChunkIndex> = public.iter().map(Arc::as_ref).collect();
            let ledger: &dyn Ledger = &ledger;
            let target = Target {
                store: objects,
                ledger,
                index: &own,
                also_search: &also_search,
                progress: &report,
                threads: 0,
            };
            work(&target)
        });
        stored.await?
    }
}

/// Does a task.
async fn run(context: &JobContext) -> Result<(), JobError> {
    match &context.task.kind {
        TaskKind::ImportImage { image, url, claim, sha256 } => {
            import::run(context, image, &import::Source { url, claim, sha256: sha256.as_deref() }).await
        }
        TaskKind::CreateImage { image, instance, power_off, data_disks } => {
            create::run(context, image, instance, *power_off, data_disks).await
        }
        TaskKind::AssembleImage { image } => create::assemble(context, image).await,
        TaskKind::CreateSnapshot { snapshot, disk, instance } => {
            snapshot::run(context, snapshot, disk, instance.as_ref()).await
        }
        TaskKind::CopyImage { image, source, source_region } => {
            sync::run(context, image, source, source_region).await
        }
        TaskKind::ExportImages { bucket, format, files } => {
            export::run(context, bucket, *format, files).await
        }
        TaskKind::LaunchInstance { instance } => launch::run(context, instance).await,
        TaskKind::StartInstance { instance } => power::start(context, instance).await,
        TaskKind::StopInstance { instance, stop } => power::stop(context, instance, *stop).await,
        TaskKind::RebootInstance { instance, stop } => power::reboot(context, instance, *stop).await,
        TaskKind::ResetInstance { instance } => reset::run(context, instance).await,
        TaskKind::AttachDisks { instance, disks } => disks::attach(context, instance, disks).await,
        TaskKind::DetachDisks { instance, disks } => disks::detach(context, instance, disks).await,
        TaskKind::TerminateInstance { instance } => terminate::run(context, instance).await,
    }
}
