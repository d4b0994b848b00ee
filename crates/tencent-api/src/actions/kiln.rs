//! What the actions of Kiln's own service take and mean that are about work and content. Those about accounts are in
//! `accounts.rs`.

use std::str::FromStr;

use kiln_model::{ParseIdError, TaskId};
use kiln_service::{Command, DescribeTasks, ExportTransport};

use super::images::IMAGE_ID;
use super::instances::INSTANCE_ID;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};

/// The error code for a task id of the wrong form.
const TASK_ID: &str = "InvalidParameterValue";

/// A task by its identifier, or by the number that the public API has for it.
struct NamedTask(TaskId);

impl FromStr for NamedTask {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: Option<u64> = text.parse().ok();
        number.and_then(TaskId::of_number).map_or_else(|| text.parse().map(Self), |task| Ok(Self(task)))
    }
}

pub(super) const DESCRIBE_TASKS: &[Parameter] =
    &[optional("TaskIds", Kind::Texts), optional("Offset", Kind::Integer), optional("Limit", Kind::Integer)];

pub(super) fn describe_tasks(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeTasks(DescribeTasks {
        tasks: arguments.ids("TaskIds", TASK_ID)?.into_iter().map(|NamedTask(task)| task).collect(),
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    }))
}

pub(super) const CANCEL_TASK: &[Parameter] = &[required("TaskId", Kind::Text)];

pub(super) fn cancel_task(arguments: &Arguments) -> Result<Command, Error> {
    let NamedTask(task) = arguments.required_id("TaskId", TASK_ID)?;
    Ok(Command::CancelTask { task })
}

pub(super) const OPEN_EXPORT: &[Parameter] =
    &[required("ImageId", Kind::Text), optional("Transport", Kind::Text)];

pub(super) fn open_export(arguments: &Arguments) -> Result<Command, Error> {
    let transports = [("UNIX", ExportTransport::Unix), ("TCP", ExportTransport::Tcp)];
    Ok(Command::OpenImageExport {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        transport: arguments.choice("Transport", &transports)?.unwrap_or(ExportTransport::Unix),
    })
}

pub(super) const CONNECTION: &[Parameter] = &[required("InstanceId", Kind::Text)];

pub(super) fn connection(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeInstanceConnection { instance: arguments.required_id("InstanceId", INSTANCE_ID)? })
}
