//! Copying an image from another region: the chunks that this region lacks move, still compressed.

use std::sync::Arc;

use kiln_chunk_store::{Manifest, Stored};
use kiln_model::{DiskUsage, ImageId, RegionId};

use super::publish::publish;
use super::{JobContext, JobError};
use crate::region_store::manifest_id;

pub(super) async fn run(
    context: &JobContext,
    image: &ImageId,
    source: &ImageId,
    source_region: &RegionId,
) -> Result<(), JobError> {
    let image = super::create::wanted_image(context, image).await?;
    let gone = || {
        JobError::failed(
            "InvalidImageId.NotFound",
            format!("The source image {source} was deleted before its copy had begun."),
        )
    };
    let source = context.service.catalog.read().await?.image(source).await?.ok_or_else(gone)?;
    carry_report(context, &image.id, &source.id).await?;
    if source.disks.is_empty() {
        return Err(gone());
    }
    let from = context.service.store(source_region).ok_or_else(|| {
        JobError::failed("UnsupportedRegion", format!("Region {source_region} is no longer configured here."))
    })?;
    let mut tx = context.service.catalog.write().await?;
    for disk in &source.disks {
        if !tx.hold_manifest(&context.task.id, context.task.fence, &disk.manifest).await? {
            return Err(gone());
        }
    }
    tx.commit().await?;
    context.progress.begin("copy", 0);
    let store = context.store()?;
    let mut stored = Vec::with_capacity(source.disks.len());
    for disk in &source.disks {
        let (id, from) = (manifest_id(&disk.manifest)?, Arc::clone(&from));
        let copied = context.store_disk(&store, move |target| {
            let manifest = Manifest::read(from.objects.as_ref(), id)?;
            Ok(kiln_chunk_store::copy(target, from.objects.as_ref(), &manifest)?)
        });
        stored.push((disk.usage, copied.await?));
    }
    let stored: Vec<(DiskUsage, &Stored)> = stored.iter().map(|(usage, stored)| (*usage, stored)).collect();
    publish(context, &image.id, &image.facts, &stored).await
}

/// A copy is the same disk: what was found in its source holds for it.
async fn carry_report(context: &JobContext, image: &ImageId, source: &ImageId) -> Result<(), JobError> {
    let mut tx = context.service.catalog.write().await?;
    if let Some(report) = tx.image_report(source).await? {
        tx.assert_fence(&context.task.id, context.task.fence).await?;
        tx.put_image_report(image, &report).await?;
        tx.commit().await?;
    }
    Ok(())
}
