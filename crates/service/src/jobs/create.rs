//! Making an image of an instance: only what its overlay holds is read; the rest stays with the base manifest.
//!
//! A running machine writes into a second overlay while the first is read, and the two are merged afterwards, so
//! the image shows one moment: what a power cut would have left (crash-consistent).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::{BlockDevice, FileDevice};
use kiln_chunk_store::Stored;
use kiln_disk_format::{Limits, qcow2};
use kiln_model::{Image, ImageId, ImportClaim, Instance, InstanceId, StopMode, SystemFacts};

use super::publish::publish;
use super::{JobContext, JobError, power};
use crate::judgement::judge_disk;
use crate::policy;

/// An instance's disk is a disk, whatever its overlay's format.
const FORMAT: &str = "raw";

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
            if let Err(error) = &merged {
                tracing::error!(instance = %instance.id, %error, "a frozen disk could not be merged back");
            }
            let stored = stored?;
            merged?;
            stored
        }
        None => {
            context.service.machines.settle(&context.service, &instance).await?;
            store_overlay(context, &instance, dir.join(kiln_qemu::layout::ROOT)).await?
        }
    };
    context.progress.begin("inspect", 0);
    keep_report(context, &image, &stored).await?;
    publish(context, &image.id, &image.facts, &stored).await
}

/// Looks at what was stored and keeps the report, so that its owner sees what is in it before sharing it. An image of
/// one's own instance is refused for nothing that is found.
async fn keep_report(context: &JobContext, image: &Image, stored: &Stored) -> Result<(), JobError> {
    let limits = context.service.limits_of(context.task.owner).await?;
    let disk: Arc<dyn BlockDevice> = Arc::new(context.store()?.device(Arc::new(stored.manifest.clone())));
    let (service, claim) = (Arc::clone(&context.service), claim_of(&image.facts));
    let judged = tokio::task::spawn_blocking(move || {
        let confined = service.config.confined();
        judge_disk(&confined, &disk, FORMAT, &service.config.import_policy, &claim, limits.system_disk_bytes)
    });
    let report = match judged.await? {
        Ok((_, report)) => report,
        Err(error) => {
            tracing::warn!(image = %image.id, %error, "a new image could not be inspected");
            policy::unread(&context.service.config.import_policy, &error.to_string())
        }
    };
    let text = serde_json::to_string(&report).map_err(JobError::internal)?;
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    tx.put_image_report(&image.id, &text).await?;
    Ok(tx.commit().await?)
}

/// What is known of an instance's system stands for what an importer would say.
fn claim_of(facts: &SystemFacts) -> ImportClaim {
    let version = facts.os_name.strip_prefix(facts.platform.as_str()).map_or("", str::trim);
    ImportClaim {
        os_type: facts.platform.clone(),
        os_version: if version.is_empty() { "-" } else { version }.to_owned(),
        architecture: facts.architecture,
        boot_mode: facts.boot_mode,
        force: !facts.cloud_init,
        license: facts.license,
    }
}

/// Writes an overlay that holds nothing yet.
pub(super) async fn write_empty_overlay(path: PathBuf, size_bytes: u64) -> Result<(), JobError> {
    tokio::task::spawn_blocking(move || {
        qcow2::create_overlay(&new_file(&path)?, size_bytes).map_err(JobError::internal)
    })
    .await?
}

/// A new file in place of whatever an earlier try left.
pub(crate) fn new_file(path: &Path) -> std::io::Result<File> {
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
