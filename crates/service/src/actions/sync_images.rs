//! SyncImages: copies of one custom image in other regions; of one that is shared, in its own where the operator allows it.

use std::sync::Arc;

use kiln_catalog::{ImageView, Tx};
use kiln_model::{Image, ImageId, ImageKind, Limits, RegionId, Timestamp};

use super::commit_tasks;
use super::copies::{begin_copy, check_destinations};
use crate::{AcceptedCopy, Answer, Caller, Refusal, Service, SyncImages, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: SyncImages,
) -> Result<Answer, Refusal> {
    let [id] = request.images.as_slice() else {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("ImageIds has {} entries; one image is copied per call.", request.images.len()),
        ));
    };
    let limits = service.limits_of(caller.account.uin).await?;
    if let Some(name) = &request.name {
        checks::image_name(name, &limits)?;
    }
    check_destinations(service, caller, &request.destinations)?;
    let mut tx = service.catalog.write().await?;
    let (source, view) = checks::visible_image(&mut tx, caller, id).await?;
    match view {
        ImageView::Own => leaves_its_region(caller, &request.destinations)?,
        ImageView::Shared => shared_may_be_copied(service, caller, id, &request.destinations)?,
        ImageView::Public | ImageView::Market => {
            return Err(Refusal::invalid(
                "InvalidImageId.InstanceImageNotSupported",
                format!("Image {id} is not a custom image; only these can be copied."),
            ));
        }
    }
    checks::image_is_normal(&source)?;
    let mut copies = Vec::with_capacity(request.destinations.len());
    for destination in &request.destinations {
        copies.push(
            accept_copy(&mut tx, caller, &source, destination, request.name.as_deref(), &limits).await?,
        );
    }
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::CopiesAccepted(copies))
}

fn leaves_its_region(caller: &Caller, destinations: &[RegionId]) -> Result<(), Refusal> {
    if !destinations.contains(&caller.region) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "UnsupportedOperation.Region",
        format!("The image is in {} already. Name other regions.", caller.region),
    ))
}

fn shared_may_be_copied(
    service: &Service,
    caller: &Caller,
    id: &ImageId,
    destinations: &[RegionId],
) -> Result<(), Refusal> {
    if !service.config.copies_of_shared_images {
        return Err(Refusal::denied(
            "UnauthorizedOperation.ImageNotBelongToAccount",
            format!(
                "Image {id} is shared with you; a shared image cannot be copied here. Ask its owner to \
                 copy it, or the operator to allow copies."
            ),
        ));
    }
    if destinations.iter().all(|destination| *destination == caller.region) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "UnsupportedOperation.Region",
        format!("Image {id} is shared with you; its copy can be in {} only.", caller.region),
    ))
}

async fn accept_copy(
    tx: &mut Tx,
    caller: &Caller,
    source: &Image,
    destination: &RegionId,
    name: Option<&str>,
    limits: &Limits,
) -> Result<AcceptedCopy, Refusal> {
    let now = Timestamp::now();
    let name = name.unwrap_or(&source.name);
    checks::image_name_is_free(tx, &caller.account, destination, name).await?;
    checks::reserve_image(tx, &caller.account, destination, limits, now).await?;
    let copy = begin_copy(tx, caller.account.uin, &caller.request_id, source, destination).await?;
    let image = Image {
        owner: caller.account.uin,
        kind: ImageKind::Custom,
        name: name.to_owned(),
        fee_of: Some(tx.fee_of_descendants(source).await?),
        ..copy
    };
    tx.insert_image(&image).await?;
    Ok(AcceptedCopy { region: destination.clone(), image: image.id, task: image.task })
}
