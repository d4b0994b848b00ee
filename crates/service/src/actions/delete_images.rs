//! DeleteImages: all of the named images, or none. Instances launched from them go on.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{ImageEvent, ImageId, Timestamp};

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
    let mut refusals = Vec::new();
    for id in &images {
        if let Err(refusal) = check(&mut tx, caller, id).await? {
            refusals.push(refusal);
        }
    }
    if let Some(first) = refusals.first() {
        let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
        let message = format!("{} Nothing was deleted.", reasons.join(" "));
        return Err(Refusal::new(first.kind, first.code, message));
    }
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let now = Timestamp::now();
    for id in &images {
        tx.transition_image(id, ImageEvent::Deleted, None, now).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
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
