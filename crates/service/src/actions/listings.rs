//! SubmitListing, DescribeListings, ReviewListing, WithdrawListing: the way of an image into the marketplace and out.
//!
//! While an image waits for its review it is shared with the operator, who reads its report and launches from it. What is
//! published is a copy, as public images are, but in its provider's scope and name; a new price or description of it is
//! submitted and reviewed like the image was.

use std::sync::Arc;

use kiln_catalog::{ListingQuery, Tx};
use kiln_model::{
    Image, ImageEvent, ImageId, ImageKind, ImageShare, Listing, ListingEvent, ListingId, ListingState, Role,
    Timestamp, Uin,
};

use super::commit_tasks;
use super::copies::begin_copy;
use super::providers::require_provider;
use crate::notifications::{self, Notice};
use crate::{
    Answer, Caller, DescribeListings, Listings, Refusal, ReviewListing, SeenListing, Service, SubmitListing,
    checks,
};

pub(super) async fn submit(
    service: &Arc<Service>,
    caller: &Caller,
    request: SubmitListing,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    let limits = service.limits_of(caller.account.uin).await?;
    request.name.as_deref().map_or(Ok(()), |name| checks::image_name(name, &limits))?;
    request.description.as_deref().map_or(Ok(()), |text| checks::image_description(text, &limits))?;
    let mut tx = service.catalog.write().await?;
    require_provider(&mut tx, caller).await?;
    let image = sellable_image(&mut tx, caller, &request.image).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let now = Timestamp::now();
    let listing = Listing {
        id: ListingId::random(),
        provider: caller.account.uin,
        region: image.region.clone(),
        image: image.id.clone(),
        market_image: (image.kind == ImageKind::Market).then(|| image.id.clone()),
        name: request.name.unwrap_or_else(|| image.name.clone()),
        description: request.description.unwrap_or_else(|| image.description.clone()),
        price: request.price,
        state: ListingState::Submitted,
        submitted_at: now,
        decided_at: None,
        answer: String::new(),
    };
    tx.insert_listing(&listing).await?;
    if let Some(operator) = tx.operator().await? {
        if image.kind == ImageKind::Custom {
            begin_review(&mut tx, &listing, operator.uin).await?;
        }
        notifications::tell(service, &mut tx, operator.uin, Notice::listing_submitted(&listing)).await?;
    }
    tx.commit().await?;
    Ok(Answer::ListingAccepted(listing.id))
}

/// A custom image of the provider's that is the provider's alone, was inspected and does not wait already; or one that it
/// sells.
async fn sellable_image(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Image, Refusal> {
    let (image, _) = checks::visible_image(tx, caller, id).await?;
    if image.owner != caller.account.uin {
        return Err(Refusal::denied(
            "UnauthorizedOperation.ImageNotBelongToAccount",
            format!("Image {id} is not yours. Submit an image of your own."),
        ));
    }
    checks::image_is_normal(&image)?;
    checks::may_be_for_everybody(tx, &image, "be sold").await?;
    if tx.image_report(id).await?.is_none() {
        return Err(Refusal::conflict(
            "UnsupportedOperation.ImageNotInspected",
            format!("Image {id} was never inspected. Make it anew from an instance, or import it again."),
        ));
    }
    if let Some(waiting) = tx.submitted_listing(id).await? {
        return Err(Refusal::conflict(
            "FailedOperation.ListingPending",
            format!(
                "Image {id} waits for its review already, as {}. Withdraw that to change it.",
                waiting.id
            ),
        ));
    }
    Ok(image)
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeListings,
) -> Result<Answer, Refusal> {
    let is_operator = caller.account.role == Role::Operator;
    let query = ListingQuery {
        region: caller.region.clone(),
        viewer: (!is_operator).then_some(caller.account.uin),
        ids: request.listings,
        state: request.state,
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
    };
    let mut tx = service.catalog.read().await?;
    let (found, total) = tx.listings(&query).await?;
    let mut listings = Vec::with_capacity(found.len());
    for listing in found {
        let provider_name = tx.provider(listing.provider).await?.map(|provider| provider.name);
        let text = tx.image_report(listing.market_image.as_ref().unwrap_or(&listing.image)).await?;
        listings.push(SeenListing {
            with_review: is_operator || listing.provider == caller.account.uin,
            provider_name: provider_name.unwrap_or_default(),
            report: text.map(|text| serde_json::from_str(&text)).transpose().map_err(Refusal::internal)?,
            listing,
        });
    }
    Ok(Answer::Listings(Listings { listings, total }))
}

pub(super) async fn review(
    service: &Arc<Service>,
    caller: &Caller,
    request: ReviewListing,
) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    checks::short_text("Reasons", &request.reasons, checks::MAX_TEXT_CHARS)?;
    if !request.publish && request.reasons.trim().is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameterValue",
            "Reasons is empty. Say what the provider has to change.",
        ));
    }
    let mut tx = service.catalog.write().await?;
    let mut listing = listing(&mut tx, &request.listing).await?;
    is_submitted(&listing)?;
    let now = Timestamp::now();
    listing.answer = request.reasons;
    let event = if request.publish { ListingEvent::Published } else { ListingEvent::Returned };
    if request.publish {
        publish(&mut tx, caller, &mut listing, now).await?;
    }
    end_review(&mut tx, &listing).await?;
    listing.state = tx.transition_listing(&listing, event, now).await?;
    notifications::tell(service, &mut tx, listing.provider, Notice::listing_decided(&listing)).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

