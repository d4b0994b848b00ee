//! SyncImages: copies of one custom image in other regions.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_catalog::{ImageView, Tx};
use kiln_model::{
    Image, ImageId, ImageKind, ImageOrigin, ImageState, Limits, RegionId, TaskKind, Timestamp, Uin,
};

use super::{commit_tasks, enqueue_for};
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
    if request.destinations.contains(&caller.region) {
        return Err(Refusal::invalid(
            "UnsupportedOperation.Region",
            format!("The image is in {} already. Name other regions.", caller.region),
        ));
    }
    check_destinations(service, caller, &request.destinations)?;
    let mut tx = service.catalog.write().await?;
    let (source, view) = checks::visible_image(&mut tx, caller, id).await?;
    match view {
        ImageView::Own => {}
        ImageView::Shared => {
            return Err(Refusal::denied(
                "UnauthorizedOperation.ImageNotBelongToAccount",
                format!(
                    "Image {id} is shared with you; a shared image cannot be copied. Ask its owner to copy it."
                ),
            ));
        }
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

/// That an image of the caller's region can be copied to each of the destinations. Within its region it always can.
pub(super) fn check_destinations(
    service: &Service,
    caller: &Caller,
    destinations: &[RegionId],
) -> Result<(), Refusal> {
    if destinations.is_empty() {
        return Err(Refusal::invalid(
            "MissingParameter",
            "DestinationRegions is empty. Name at least one region.",
        ));
    }
    let mut seen = HashSet::new();
    let unavailable = |region: &RegionId| {
        Refusal::conflict(
            "RegionAbilityLimit.UnsupportedToSyncImage",
            format!("Images cannot be copied into or out of {region}."),
        )
    };
    for destination in destinations {
        let Some(region) = service.region(destination) else {
            return Err(Refusal::not_found(
                "InvalidRegion.NotFound",
                format!("There is no region {destination}. DescribeRegions lists those there are."),
            ));
        };
        if *destination != caller.region {
            let here = service.region(&caller.region).filter(|here| here.copying);
            here.ok_or_else(|| unavailable(&caller.region))?;
            if !region.copying {
                return Err(unavailable(destination));
            }
        }
        if !seen.insert(destination) {
            return Err(Refusal::invalid(
                "InvalidParameterValue.Duplicate",
                format!("DestinationRegions names {destination} twice."),
            ));
        }
    }
    Ok(())
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

/// An image as its copy in a region will be, and the task that makes it. Whose and what kind it is, and what it is called,
/// the caller says before it is recorded.
pub(super) async fn begin_copy(
    tx: &mut Tx,
    owner: Uin,
    request_id: &str,
    source: &Image,
    destination: &RegionId,
) -> Result<Image, Refusal> {
    let id = ImageId::random();
    let kind = TaskKind::CopyImage {
        image: id.clone(),
        source: source.id.clone(),
        source_region: source.region.clone(),
    };
    Ok(Image {
        id,
        region: destination.clone(),
        state: ImageState::Syncing,
        origin: ImageOrigin::Copy { image: source.id.clone(), region: source.region.clone() },
        disks: Vec::new(),
        task: enqueue_for(tx, owner, request_id, destination, kind).await?,
        failure: None,
        created_at: Timestamp::now(),
        ..source.clone()
    })
}
