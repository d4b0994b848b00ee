//! What the actions of Kiln's own service take and mean that are about accounts, keys, permissions, limits and the log.
//!
//! Sizes are in GiB, account numbers are text, as in the public API. A key is named by `TargetSecretId`, since
//! `SecretId` is the signer's with the older signatures; for the same reason nothing is called `Action` or `Region`.

use kiln_model::{ApplicationState, Contact, Limits, RegionId, SecretId, SubAccountRole, Timestamp, Uin};
use kiln_service::{
    AccountCommand, Command, CreateAccount, DescribeImportApplications, DescribeOperations,
    ModifyAccountContact, ModifyImportPermission, OperationOutcome,
};

use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};
use crate::render::GIB;

/// The error code for an account number of the wrong form.
const ACCOUNT_ID: &str = "InvalidAccountId.NotFound";
/// The error code for an address or number of the wrong form.
const CONTACT: &str = "InvalidParameterValue";
const ROLES: [(&str, SubAccountRole); 2] =
    [("FULL", SubAccountRole::Full), ("READ_ONLY", SubAccountRole::ReadOnly)];

pub(super) const CREATE_ACCOUNT: &[Parameter] = &[
    required("Nickname", Kind::Text),
    optional("AllowImport", Kind::Flag),
    optional("Email", Kind::Text),
    optional("Phone", Kind::Text),
];

pub(super) fn create_account(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::CreateAccount(CreateAccount {
        nickname: arguments.required_text("Nickname")?,
        may_import: arguments.flag("AllowImport"),
        contact: Contact {
            email: arguments.id("Email", CONTACT)?,
            phone: arguments.id("Phone", CONTACT)?,
            ..Contact::default()
        },
    })
    .into())
}

/// Without `Uin`, the caller's own.
pub(super) const ACCOUNT: &[Parameter] = &[optional("Uin", Kind::Text)];

fn account(arguments: &Arguments) -> Result<Option<Uin>, Error> {
    arguments.id("Uin", ACCOUNT_ID)
}

pub(super) fn describe_account(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DescribeAccount { account: account(arguments)? }.into())
}

pub(super) fn describe_limits(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DescribeLimits { account: account(arguments)? }.into())
}

/// What is not there stays, what is empty is removed.
pub(super) const MODIFY_CONTACT: &[Parameter] = &[
    optional("Uin", Kind::Text),
    optional("Email", Kind::Text),
    optional("Phone", Kind::Text),
    optional("NotifyByEmail", Kind::Flag),
    optional("NotifyBySms", Kind::Flag),
];

pub(super) fn modify_contact(arguments: &Arguments) -> Result<Command, Error> {
    let removed = |name: &str| arguments.text(name).is_some_and(|text| text.is_empty());
    Ok(AccountCommand::ModifyAccountContact(ModifyAccountContact {
        account: account(arguments)?,
        email: if removed("Email") { Some(None) } else { arguments.id("Email", CONTACT)?.map(Some) },
        phone: if removed("Phone") { Some(None) } else { arguments.id("Phone", CONTACT)?.map(Some) },
        notify_email: arguments.has("NotifyByEmail").then(|| arguments.flag("NotifyByEmail")),
        notify_sms: arguments.has("NotifyBySms").then(|| arguments.flag("NotifyBySms")),
    })
    .into())
}

pub(super) const CREATE_SUB_ACCOUNT: &[Parameter] =
    &[required("Name", Kind::Text), required("Role", Kind::Text)];

pub(super) fn create_sub_account(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::CreateSubAccount { name: arguments.required_text("Name")?, role: role(arguments)? }
        .into())
}

fn role(arguments: &Arguments) -> Result<SubAccountRole, Error> {
    let role = arguments.choice("Role", &ROLES)?;
    role.ok_or_else(|| Error::MissingParameter(arguments.path_of("Role")))
}

pub(super) fn describe_sub_accounts(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DescribeSubAccounts { account: account(arguments)? }.into())
}

pub(super) const MODIFY_SUB_ACCOUNT: &[Parameter] =
    &[required("Uin", Kind::Text), required("Role", Kind::Text)];

pub(super) fn modify_sub_account(arguments: &Arguments) -> Result<Command, Error> {
    let sub_account = arguments.required_id("Uin", ACCOUNT_ID)?;
    Ok(AccountCommand::ModifySubAccount { sub_account, role: role(arguments)? }.into())
}

pub(super) const DELETE_SUB_ACCOUNT: &[Parameter] = &[required("Uin", Kind::Text)];

pub(super) fn delete_sub_account(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DeleteSubAccount { sub_account: arguments.required_id("Uin", ACCOUNT_ID)? }.into())
}

pub(super) const APPLY: &[Parameter] = &[required("Reason", Kind::Text)];

pub(super) fn apply(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::ApplyForImportPermission { reason: arguments.required_text("Reason")? }.into())
}

pub(super) const APPLICATIONS: &[Parameter] =
    &[optional("State", Kind::Text), optional("Offset", Kind::Integer), optional("Limit", Kind::Integer)];

