//! Publishing: a stored disk becomes the content of an image, and the task that made it ends, in one transaction.

use std::collections::BTreeMap;

use kiln_catalog::PublishedManifest;
use kiln_chunk_store::{Manifest, PackId, Stored};
use kiln_model::{
    DiskUsage, ImageDisk, ImageId, PackKey, SnapshotId, SystemFacts, TaskEvent, TaskKind, Timestamp,
};

use super::{JobContext, JobError};
use crate::notifications::{self, Notice};
use crate::region_store::{manifest_key, pack_key};

/// Makes `stored` the system disk of `image`; from then on the image is NORMAL.
///
/// # Errors
/// [`JobError::LeaseLost`] where the task belongs to another worker by now; then nothing is changed.
pub(crate) async fn publish(
    context: &JobContext,
    image: &ImageId,
    facts: &SystemFacts,
    stored: &Stored,
) -> Result<(), JobError> {
    let task = &context.task;
    let manifest = &stored.manifest;
    let key = manifest_key(stored.manifest_id);
    let published = PublishedManifest {
        key: key.clone(),
        size_bytes: manifest.size_bytes(),
        data_bytes: manifest.data_bytes(),
        stored_bytes: stored.manifest_bytes,
        packs: used_bytes_by_pack(manifest),
    };
    let disk = ImageDisk {
        snapshot: SnapshotId::random(),
        usage: DiskUsage::System,
        manifest: key,
        size_bytes: manifest.size_bytes(),
    };
    let now = Timestamp::now();
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&task.id, task.fence).await?;
    tx.publish_manifest(&published, &task.id, task.fence, now).await?;
    tx.publish_image(image, facts, manifest.size_bytes(), &[disk]).await?;
    if let Some(instance) = task.kind.instance() {
        super::power::release(&mut tx, instance, &task.id).await?;
    }
    if matches!(task.kind, TaskKind::ImportImage { .. })
        && let Some(imported) = tx.image(image).await?
    {
        notifications::tell(&context.service, &mut tx, task.owner, Notice::import_ended(&imported, None))
            .await?;
    }
    tx.save_progress(&task.id, task.fence, &context.progress.snapshot()).await?;
    tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, now).await?;
    tx.commit().await?;
    tracing::info!(
        task = %task.id, %image,
        new_bytes = stored.amounts.stored_bytes, reused_chunks = stored.amounts.reused_chunks,
        "image published"
    );
    Ok(())
}

/// How many stored bytes of each pack the disk uses.
fn used_bytes_by_pack(manifest: &Manifest) -> Vec<(PackKey, u64)> {
    let mut used: BTreeMap<PackId, u64> = manifest.packs().iter().map(|pack| (*pack, 0)).collect();
    for entry in manifest.entries() {
        *used.entry(manifest.pack_of(entry)).or_default() += u64::from(entry.chunk.stored.len_bytes());
    }
    used.into_iter().map(|(pack, bytes)| (pack_key(pack), bytes)).collect()
}
