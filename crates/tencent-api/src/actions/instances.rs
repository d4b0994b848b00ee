//! What the actions on instances take and mean, except launching.

use kiln_model::StopMode;
use kiln_service::{
    Command, DescribeInstances, GuestCommand, ModifyInstancesAttribute, ModifyInstancesKeyPairs,
    PriceCommand, ResetInstance, ResetInstancesPassword,
};

use super::images::{FILTER, IMAGE_ID, filters};
use super::key_pairs::KEY_PAIR_ID;
use super::launch;
use crate::error::{Error, shortened};
use crate::parameter::{Arguments, Kind, Parameter, harmless, only, optional, refused, refused_as, required};

/// The error code for an instance id of the wrong form.
pub(super) const INSTANCE_ID: &str = "InvalidInstanceId.Malformed";

const STOP_TYPES: &[(&str, StopMode)] =
    &[("SOFT", StopMode::Soft), ("SOFT_FIRST", StopMode::SoftFirst), ("HARD", StopMode::Hard)];

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("InstanceIds", Kind::Texts),
    optional("Filters", Kind::Objects(FILTER)),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) const STATUS: &[Parameter] = &[
    optional("InstanceIds", Kind::Texts),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeInstances(DescribeInstances {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        filters: filters(arguments)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    }))
}

pub(super) const QUOTA: &[Parameter] = &[optional("Filters", Kind::Objects(FILTER))];

pub(super) fn quota(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeAccountQuota { filters: filters(arguments)? })
}

pub(super) const START: &[Parameter] = &[required("InstanceIds", Kind::Texts)];

pub(super) fn start(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::StartInstances { instances: arguments.ids("InstanceIds", INSTANCE_ID)? })
}

pub(super) const STOP: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    optional("ForceStop", Kind::Flag),
    optional("StopType", Kind::Text),
    // Nothing is charged for a stopped instance in either mode.
    harmless("StoppedMode", Kind::Text),
];

pub(super) fn stop(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::StopInstances {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        stop: stop_mode(arguments, "ForceStop")?,
    })
}

pub(super) const REBOOT: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    optional("ForceReboot", Kind::Flag),
    optional("StopType", Kind::Text),
];

pub(super) fn reboot(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::RebootInstances {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        stop: stop_mode(arguments, "ForceReboot")?,
    })
}

/// `StopType`, or the older flag in its place: force where asking did not help.
fn stop_mode(arguments: &Arguments, force: &'static str) -> Result<StopMode, Error> {
    match arguments.choice("StopType", STOP_TYPES)? {
        Some(_) if arguments.has(force) => Err(Error::ParameterCombination("StopType", force)),
        Some(mode) => Ok(mode),
        None if arguments.flag(force) => Ok(StopMode::SoftFirst),
        None => Ok(StopMode::Soft),
    }
}

pub(super) const TERMINATE: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    // There are no addresses, and no disks that were paid for in advance.
    harmless("ReleaseAddress", Kind::Flag),
    harmless("ReleasePrepaidDataDisks", Kind::Flag),
    // Not in the public definition, but every other destructive action has it.
    optional("DryRun", Kind::Flag),
];

pub(super) fn terminate(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::TerminateInstances {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        dry_run: arguments.flag("DryRun"),
    })
}

pub(super) const KEY_PAIRS: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    required("KeyIds", Kind::Texts),
    optional("ForceStop", Kind::Flag),
];

pub(super) fn associate(arguments: &Arguments) -> Result<Command, Error> {
    key_pairs(arguments, true)
}

pub(super) fn disassociate(arguments: &Arguments) -> Result<Command, Error> {
    key_pairs(arguments, false)
}

fn key_pairs(arguments: &Arguments, associate: bool) -> Result<Command, Error> {
    Ok(Command::Guest(GuestCommand::ModifyKeyPairs(ModifyInstancesKeyPairs {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        key_pairs: arguments.ids("KeyIds", KEY_PAIR_ID)?,
        associate,
        restart: arguments.flag("ForceStop"),
    })))
}

