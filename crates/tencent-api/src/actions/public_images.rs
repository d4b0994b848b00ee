//! What the actions on images for everybody take and mean.

use kiln_model::{Components, RegionId};
use kiln_service::{Command, PublicImageCommand, PublishImage, WithdrawImage};

use super::images::IMAGE_ID;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};

/// Without `DestinationRegions`, the image becomes public where it is.
pub(super) const PUBLISH: &[Parameter] = &[
    required("ImageId", Kind::Text),
    optional("DestinationRegions", Kind::Texts),
    optional("ImageName", Kind::Text),
    optional("ImageDescription", Kind::Text),
    optional("ImageFamily", Kind::Text),
    optional("DryRun", Kind::Flag),
];

pub(super) fn publish(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::PublicImage(PublicImageCommand::Publish(PublishImage {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        destinations: arguments.texts("DestinationRegions").iter().map(RegionId::from_trusted).collect(),
        name: arguments.text("ImageName"),
        description: arguments.text("ImageDescription"),
        family: arguments.text("ImageFamily"),
        dry_run: arguments.flag("DryRun"),
    })))
}

pub(super) const WITHDRAW: &[Parameter] = &[required("ImageId", Kind::Text), optional("DryRun", Kind::Flag)];

pub(super) fn withdraw(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::PublicImage(PublicImageCommand::Withdraw(WithdrawImage {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        dry_run: arguments.flag("DryRun"),
    })))
}

/// What is not named is not got any more.
pub(super) const COMPONENTS: &[Parameter] =
    &[required("ImageId", Kind::Text), optional("Packages", Kind::Texts), optional("Script", Kind::Text)];

pub(super) fn modify_components(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::PublicImage(PublicImageCommand::ModifyComponents {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        components: Components {
            packages: arguments.texts("Packages").to_vec(),
            script: arguments.text("Script").filter(|script| !script.is_empty()),
        },
    }))
}

pub(super) fn components(arguments: &Arguments) -> Result<Command, Error> {
    let image = arguments.required_id("ImageId", IMAGE_ID)?;
    Ok(Command::PublicImage(PublicImageCommand::DescribeComponents { image }))
}
