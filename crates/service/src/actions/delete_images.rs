//! DeleteImages: all of the named images, or none. Instances launched from them go on.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{ImageEvent, ImageId, SnapshotEvent, SnapshotId, SnapshotState, Timestamp};

use crate::{Answer, Caller, DeleteImages, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: DeleteImages,
) -> Result<Answer, Refusal> {
    if request.images.is_empty() {
        return Err(Refusal::invalid("MissingParameter", "ImageIds is empty. Name at least one image."));
    }
    let mut images = request.images;
    images.sort();
    images.dedup();
    let mut tx = service.catalog.write().await?;
    check_all(&mut tx, caller, &images).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let made_of = if request.with_snapshots { snapshots_of(&mut tx, &images).await? } else { Vec::new() };
    delete_all(&mut tx, &images).await?;
    delete_unused(&mut tx, &made_of).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// That all of the images may be deleted; the refusal names every reason.
pub(super) async fn check_all(tx: &mut Tx, caller: &Caller, images: &[ImageId]) -> Result<(), Refusal> {
    let mut refusals = Vec::new();
    for id in images {
        if let Err(refusal) = check(tx, caller, id).await? {
            refusals.push(refusal);
        }
    }
    let Some(first) = refusals.first() else { return Ok(()) };
    let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    let message = format!("{} Nothing was deleted.", reasons.join(" "));
    Err(Refusal::new(first.kind, first.code, message))
}

/// Deletes images, and the snapshots that were made with them.
pub(super) async fn delete_all(tx: &mut Tx, images: &[ImageId]) -> Result<(), Refusal> {
    let now = Timestamp::now();
    for id in images {
        tx.transition_image(id, ImageEvent::Deleted, None, now).await?;
    }
    Ok(())
}

/// The snapshots that images are made of.
async fn snapshots_of(tx: &mut Tx, images: &[ImageId]) -> Result<Vec<SnapshotId>, Refusal> {
    let mut found = Vec::new();
    for id in images {
        let disks = tx.image(id).await?.map(|image| image.disks).unwrap_or_default();
        found.extend(disks.into_iter().map(|disk| disk.snapshot));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Deletes those of the snapshots that are there still and that no other image is made of.
async fn delete_unused(tx: &mut Tx, snapshots: &[SnapshotId]) -> Result<(), Refusal> {
    let used = tx.images_of_snapshots(snapshots).await?;
    for id in snapshots {
        let there = tx.snapshot(id).await?.is_some_and(|found| found.state == SnapshotState::Normal);
        if there && !used.iter().any(|(snapshot, _, _)| snapshot == id) {
            tx.transition_snapshot(id, SnapshotEvent::Deleted, Timestamp::now()).await?;
        }
    }
    Ok(())
}

/// Whether one image may be deleted. The outer error is a fault, the inner one the reason.
async fn check(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Result<(), Refusal>, Refusal> {
    let image = match checks::own_image(tx, caller, id).await {
        Ok(image) => image,
        Err(refusal) if refusal.kind == crate::RefusalKind::Internal => return Err(refusal),
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = checks::image_is_made(&image) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = checks::image_is_not_in_review(tx, id).await {
        return if refusal.kind == crate::RefusalKind::Internal { Err(refusal) } else { Ok(Err(refusal)) };
    }
    let shares = tx.shares_of(id).await?.len();
    if shares > 0 {
        return Ok(Err(Refusal::conflict(
            "InvalidImageId.InShared",
            format!("Image {id} is shared with {shares} account(s); cancel the sharing first."),
        )));
    }
    Ok(Ok(()))
}