pub(super) const PASSWORD: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    required("Password", Kind::Text),
    optional("UserName", Kind::Text),
    optional("ForceStop", Kind::Flag),
];

pub(super) fn reset_password(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Guest(GuestCommand::ResetPassword(ResetInstancesPassword {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        user: arguments.text("UserName"),
        password: arguments.required_text("Password")?,
        restart: arguments.flag("ForceStop"),
    })))
}

pub(super) const SCREEN: &[Parameter] = &[required("InstanceId", Kind::Text)];

pub(super) fn screen(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeInstanceVncUrl { instance: arguments.required_id("InstanceId", INSTANCE_ID)? })
}

pub(super) const RESET: &[Parameter] = &[
    required("InstanceId", Kind::Text),
    optional("ImageId", Kind::Text),
    optional("SystemDisk", Kind::Object(launch::SYSTEM_DISK)),
    optional("LoginSettings", Kind::Object(launch::LOGIN)),
    optional("EnhancedService", Kind::Object(launch::ENHANCED)),
    optional("HostName", Kind::Text),
    optional("UserData", Kind::Text),
];

pub(super) fn reset(arguments: &Arguments) -> Result<Command, Error> {
    let login = arguments.object("LoginSettings");
    let key_pairs = login.map(|login| login.ids("KeyIds", KEY_PAIR_ID)).transpose()?;
    Ok(Command::Guest(GuestCommand::ResetInstance(ResetInstance {
        instance: arguments.required_id("InstanceId", INSTANCE_ID)?,
        image: arguments.id("ImageId", IMAGE_ID)?,
        hostname: arguments.text("HostName"),
        password: login.and_then(|login| login.text("Password")),
        key_pairs: key_pairs.unwrap_or_default(),
        user_data_base64: arguments.text("UserData"),
        security_service: launch::security_service(arguments),
        system_disk_gib: arguments.object("SystemDisk").and_then(|disk| disk.integer("DiskSize")),
    })))
}

const NO_ROLES: &str = "instances take no roles; leave it out";

pub(super) const MODIFY: &[Parameter] = &[
    required("InstanceIds", Kind::Texts),
    optional("InstanceName", Kind::Text),
    optional("UserData", Kind::Text),
    refused_as(
        "SecurityGroups",
        "InvalidSecurityGroupId.NotFound",
        "there are no security groups, so they would protect nothing; leave it out",
    ),
    refused("CamRoleName", NO_ROLES),
    optional("HostName", Kind::Text),
    only("DisableApiTermination", Kind::Flag, &["false"], "instances are not protected from termination"),
    refused("CamRoleType", NO_ROLES),
    optional("AutoReboot", Kind::Flag),
    only("EnableJumboFrame", Kind::Flag, &["false"], launch::NO_NETWORKS),
];

pub(super) fn modify(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Guest(GuestCommand::ModifyAttribute(ModifyInstancesAttribute {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
        name: arguments.text("InstanceName"),
        user_data_base64: arguments.text("UserData"),
        hostname: arguments.text("HostName"),
        restart: arguments.optional_flag("AutoReboot").unwrap_or(true),
    })))
}

pub(super) const ATTRIBUTES: &[Parameter] =
    &[required("Attributes", Kind::Texts), required("InstanceIds", Kind::Texts)];

pub(super) fn attributes(arguments: &Arguments) -> Result<Command, Error> {
    if let Some(other) = arguments.texts("Attributes").iter().find(|attribute| *attribute != "UserData") {
        let reason = format!("there is no attribute {:?}; the only one is UserData", shortened(other));
        return Err(arguments.invalid("Attributes", reason));
    }
    Ok(Command::Guest(GuestCommand::DescribeAttributes {
        instances: arguments.ids("InstanceIds", INSTANCE_ID)?,
    }))
}

pub(super) const TYPES: &[Parameter] = &[optional("Filters", Kind::Objects(FILTER))];

pub(super) fn types(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Price(PriceCommand::InstanceTypes { filters: filters(arguments)? }))
}
