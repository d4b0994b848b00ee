//! Providers and listings.

use kiln_model::{ApplicationState, ListingState, Provider};
use kiln_service::{Answer, SeenListing};
use serde_json::{Value, json};

use super::image::report_shape;
use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// The listing that waits now.
pub(crate) fn submitted(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::ListingAccepted(listing) => members(json!({"ListingId": listing})),
        Answer::DryRunPassed => Ok(Object::new()),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// Those who sell images, or want to.
pub(crate) fn providers(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Providers(providers) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let providers: Vec<Value> = providers.iter().map(provider).collect();
    members(json!({"TotalCount": providers.len(), "ProviderSet": providers}))
}

fn provider(provider: &Provider) -> Value {
    json!({
        "Uin": provider.account.to_string(),
        "Name": provider.name,
        "Reason": provider.reason,
        "State": match provider.state {
            ApplicationState::Pending => "PENDING",
            ApplicationState::Granted => "ACCEPTED",
            ApplicationState::Refused => "REFUSED",
        },
        "AppliedTime": provider.applied_at.to_string(),
        "DecidedTime": provider.decided_at.map(|at| at.to_string()),
        "Answer": provider.answer,
    })
}

/// What is sold, and what waits or was decided.
pub(crate) fn listings(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Listings(page) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let listings: Vec<Value> = page.listings.iter().map(listing).collect();
    members(json!({"TotalCount": page.total, "ListingSet": listings}))
}

fn listing(seen: &SeenListing) -> Value {
    let listing = &seen.listing;
    let mut shape = json!({
        "ListingId": listing.id,
        // The image for everybody, once there is one.
        "ImageId": listing.market_image,
        "ImageName": listing.name,
        "ImageDescription": listing.description,
        "ProviderUin": listing.provider.to_string(),
        "ProviderName": seen.provider_name,
        "PerHour": listing.price.per_hour.to_string(),
        "PerMonth": listing.price.per_month.to_string(),
        "State": match listing.state {
            ListingState::Submitted => "SUBMITTED",
            ListingState::Published => "PUBLISHED",
            ListingState::Returned => "RETURNED",
            ListingState::Withdrawn => "WITHDRAWN",
            ListingState::Replaced => "REPLACED",
        },
        "Report": seen.report.as_ref().map(report_shape),
    });
    if seen.with_review {
        shape["SubmittedImageId"] = json!(listing.image);
        shape["SubmittedTime"] = json!(listing.submitted_at.to_string());
        shape["DecidedTime"] = json!(listing.decided_at.map(|at| at.to_string()));
        shape["Answer"] = json!(listing.answer);
    }
    shape
}