pub(super) fn describe_applications(arguments: &Arguments) -> Result<Command, Error> {
    let states = [
        ("PENDING", ApplicationState::Pending),
        ("GRANTED", ApplicationState::Granted),
        ("REFUSED", ApplicationState::Refused),
    ];
    Ok(AccountCommand::DescribeImportApplications(DescribeImportApplications {
        state: arguments.choice("State", &states)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })
    .into())
}

pub(super) const IMPORT_PERMISSION: &[Parameter] =
    &[required("Uin", Kind::Text), required("Allowed", Kind::Flag), optional("Answer", Kind::Text)];

pub(super) fn import_permission(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::ModifyImportPermission(ModifyImportPermission {
        account: arguments.required_id("Uin", ACCOUNT_ID)?,
        allowed: arguments.flag("Allowed"),
        answer: arguments.text("Answer").unwrap_or_default(),
    })
    .into())
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
    required("DisksPerRegion", Kind::Integer),
    required("SnapshotsPerRegion", Kind::Integer),
    required("RequestsPerSecond", Kind::Integer),
    required("ExportTasks", Kind::Integer),
];

/// Without `Limits`, the account has those of the configuration again.
pub(super) const ACCOUNT_LIMITS: &[Parameter] =
    &[required("Uin", Kind::Text), optional("Limits", Kind::Object(LIMITS))];

pub(super) fn account_limits(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::ModifyAccountLimits {
        account: arguments.required_id("Uin", ACCOUNT_ID)?,
        limits: arguments.object("Limits").map(limits).transpose()?,
    }
    .into())
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
        snapshots_per_region: given.required_u32("SnapshotsPerRegion")?,
        disks_per_region: given.required_u32("DisksPerRegion")?,
        requests_per_second: given.required_u32("RequestsPerSecond")?,
        export_tasks: given.required_u32("ExportTasks")?,
    })
}

pub(super) const DESCRIBE_OPERATIONS: &[Parameter] = &[
    // A main account and its sub-accounts.
    optional("AccountUin", Kind::Text),
    // Whoever did it itself.
    optional("ActorUin", Kind::Text),
    optional("ActionName", Kind::Text),
    optional("Subject", Kind::Text),
    optional("RegionName", Kind::Text),
    optional("Result", Kind::Text),
    optional("From", Kind::Text),
    optional("Until", Kind::Text),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn describe_operations(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DescribeOperations(DescribeOperations {
        account: arguments.id("AccountUin", ACCOUNT_ID)?,
        actor: arguments.id("ActorUin", ACCOUNT_ID)?,
        action: arguments.text("ActionName"),
        subject: arguments.text("Subject"),
        region: arguments.text("RegionName").map(RegionId::from_trusted),
        outcome: arguments.choice(
            "Result",
            &[
                ("SUCCEEDED", OperationOutcome::Succeeded),
                ("REFUSED", OperationOutcome::Refused),
                ("UNFINISHED", OperationOutcome::Unfinished),
            ],
        )?,
        from: time(arguments, "From")?,
        until: time(arguments, "Until")?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })
    .into())
}

pub(super) const DESCRIBE_MESSAGES: &[Parameter] =
    &[optional("Offset", Kind::Integer), optional("Limit", Kind::Integer)];

pub(super) fn describe_messages(arguments: &Arguments) -> Result<Command, Error> {
    let (offset, limit) = (arguments.integer("Offset").unwrap_or(0), arguments.integer("Limit"));
    Ok(AccountCommand::DescribeMessages { offset, limit }.into())
}

fn time(arguments: &Arguments, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(text) = arguments.text(name) else { return Ok(None) };
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| arguments.invalid(name, "it must be a time such as 2026-11-24T03:54:00Z".to_owned()))?;
    Ok(Some(Timestamp(time.as_millisecond())))
}

pub(super) fn create_api_key(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::CreateApiKey { account: account(arguments)? }.into())
}

pub(super) fn describe_api_keys(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DescribeApiKeys { account: account(arguments)? }.into())
}

pub(super) const MODIFY_KEY: &[Parameter] =
    &[required("TargetSecretId", Kind::Text), required("Enabled", Kind::Flag)];

pub(super) fn modify_api_key(arguments: &Arguments) -> Result<Command, Error> {
    let enabled = arguments.flag("Enabled");
    Ok(AccountCommand::ModifyApiKey { secret_id: target(arguments)?, enabled }.into())
}

pub(super) const DELETE_KEY: &[Parameter] = &[required("TargetSecretId", Kind::Text)];

pub(super) fn delete_api_key(arguments: &Arguments) -> Result<Command, Error> {
    Ok(AccountCommand::DeleteApiKey { secret_id: target(arguments)? }.into())
}

/// Keys have no form that must be kept to; whether there is such a one, the service looks up.
fn target(arguments: &Arguments) -> Result<SecretId, Error> {
    arguments.required_text("TargetSecretId").map(SecretId::from_trusted)
}
