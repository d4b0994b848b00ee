//! Publishing: stored disks become the content of an image, and the task that made it ends, in one transaction.

use std::collections::BTreeMap;

use kiln_catalog::{PublishedManifest, Tx};
use kiln_chunk_store::{Manifest, PackId, Stored};
use kiln_model::{
    DiskUsage, ImageDisk, ImageId, ManifestKey, PackKey, SnapshotId, SystemFacts, TaskEvent, TaskKind,
    Timestamp,
};

use super::{JobContext, JobError};
use crate::notifications::{self, Notice};
use crate::region_store::{manifest_key, pack_key};

/// Makes `stored` the disks of `image`, the system disk first; from then on the image is NORMAL.
///
/// # Errors
/// [`JobError::LeaseLost`] where the task belongs to another worker by now; then nothing is changed.
pub(crate) async fn publish(
    context: &JobContext,
    image: &ImageId,
    facts: &SystemFacts,
    stored: &[(DiskUsage, &Stored)],
) -> Result<(), JobError> {
    let now = Timestamp::now();
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    let mut disks = Vec::with_capacity(stored.len());
    for (usage, stored) in stored {
        let manifest = publish_manifest(&mut tx, context, stored, now).await?;
        let size_bytes = stored.manifest.size_bytes();
        disks.push(ImageDisk { snapshot: SnapshotId::random(), usage: *usage, manifest, size_bytes });
    }
    let size_bytes = disks.first().map_or(0, |disk| disk.size_bytes);
    tx.publish_image(image, facts, size_bytes, &disks).await?;
    finish(context, tx, image, now).await?;
    let amounts = stored.iter().map(|(_, stored)| &stored.amounts);
    let (new_bytes, reused_chunks) = amounts
        .fold((0, 0), |(bytes, chunks), some| (bytes + some.stored_bytes, chunks + some.reused_chunks));
    tracing::info!(task = %context.task.id, %image, new_bytes, reused_chunks, "image published");
    Ok(())
}

/// Ends the task that made an image, and whatever it held.
pub(super) async fn finish(
    context: &JobContext,
    mut tx: Tx,
    image: &ImageId,
    now: Timestamp,
) -> Result<(), JobError> {
    let task = &context.task;
    if let Some(instance) = task.kind.instance() {
        super::power::release(&mut tx, instance, &task.id).await?;
    }
    if matches!(task.kind, TaskKind::ImportImage { .. })
        && let Some(imported) = tx.image(image).await?
    {
        notifications::tell(&context.service, &mut tx, task.owner, Notice::import_ended(&imported, None))
            .await?;
    }
    finish_task(context, tx, now).await
}

/// Records the success of a task that stored something.
pub(super) async fn finish_task(context: &JobContext, mut tx: Tx, now: Timestamp) -> Result<(), JobError> {
    let task = &context.task;
    tx.save_progress(&task.id, task.fence, &context.progress.snapshot()).await?;
    tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, now).await?;
    Ok(tx.commit().await?)
}

/// Lets what a task stored be relied on, in the transaction that refers to it.
pub(super) async fn publish_manifest(
    tx: &mut Tx,
    context: &JobContext,
    stored: &Stored,
    now: Timestamp,
) -> Result<ManifestKey, JobError> {
    let manifest = &stored.manifest;
    let key = manifest_key(stored.manifest_id);
    let published = PublishedManifest {
        key: key.clone(),
        size_bytes: manifest.size_bytes(),
        data_bytes: manifest.data_bytes(),
        stored_bytes: stored.manifest_bytes,
        packs: used_bytes_by_pack(manifest),
    };
    tx.publish_manifest(&published, &context.task.id, context.task.fence, now).await?;
    Ok(key)
}

/// How many stored bytes of each pack the disk uses.
fn used_bytes_by_pack(manifest: &Manifest) -> Vec<(PackKey, u64)> {
    let mut used: BTreeMap<PackId, u64> = manifest.packs().iter().map(|pack| (*pack, 0)).collect();
    for entry in manifest.entries() {
        *used.entry(manifest.pack_of(entry)).or_default() += u64::from(entry.chunk.stored.len_bytes());
    }
    used.into_iter().map(|(pack, bytes)| (pack_key(pack), bytes)).collect()
}
