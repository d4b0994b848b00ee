//! Exports of images over NBD, and what the regions' stores hold.

use std::sync::Arc;

use kiln_model::ImageId;

use crate::{Answer, Caller, ExportTransport, Refusal, Service, StoreSummary, checks};

pub(super) async fn open(
    service: &Arc<Service>,
    caller: &Caller,
    image: &ImageId,
    transport: ExportTransport,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    if transport == ExportTransport::Unix {
        checks::require_operator(caller)?;
        // The operator's socket exports everybody's images, so that they can be looked after.
        let found = tx.image(image).await?.ok_or_else(|| {
            Refusal::not_found("InvalidImageId.NotFound", format!("There is no image {image}. Check its ID."))
        })?;
        checks::image_is_normal(&found)?;
        let socket = service.config.export_socket();
        return Ok(Answer::Export { url: format!("nbd+unix:///{image}?socket={}", socket.display()) });
    }
    // A shared image is for launching; its content is its owner's to hand out.
    let image = checks::own_image(&mut tx, caller, image).await?;
    checks::image_is_normal(&image)?;
    checks::content_is_the_owners(&mut tx, &image).await?;
    let address = service.export_address.ok_or_else(|| {
        Refusal::new(
            crate::RefusalKind::Unavailable,
            "UnsupportedOperation.ExportOverTcp",
            "This server does not export images over TCP. Its operator can turn it on: `[nbd] listen` in the configuration.",
        )
    })?;
    let token = service.export_tickets.issue(image.id).ok_or_else(|| {
        Refusal::quota(
            "LimitExceeded.Exports",
            "Too many exports are open at the moment. Try again in an hour.",
        )
    })?;
    Ok(Answer::Export { url: format!("nbd://{address}/{token}") })
}

pub(super) async fn stores(service: &Arc<Service>, caller: &Caller) -> Result<Answer, Refusal> {
    checks::require_operator(caller)?;
    let mut tx = service.catalog.read().await?;
    let mut summaries = Vec::new();
    for region in &service.config.regions {
        let totals = tx.store_totals(&region.id).await?;
        summaries.push(StoreSummary {
            region: region.id.clone(),
            stored_bytes: totals.live_pack_bytes + totals.condemned_pack_bytes + totals.live_manifest_bytes,
            packs: totals.live_packs + totals.condemned_packs,
            manifests: totals.live_manifests,
            logical_bytes: totals.disk_bytes,
        });
    }
    Ok(Answer::Stores(summaries))
}
