//! How copies of images begin, whatever they become: copies in other regions, public images, images that are sold.

use std::collections::HashSet;

use kiln_catalog::Tx;
use kiln_model::{Image, ImageId, ImageOrigin, ImageState, RegionId, TaskKind, Timestamp, Uin};

use super::enqueue_for;
use crate::{Caller, Refusal, Service};

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
