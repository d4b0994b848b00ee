//! Making an image: of an instance's disks as they are at one moment, or of snapshots, which hold that already.

use std::sync::Arc;

use kiln_block::BlockDevice;
use kiln_chunk_store::{ManifestDevice, Stored};
use kiln_model::{
    DiskId, DiskUsage, Image, ImageId, ImportClaim, InstanceId, StopMode, SystemFacts, Timestamp,
};

use super::publish::{finish, publish};
use super::{JobContext, JobError, disk_content, power};
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
    data_disks: &[DiskId],
) -> Result<(), JobError> {
    let image = wanted_image(context, image).await?;
    let instance = power::held_instance(context, instance).await?;
    if power_off {
        context.progress.begin("power off", 0);
        power::switch_off(context, &instance, StopMode::SoftFirst).await?;
    }
    let mut disks = Vec::with_capacity(1 + data_disks.len());
    for id in std::iter::once(&instance.system_disk).chain(data_disks) {
        disks.push(disk_content::wanted_disk(context, id).await?);
    }
    context.progress.begin("store", 0);
    let stored = disk_content::store_of_instance(context, &instance, &disks).await?;
    context.progress.begin("inspect", 0);
    let system = context.store()?.device(Arc::new(stored[0].manifest.clone()));
    keep_report(context, &image, system, data_disks.len()).await?;
    let usages = disks.iter().map(|disk| disk.usage);
    let stored: Vec<(DiskUsage, &Stored)> = usages.zip(&stored).collect();
    publish(context, &image.id, &image.facts, &stored).await
}

/// Makes an image of the snapshots that its row names: nothing is read but what an inspection looks at.
pub(super) async fn assemble(context: &JobContext, image: &ImageId) -> Result<(), JobError> {
    let image = wanted_image(context, image).await?;
    let system = image
        .system_disk()
        .ok_or_else(|| JobError::internal(format!("image {} is to be made of no system disk", image.id)))?;
    let data_disks = image.disks.iter().filter(|disk| disk.usage == DiskUsage::Data).count();
    context.progress.begin("inspect", 0);
    let device = context.store()?.open_disk(&system.manifest).await?;
    keep_report(context, &image, device, data_disks).await?;
    let now = Timestamp::now();
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    tx.publish_image(&image.id, &image.facts, system.size_bytes, &[]).await?;
    finish(context, tx, &image.id, now).await
}

/// Looks at what was stored and keeps the report, so that its owner sees what is in it before sharing it. An image of
/// one's own instance is refused for nothing that is found.
async fn keep_report(
    context: &JobContext,
    image: &Image,
    system: ManifestDevice,
    data_disks: usize,
) -> Result<(), JobError> {
    let limits = context.service.limits_of(context.task.owner).await?;
    let disk: Arc<dyn BlockDevice> = Arc::new(system);
    let (service, claim) = (Arc::clone(&context.service), claim_of(&image.facts));
    let judged = tokio::task::spawn_blocking(move || {
        let confined = service.config.confined();
        let policy = &service.config.import_policy;
        judge_disk(&confined, &disk, FORMAT, data_disks, policy, &claim, limits.system_disk_bytes)
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
