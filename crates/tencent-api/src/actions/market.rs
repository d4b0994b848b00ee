//! What the actions on the marketplace take and mean.

use kiln_model::{ApplicationState, ListingState, Price};
use kiln_service::{Command, DescribeListings, MarketCommand, ModifyProvider, ReviewListing, SubmitListing};

use super::images::IMAGE_ID;
use super::prices::money;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};

const ACCOUNT_ID: &str = "InvalidAccountId.NotFound";
const LISTING_ID: &str = "InvalidListingId.Malformed";

pub(super) const APPLY: &[Parameter] = &[required("Name", Kind::Text), required("Reason", Kind::Text)];

pub(super) fn apply(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Market(MarketCommand::ApplyForProvider {
        name: arguments.required_text("Name")?,
        reason: arguments.required_text("Reason")?,
    }))
}

pub(super) const PROVIDERS: &[Parameter] = &[optional("State", Kind::Text)];

pub(super) fn describe_providers(arguments: &Arguments) -> Result<Command, Error> {
    let states = [
        ("PENDING", ApplicationState::Pending),
        ("ACCEPTED", ApplicationState::Granted),
        ("REFUSED", ApplicationState::Refused),
    ];
    Ok(Command::Market(MarketCommand::DescribeProviders { state: arguments.choice("State", &states)? }))
}

pub(super) const MODIFY_PROVIDER: &[Parameter] =
    &[required("Uin", Kind::Text), required("Accepted", Kind::Flag), optional("Answer", Kind::Text)];

pub(super) fn modify_provider(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Market(MarketCommand::ModifyProvider(ModifyProvider {
        account: arguments.required_id("Uin", ACCOUNT_ID)?,
        accepted: arguments.flag("Accepted"),
        answer: arguments.text("Answer").unwrap_or_default(),
    })))
}

/// Amounts are text, such as `0.12`, so that none is rounded on its way.
pub(super) const SUBMIT: &[Parameter] = &[
    required("ImageId", Kind::Text),
    required("PerHour", Kind::Text),
    required("PerMonth", Kind::Text),
    optional("ImageName", Kind::Text),
    optional("ImageDescription", Kind::Text),
    optional("DryRun", Kind::Flag),
];

pub(super) fn submit(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Market(MarketCommand::SubmitListing(SubmitListing {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        price: Price { per_hour: money(arguments, "PerHour")?, per_month: money(arguments, "PerMonth")? },
        name: arguments.text("ImageName"),
        description: arguments.text("ImageDescription"),
        dry_run: arguments.flag("DryRun"),
    })))
}

pub(super) const LISTINGS: &[Parameter] = &[
    optional("ListingIds", Kind::Texts),
    optional("State", Kind::Text),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn describe_listings(arguments: &Arguments) -> Result<Command, Error> {
    let states = [
        ("SUBMITTED", ListingState::Submitted),
        ("PUBLISHED", ListingState::Published),
        ("RETURNED", ListingState::Returned),
        ("WITHDRAWN", ListingState::Withdrawn),
        ("REPLACED", ListingState::Replaced),
    ];
    Ok(Command::Market(MarketCommand::DescribeListings(DescribeListings {
        listings: arguments.ids("ListingIds", LISTING_ID)?,
        state: arguments.choice("State", &states)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })))
}

pub(super) const REVIEW: &[Parameter] =
    &[required("ListingId", Kind::Text), required("Decision", Kind::Text), optional("Reasons", Kind::Text)];

pub(super) fn review(arguments: &Arguments) -> Result<Command, Error> {
    let missing = || Error::MissingParameter("Decision".to_owned());
    let decision = arguments.choice("Decision", &[("PUBLISH", true), ("RETURN", false)])?;
    Ok(Command::Market(MarketCommand::ReviewListing(ReviewListing {
        listing: arguments.required_id("ListingId", LISTING_ID)?,
        publish: decision.ok_or_else(missing)?,
        reasons: arguments.text("Reasons").unwrap_or_default(),
    })))
}

pub(super) const WITHDRAW: &[Parameter] =
    &[required("ListingId", Kind::Text), optional("Reason", Kind::Text)];

pub(super) fn withdraw(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Market(MarketCommand::WithdrawListing {
        listing: arguments.required_id("ListingId", LISTING_ID)?,
        reason: arguments.text("Reason").unwrap_or_default(),
    }))
}
