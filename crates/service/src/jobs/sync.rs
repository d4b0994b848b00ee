//! Copying an image from another region: the chunks that this region lacks move, still compressed.

use kiln_chunk_store::Manifest;
use kiln_model::{ImageId, RegionId};

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
    let key = source.system_disk().ok_or_else(gone)?.manifest.clone();
    let mut tx = context.service.catalog.write().await?;
    let held = tx.hold_manifest(&context.task.id, context.task.fence, &key).await?;
    tx.commit().await?;
    if !held {
        return Err(gone());
    }
    let from = context.service.store(source_region).ok_or_else(|| {
        JobError::failed("UnsupportedRegion", format!("Region {source_region} is no longer configured here."))
    })?;
    context.progress.begin("copy", 0);
    let id = manifest_id(&key)?;
    let store = context.store()?;
    let stored = context
        .store_disk(&store, move |target| {
            let manifest = Manifest::read(from.objects.as_ref(), id)?;
            Ok(kiln_chunk_store::copy(target, from.objects.as_ref(), &manifest)?)
        })
        .await?;
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
