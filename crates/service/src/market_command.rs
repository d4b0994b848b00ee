//! Commands on the marketplace, and what they answer.

use kiln_model::{ApplicationState, ImageId, Listing, ListingId, ListingState, Price, Provider, Uin};

use crate::policy::Report;

/// What is asked of the marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum MarketCommand {
    ApplyForProvider { name: String, reason: String },
    DescribeProviders { state: Option<ApplicationState> },
    ModifyProvider(ModifyProvider),
    SubmitListing(SubmitListing),
    DescribeListings(DescribeListings),
    ReviewListing(ReviewListing),
    WithdrawListing { listing: ListingId, reason: String },
}

impl MarketCommand {
    /// Whether carrying it out can change anything.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::DescribeProviders { .. } | Self::DescribeListings(_))
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        match self {
            Self::ApplyForProvider { name, .. } => ("ApplyForProvider", name.clone()),
            Self::DescribeProviders { .. } => ("DescribeProviders", String::new()),
            Self::ModifyProvider(request) => ("ModifyProvider", request.account.to_string()),
            Self::SubmitListing(request) => ("SubmitListing", request.image.to_string()),
            Self::DescribeListings(_) => ("DescribeListings", String::new()),
            Self::ReviewListing(request) => ("ReviewListing", request.listing.to_string()),
            Self::WithdrawListing { listing, .. } => ("WithdrawListing", listing.to_string()),
        }
    }
}

/// Accepts an account as a provider, or does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyProvider {
    pub account: Uin,
    pub accepted: bool,
    /// What the account is told with it.
    pub answer: String,
}

/// Submits an image for sale, or, of an image that is sold, another price and description.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SubmitListing {
    pub image: ImageId,
    pub price: Price,
    /// What it is called in the marketplace; as the image is, where absent.
    pub name: Option<String>,
    pub description: Option<String>,
    pub dry_run: bool,
}

/// Lists what is sold and what the caller submitted; for the operator everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeListings {
    pub listings: Vec<ListingId>,
    pub state: Option<ListingState>,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// Decides about a listing that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ReviewListing {
    pub listing: ListingId,
    /// Whether it is published; it is sent back otherwise.
    pub publish: bool,
    /// What the provider is told with it: the reasons, where it is sent back.
    pub reasons: String,
}

/// A listing as its viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenListing {
    /// The listing.
    pub listing: Listing,
    /// The name that its provider sells under.
    pub provider_name: String,
    /// Whether the viewer is told how the review went: its provider and the operator are.
    pub with_review: bool,
    /// What an inspection found in the image.
    pub report: Option<Report>,
}

/// A page of listings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Listings {
    pub listings: Vec<SeenListing>,
    pub total: u64,
}

/// Those who sell images, or want to.
pub type Providers = Vec<Provider>;
