//! What the questions about prices take and mean.
//!
//! A question takes what the launch that it is about takes, and also asks about months in advance.

use kiln_model::{Money, Price, ZoneId};
use kiln_service::{Command, InquirePriceResetInstance, InquirePriceRunInstances, PriceCommand};

use super::images::{IMAGE_ID, TAG_SPECIFICATION};
use super::instances::INSTANCE_ID;
use super::launch::{
    DATA_DISKS, ENHANCED, INTERNET, LOGIN, NO_HOSTS, NO_NETWORKS, PLACEMENT, PRIVATE_CLOUD, SYSTEM_DISK,
};
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, harmless, optional, refused, required};

const PREPAID: &[Parameter] = &[required("Period", Kind::Integer), harmless("RenewFlag", Kind::Text)];

pub(super) const RUN: &[Parameter] = &[
    required("Placement", Kind::Object(PLACEMENT)),
    required("ImageId", Kind::Text),
    optional("InstanceChargeType", Kind::Text),
    optional("InstanceChargePrepaid", Kind::Object(PREPAID)),
    optional("InstanceType", Kind::Text),
    // Disks and traffic are free.
    harmless("SystemDisk", Kind::Object(SYSTEM_DISK)),
    harmless("DataDisks", Kind::Objects(DATA_DISKS)),
    harmless("VirtualPrivateCloud", Kind::Object(PRIVATE_CLOUD)),
    harmless("InternetAccessible", Kind::Object(INTERNET)),
    optional("InstanceCount", Kind::Integer),
    harmless("InstanceName", Kind::Text),
    harmless("LoginSettings", Kind::Object(LOGIN)),
    harmless("SecurityGroupIds", Kind::Texts),
    harmless("EnhancedService", Kind::Object(ENHANCED)),
    harmless("ClientToken", Kind::Text),
    harmless("HostName", Kind::Text),
    harmless("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
    refused("InstanceMarketOptions", "there are no spot instances; leave it out"),
    refused("Metadata", "instances get no metadata of their own; leave it out"),
    refused("HpcClusterId", NO_HOSTS),
    refused("CpuTopology", "an instance's processors are set by its type; leave it out"),
    refused("LaunchTemplate", "there are no launch templates; name what they would contain"),
    refused("NetworkInterfaces", NO_NETWORKS),
];

pub(super) fn run(arguments: &Arguments) -> Result<Command, Error> {
    let charge_types = [("POSTPAID_BY_HOUR", false), ("PREPAID", true)];
    let in_advance = arguments.choice("InstanceChargeType", &charge_types)?.unwrap_or(false);
    let months = match (in_advance, arguments.object("InstanceChargePrepaid")) {
        (false, _) => None,
        (true, Some(prepaid)) => Some(prepaid.required_u32("Period")?),
        (true, None) => return Err(Error::MissingParameter("InstanceChargePrepaid".to_owned())),
    };
    let zone = arguments.object("Placement").and_then(|placement| placement.text("Zone"));
    Ok(Command::Price(PriceCommand::RunInstances(InquirePriceRunInstances {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        zone: zone.map(ZoneId::from_trusted),
        instance_type: arguments.text("InstanceType"),
        count: arguments.optional_u32("InstanceCount")?.unwrap_or(1),
        months,
    })))
}

pub(super) const RESET: &[Parameter] = &[
    required("InstanceId", Kind::Text),
    optional("ImageId", Kind::Text),
    harmless("SystemDisk", Kind::Object(SYSTEM_DISK)),
    harmless("LoginSettings", Kind::Object(LOGIN)),
    harmless("EnhancedService", Kind::Object(ENHANCED)),
    harmless("UserData", Kind::Text),
];

pub(super) fn reset(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Price(PriceCommand::ResetInstance(InquirePriceResetInstance {
        instance: arguments.required_id("InstanceId", INSTANCE_ID)?,
        image: arguments.id("ImageId", IMAGE_ID)?,
    })))
}

/// Amounts are text, such as `0.12`, so that none is rounded on its way.
pub(super) const IMAGE_FEE: &[Parameter] =
    &[required("ImageId", Kind::Text), required("PerHour", Kind::Text), required("PerMonth", Kind::Text)];

pub(super) fn image_fee(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Price(PriceCommand::ModifyImageFee {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        fee: Price { per_hour: money(arguments, "PerHour")?, per_month: money(arguments, "PerMonth")? },
    }))
}

pub(super) fn money(arguments: &Arguments, name: &str) -> Result<Money, Error> {
    let text = arguments.required_text(name)?;
    let amount = text.parse().ok().and_then(Money::of_units);
    amount.ok_or_else(|| {
        arguments.invalid(name, "it must be an amount such as 0.12, to four places".to_owned())
    })
}
