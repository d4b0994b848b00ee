//! Making an image of an instance: only what its overlay holds is read; the rest stays with the base manifest.
//!
//! A running machine writes into a second overlay while the first is read, and the two are merged afterwards, so
//! the image shows one moment: what a power cut would have left (crash-consistent).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::FileDevice;
use kiln_chunk_store::Stored;
use kiln_disk_format::{Limits, qcow2};
use kiln_model::{Image, ImageId, Instance, InstanceId, StopMode};

use super::publish::publish;
use super::{JobContext, JobError, power};

/// The image that a task makes; it was inserted with the task.
pub(super) async fn wanted_image(context: &JobContext, image: &ImageId) -> Result<Image, JobError> {
    let found = context.service.catalog.read().await?.image(image).await?;
    found.ok_or_else(|| JobError::internal(format!("image {image} of task {} has no row", context.task.id)))
}

pub(super) async fn run(
    context: &JobContext,
    image: &ImageId,
    instance: &InstanceId,
    power_off: bool,
) -> Result<(), JobError> {
    let image = wanted_image(context, image).await?;
    let instance = power::held_instance(context, instance).await?;
    if power_off {
        context.progress.begin("power off", 0);
        power::switch_off(context, &instance, StopMode::SoftFirst).await?;
    }
    context.progress.begin("store", 0);
    let dir = context.service.machines.dir(&instance.id);
    let stored = match context.service.machines.get(&instance.id) {
        Some(machine) => {
            write_empty_overlay(dir.join(kiln_qemu::layout::NEW_LIVE), instance.system_disk_bytes).await?;
            let frozen = machine.freeze_disk().await?;
            let stored = store_overlay(context, &instance, frozen.root()).await;
            let merged = frozen.merge_back().await;
            let stored = stored?;
            merged?;
            stored
        }
        None => {
            context.service.machines.settle(&context.service, &instance).await?;
            store_overlay(context, &instance, dir.join(kiln_qemu::layout::ROOT)).await?
        }
    };
    publish(context, &image.id, &image.facts, &stored).await
}

/// Writes an overlay that holds nothing yet.
pub(super) async fn write_empty_overlay(path: PathBuf, size_bytes: u64) -> Result<(), JobError> {
    tokio::task::spawn_blocking(move || {
        qcow2::create_overlay(&new_file(&path)?, size_bytes).map_err(JobError::internal)
    })
    .await?
}

/// A new file in place of whatever an earlier try left.
pub(super) fn new_file(path: &Path) -> std::io::Result<File> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    File::options().write(true).create_new(true).open(path)
}

async fn store_overlay(
    context: &JobContext,
    instance: &Instance,
    overlay: PathBuf,
) -> Result<Stored, JobError> {
    let store = context.store()?;
    let base = store.open_disk(&instance.base_manifest).await?;
    context
        .store_disk(&store, move |target| {
            let overlay = open_overlay(&overlay)?;
            Ok(kiln_chunk_store::ingest_overlay(target, &base, &overlay)?)
        })
        .await
}

/// Opens an overlay that QEMU wrote. Its tables are a guest's neighbour's work: they are checked like a stranger's.
fn open_overlay(path: &Path) -> Result<qcow2::Overlay, JobError> {
    let file = FileDevice::new(File::open(path)?).map_err(JobError::internal)?;
    qcow2::Overlay::open(Arc::new(file), &Limits::default()).map_err(|error| {
        JobError::failed(
            "FailedOperation.SystemDiskUnreadable",
            format!(
                "The instance's system disk could not be read: {error}. Stop the instance, then ask again."
            ),
        )
    })
}
