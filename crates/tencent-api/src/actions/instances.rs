//! What the actions on instances take and mean, except launching.

use kiln_model::StopMode;
use kiln_service::{Command, DescribeInstances};

use super::images::{FILTER, filters};
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, harmless, optional, required};

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
    // There are neither addresses nor data disks of their own.
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