/// Makes a submitted image one for everybody; of one that is sold already, the new listing takes the old one's place.
async fn publish(tx: &mut Tx, caller: &Caller, listing: &mut Listing, now: Timestamp) -> Result<(), Refusal> {
    let source = tx.image(&listing.image).await?;
    let source = source.ok_or_else(|| Refusal::internal(format!("image {} has no row", listing.image)))?;
    checks::image_is_normal(&source)?;
    let image = match source.kind {
        ImageKind::Market => {
            if let Some(former) = tx.published_listing(&source.id).await? {
                tx.transition_listing(&former, ListingEvent::Replaced, now).await?;
            }
            let changed =
                Image { name: listing.name.clone(), description: listing.description.clone(), ..source };
            tx.set_image_attributes(&changed).await?;
            changed.id
        }
        ImageKind::Custom | ImageKind::Public => {
            let copy = begin_copy(tx, listing.provider, &caller.request_id, &source, &source.region).await?;
            let image = Image {
                kind: ImageKind::Market,
                name: listing.name.clone(),
                description: listing.description.clone(),
                family: String::new(),
                deprecated: false,
                fee_of: None,
                ..copy
            };
            tx.insert_image(&image).await?;
            image.id
        }
    };
    tx.set_image_fee(&image, listing.price).await?;
    tx.reprice_usage(&image, listing.price, now).await?;
    listing.market_image = Some(image);
    Ok(())
}

/// Lets the operator see a submitted image. A share of the very moment of the submission is one for the review only.
async fn begin_review(tx: &mut Tx, listing: &Listing, operator: Uin) -> Result<(), Refusal> {
    if !tx.is_shared_with(&listing.image, operator).await? {
        let shared_at = listing.submitted_at;
        tx.insert_share(&ImageShare { image: listing.image.clone(), account: operator, shared_at }).await?;
    }
    Ok(())
}

/// The operator no longer sees an image that it saw for its review only.
async fn end_review(tx: &mut Tx, listing: &Listing) -> Result<(), Refusal> {
    let Some(operator) = tx.operator().await? else { return Ok(()) };
    let shares = tx.shares_of(&listing.image).await?;
    let for_review =
        |share: &ImageShare| share.account == operator.uin && share.shared_at == listing.submitted_at;
    if shares.iter().any(for_review) {
        tx.delete_share(&listing.image, operator.uin).await?;
    }
    Ok(())
}

pub(super) async fn withdraw(
    service: &Arc<Service>,
    caller: &Caller,
    id: &ListingId,
    reason: String,
) -> Result<Answer, Refusal> {
    checks::require_main(caller)?;
    checks::short_text("Reason", &reason, checks::MAX_TEXT_CHARS)?;
    let mut tx = service.catalog.write().await?;
    let is_operator = caller.account.role == Role::Operator;
    let mut listing = listing(&mut tx, id).await?;
    if !is_operator && listing.provider != caller.account.uin {
        // What others submitted is seen once it is published only.
        return Err(match listing.state {
            ListingState::Published => Refusal::denied(
                "UnauthorizedOperation",
                format!("Listing {id} is not yours. Its provider and the operator can withdraw it."),
            ),
            _ => no_listing(id),
        });
    }
    let now = Timestamp::now();
    match listing.state {
        ListingState::Submitted => end_review(&mut tx, &listing).await?,
        ListingState::Published => take_from_sale(&mut tx, &listing, now).await?,
        ListingState::Returned | ListingState::Withdrawn | ListingState::Replaced => {
            return Err(Refusal::conflict(
                "FailedOperation.ListingDecided",
                format!("Listing {id} is neither submitted nor published; there is nothing to withdraw."),
            ));
        }
    }
    listing.answer = reason;
    listing.state = tx.transition_listing(&listing, ListingEvent::Withdrawn, now).await?;
    if is_operator {
        notifications::tell(service, &mut tx, listing.provider, Notice::listing_decided(&listing)).await?;
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

/// Takes the image of a published listing back. Instances go on, at its fee; a change of it that waits is withdrawn, too.
async fn take_from_sale(tx: &mut Tx, listing: &Listing, now: Timestamp) -> Result<(), Refusal> {
    let Some(id) = &listing.market_image else { return Ok(()) };
    let image = tx.image(id).await?.ok_or_else(|| Refusal::internal(format!("image {id} has no row")))?;
    checks::image_is_made(&image)?;
    if let Some(waiting) = tx.submitted_listing(id).await? {
        tx.transition_listing(&waiting, ListingEvent::Withdrawn, now).await?;
    }
    tx.transition_image(id, ImageEvent::Deleted, None, now).await?;
    Ok(())
}

async fn listing(tx: &mut Tx, id: &ListingId) -> Result<Listing, Refusal> {
    tx.listing(id).await?.ok_or_else(|| no_listing(id))
}

fn no_listing(id: &ListingId) -> Refusal {
    Refusal::not_found(
        "InvalidListingId.NotFound",
        format!("There is no listing {id} that you can see. DescribeListings lists those that you can."),
    )
}

fn is_submitted(listing: &Listing) -> Result<(), Refusal> {
    if listing.state == ListingState::Submitted {
        return Ok(());
    }
    Err(Refusal::conflict(
        "FailedOperation.ListingDecided",
        format!("Listing {} does not wait for a review any more.", listing.id),
    ))
}
