//! PublishImage and WithdrawImage: what the operator makes public, and takes back. ModifyImageComponents and
//! DescribeImageComponents: what guests of a public image get besides what is in it.
//!
//! A public image is a copy with an identifier of its own, also in the region of its source: its chunks are stored once
//! more, in the scope that everybody's images are deduplicated against.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{Components, Image, ImageEvent, ImageId, ImageKind, Price, RegionId, Timestamp};

use super::commit_tasks;
use super::copies::{begin_copy, check_destinations};
use crate::jobs::seed_components;
use crate::{
    AcceptedCopy, Answer, Caller, PublicImageCommand, PublishImage, Refusal, Service, WithdrawImage, checks,
};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: PublicImageCommand,
) -> Result<Answer, Refusal> {
    match command {
        PublicImageCommand::Publish(request) => publish(service, caller, request).await,
        PublicImageCommand::Withdraw(request) => withdraw(service, caller, request).await,
        PublicImageCommand::ModifyComponents { image, components } => {
            modify_components(service, caller, &image, &components).await
        }
        PublicImageCommand::DescribeComponents { image } => {
            let mut tx = service.catalog.read().await?;
            let (image, _) = checks::visible_image(&mut tx, caller, &image).await?;
            Ok(Answer::Components(tx.image_components(&image).await?))
        }
    }
}

async fn publish(service: &Arc<Service>, caller: &Caller, request: PublishImage) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    let limits = service.limits_of(caller.account.uin).await?;
    request.name.as_deref().map_or(Ok(()), |name| checks::image_name(name, &limits))?;
    request.description.as_deref().map_or(Ok(()), |text| checks::image_description(text, &limits))?;
    request.family.as_deref().map_or(Ok(()), checks::image_family)?;
    let here = [caller.region.clone()];
    let destinations =
        if request.destinations.is_empty() { &here[..] } else { request.destinations.as_slice() };
    check_destinations(service, caller, destinations)?;
    let mut tx = service.catalog.write().await?;
    let source = source(&mut tx, caller, &request.image).await?;
    checks::image_is_normal(&source)?;
    checks::may_be_for_everybody(&mut tx, &source, "be public").await?;
    let from_source = (tx.image_fee(&source).await?, tx.image_components(&source).await?);
    let mut accepted = Vec::with_capacity(destinations.len());
    for destination in destinations {
        accepted.push(accept(&mut tx, caller, &request, &source, &from_source, destination).await?);
    }
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::CopiesAccepted(accepted))
}

/// One of the operator's custom images, or of those that are public.
async fn source(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Image, Refusal> {
    let (image, _) = checks::visible_image(tx, caller, id).await?;
    if image.owner == caller.account.uin {
        return Ok(image);
    }
    Err(Refusal::denied(
        "UnauthorizedOperation.ImageNotBelongToAccount",
        format!("Image {id} is not yours. Publish an image of your own."),
    ))
}

/// Records a public image that is to be made, with the fee and the components of its source, and the task that makes it.
async fn accept(
    tx: &mut Tx,
    caller: &Caller,
    request: &PublishImage,
    source: &Image,
    (fee, components): &(Price, Components),
    destination: &RegionId,
) -> Result<AcceptedCopy, Refusal> {
    let name = request.name.as_ref().unwrap_or(&source.name);
    checks::public_name_is_free(tx, destination, name).await?;
    let copy = begin_copy(tx, caller.account.uin, &caller.request_id, source, destination).await?;
    let image = Image {
        kind: ImageKind::Public,
        name: name.clone(),
        description: request.description.as_ref().unwrap_or(&source.description).clone(),
        family: request.family.as_ref().unwrap_or(&source.family).clone(),
        deprecated: false,
        fee_of: None,
        ..copy
    };
    tx.insert_image(&image).await?;
    if *fee != Price::default() {
        tx.set_image_fee(&image.id, *fee).await?;
    }
    give_components(tx, &image, components).await?;
    Ok(AcceptedCopy { region: destination.clone(), image: image.id, task: image.task })
}

/// Names for a new public image what its guests get: what those of its source do, or else those of the newest version of
/// its family.
pub(super) async fn give_components(
    tx: &mut Tx,
    image: &Image,
    of_source: &Components,
) -> Result<(), Refusal> {
    if !of_source.is_empty() {
        tx.set_image_components(&image.id, of_source).await?;
    } else if image.facts.cloud_init {
        tx.carry_image_components(image).await?;
    }
    Ok(())
}

async fn withdraw(
    service: &Arc<Service>,
    caller: &Caller,
    request: WithdrawImage,
) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    let mut tx = service.catalog.write().await?;
    let (image, _) = checks::visible_image(&mut tx, caller, &request.image).await?;
    if image.kind != ImageKind::Public {
        return Err(Refusal::invalid(
            "InvalidImageId.NotSupported",
            format!(
                "Image {} is not public. DeleteImages deletes custom images, WithdrawListing ends what is sold.",
                image.id
            ),
        ));
    }
    checks::image_is_made(&image)?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    tx.transition_image(&image.id, ImageEvent::Deleted, None, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// Names what guests of a public image get from now on. Those that are launched already keep what they have.
async fn modify_components(
    service: &Arc<Service>,
    caller: &Caller,
    image: &ImageId,
    components: &Components,
) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    if let Err(error) = seed_components(components).check() {
        let why = match error {
            kiln_qemu::Error::Seed(why) => why,
            other => other.to_string(),
        };
        return Err(Refusal::invalid("InvalidParameterValue", format!("{why}.")));
    }
    let mut tx = service.catalog.write().await?;
    let (image, _) = checks::visible_image(&mut tx, caller, image).await?;
    if image.kind != ImageKind::Public {
        return Err(Refusal::invalid(
            "InvalidImageId.NotSupported",
            format!("Image {} is not public; only public images have components.", image.id),
        ));
    }
    if !image.facts.cloud_init && !components.is_empty() {
        return Err(Refusal::conflict(
            "UnsupportedOperation.NoCloudInit",
            format!(
                "Image {} has no cloud-init, which would install them. Put them into the image.",
                image.id
            ),
        ));
    }
    tx.set_image_components(&image.id, components).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// What guests of an image get that is launched now: what is named, where that is wanted; by default for public images.
pub(super) async fn wanted_components(
    tx: &mut Tx,
    image: &Image,
    security_service: Option<bool>,
) -> Result<Option<Components>, Refusal> {
    if !security_service.unwrap_or(image.kind == ImageKind::Public) || !image.facts.cloud_init {
        return Ok(None);
    }
    let components = tx.image_components(image).await?;
    Ok((!components.is_empty()).then_some(components))
}
