//! What the actions of Kiln's own service take and mean.
//!
//! Sizes are in GiB, account numbers are text, as in the public API. A key is named by `TargetSecretId`, since
//! `SecretId` is the signer's with the older signatures.

use kiln_model::{Limits, SecretId, Uin};
use kiln_service::{Command, DescribeTasks, ExportTransport};

use super::images::IMAGE_ID;
use super::instances::INSTANCE_ID;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};
use crate::render::GIB;

/// The error code for an account number of the wrong form.
const ACCOUNT_ID: &str = "InvalidAccountId.NotFound";
/// The error code for a task id of the wrong form.
const TASK_ID: &str = "InvalidParameterValue";

pub(super) const CREATE_ACCOUNT: &[Parameter] =
    &[required("Nickname", Kind::Text), optional("AllowImport", Kind::Flag)];

pub(super) fn create_account(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::CreateAccount {
        nickname: arguments.required_text("Nickname")?,
        may_import: arguments.flag("AllowImport"),
    })
}

pub(super) const IMPORT_PERMISSION: &[Parameter] =
    &[required("Uin", Kind::Text), required("Allowed", Kind::Flag)];

pub(super) fn import_permission(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::ModifyImportPermission {
        account: arguments.required_id("Uin", ACCOUNT_ID)?,
        allowed: arguments.flag("Allowed"),
    })
}

const LIMITS: &[Parameter] = &[
    required("ImagesPerRegion", Kind::Integer),
    // Not there: no bound.
    optional("ImageOperationsPerDay", Kind::Integer),
    required("SharesPerImage", Kind::Integer),
    required("SystemDiskSize", Kind::Integer),
    required("ImageNameLength", Kind::Integer),
    required("ImageDescriptionLength", Kind::Integer),
    required("InstancesPerRegion", Kind::Integer),
];

/// Without `Limits`, the account has those of the configuration again.
pub(super) const ACCOUNT_LIMITS: &[Parameter] =
    &[required("Uin", Kind::Text), optional("Limits", Kind::Object(LIMITS))];

pub(super) fn account_limits(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::ModifyAccountLimits {
        account: arguments.required_id("Uin", ACCOUNT_ID)?,
        limits: arguments.object("Limits").map(limits).transpose()?,
    })
}

fn limits(given: &Arguments) -> Result<Limits, Error> {
    Ok(Limits {
        images_per_region: given.required_u32("ImagesPerRegion")?,
        image_operations_per_day: given.optional_u32("ImageOperationsPerDay")?,
        shares_per_image: given.required_u32("SharesPerImage")?,
        // 32 bits of GiB always fit 64 bits of bytes.
        system_disk_bytes: u64::from(given.required_u32("SystemDiskSize")?) * GIB,
        image_name_chars: given.required_u32("ImageNameLength")?,
        image_description_chars: given.required_u32("ImageDescriptionLength")?,
        instances_per_region: given.required_u32("InstancesPerRegion")?,
    })
}

/// Without `Uin`, the caller's own.
pub(super) const KEYS_OF: &[Parameter] = &[optional("Uin", Kind::Text)];

fn account(arguments: &Arguments) -> Result<Option<Uin>, Error> {
    arguments.id("Uin", ACCOUNT_ID)
}

pub(super) fn create_api_key(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::CreateApiKey { account: account(arguments)? })
}

pub(super) fn describe_api_keys(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeApiKeys { account: account(arguments)? })
}

pub(super) const MODIFY_KEY: &[Parameter] =
    &[required("TargetSecretId", Kind::Text), required("Enabled", Kind::Flag)];

pub(super) fn modify_api_key(arguments: &Arguments) -> Result<Command, Error> {
    let enabled = arguments.flag("Enabled");
    Ok(Command::ModifyApiKey { secret_id: target(arguments)?, enabled })
}

pub(super) const DELETE_KEY: &[Parameter] = &[required("TargetSecretId", Kind::Text)];

pub(super) fn delete_api_key(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DeleteApiKey { secret_id: target(arguments)? })
}

/// Keys have no form that must be kept to; whether there is such a one, the service looks up.
fn target(arguments: &Arguments) -> Result<SecretId, Error> {
    arguments.required_text("TargetSecretId").map(SecretId::from_trusted)
}

pub(super) const DESCRIBE_TASKS: &[Parameter] =
    &[optional("TaskIds", Kind::Texts), optional("Offset", Kind::Integer), optional("Limit", Kind::Integer)];

pub(super) fn describe_tasks(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeTasks(DescribeTasks {
        tasks: arguments.ids("TaskIds", TASK_ID)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    }))
}

pub(super) const CANCEL_TASK: &[Parameter] = &[required("TaskId", Kind::Text)];

pub(super) fn cancel_task(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::CancelTask { task: arguments.required_id("TaskId", TASK_ID)? })
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
