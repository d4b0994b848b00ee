//! Every action of every service, in one table: what it is called, what it takes, what it means, how it is answered.
//!
//! Whether an action changes anything is asked of the command that it becomes ([`Command::changes`]), so that it is
//! decided in one place. Not here: carrying anything out.

mod images;
mod instances;
mod key_pairs;
mod kiln;
mod launch;

use kiln_service::{Answer, Caller, Command};

use crate::envelope::Object;
use crate::error::{Error, shortened};
use crate::parameter::{Arguments, Parameter};
use crate::render::{accepted, account, image, instance, key_pair, place, task};

/// A service and its one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceVersion {
    /// The name in credential scopes and host names.
    pub(crate) service: &'static str,
    /// The version's date.
    pub(crate) version: &'static str,
}

const CVM: ServiceVersion = ServiceVersion { service: "cvm", version: "2017-03-12" };
const STS: ServiceVersion = ServiceVersion { service: "sts", version: "2018-08-13" };
const KILN: ServiceVersion = ServiceVersion { service: "kiln", version: "2026-11-01" };
const SERVICES: [ServiceVersion; 3] = [CVM, STS, KILN];

/// Whether an action works in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegionUse {
    /// The request must name one that exists.
    Needed,
    /// It need not, and one that does not exist is passed over.
    Unneeded,
}

/// What an answer is rendered from.
pub(crate) struct Rendering<'a> {
    /// What the service answered.
    pub(crate) answer: Answer,
    /// Who asked.
    pub(crate) caller: &'a Caller,
    /// What was asked.
    pub(crate) arguments: &'a Arguments,
}

/// An action.
pub(crate) struct Action {
    of: ServiceVersion,
    /// Such as `DescribeImages`.
    pub(crate) name: &'static str,
    /// Whether it works in a region.
    pub(crate) region: RegionUse,
    /// What it takes.
    pub(crate) parameters: &'static [Parameter],
    /// What it means.
    pub(crate) parse: fn(&Arguments) -> Result<Command, Error>,
    /// How it is answered.
    pub(crate) render: fn(Rendering<'_>) -> Result<Object, Error>,
}

type Parse = fn(&Arguments) -> Result<Command, Error>;
type Render = fn(Rendering<'_>) -> Result<Object, Error>;

const fn action(
    of: ServiceVersion,
    name: &'static str,
    region: RegionUse,
    parameters: &'static [Parameter],
    parse: Parse,
    render: Render,
) -> Action {
    Action { of, name, region, parameters, parse, render }
}

/// The table.
#[rustfmt::skip]
pub(crate) static ACTIONS: &[Action] = {
    use RegionUse::{Needed, Unneeded};
    &[
    action(CVM, "DescribeRegions", Unneeded, &[], |_| Ok(Command::DescribeRegions), place::regions),
    action(CVM, "DescribeZones", Needed, &[], |_| Ok(Command::DescribeZones), place::zones),
    action(CVM, "ImportImage", Needed, images::IMPORT, images::import, accepted::image),
    action(CVM, "CreateImage", Needed, images::CREATE, images::create, accepted::image),
    action(CVM, "SyncImages", Needed, images::SYNC, images::sync, accepted::copies),
    action(CVM, "DescribeImages", Needed, images::DESCRIBE, images::describe, image::list),
    action(CVM, "DescribeImageQuota", Needed, &[], |_| Ok(Command::DescribeImageQuota), image::quota),
    action(CVM, "ModifyImageAttribute", Needed, images::MODIFY, images::modify, accepted::nothing),
    action(CVM, "ModifyImageSharePermission", Needed, images::SHARE, images::share, accepted::nothing),
    action(CVM, "DescribeImageSharePermission", Needed, images::SHARES, images::shares, image::shares),
    action(CVM, "DescribeImportImageOs", Needed, &[], |_| Ok(Command::DescribeImportImageOs), image::import_systems),
    action(CVM, "DeleteImages", Needed, images::DELETE, images::delete, accepted::nothing),
    action(CVM, "RunInstances", Needed, launch::RUN, launch::run, accepted::instances),
    action(CVM, "DescribeInstances", Needed, instances::DESCRIBE, instances::describe, instance::list),
    action(CVM, "DescribeInstancesStatus", Needed, instances::STATUS, instances::describe, instance::states),
    action(CVM, "StartInstances", Needed, instances::START, instances::start, accepted::nothing),
    action(CVM, "StopInstances", Needed, instances::STOP, instances::stop, accepted::nothing),
    action(CVM, "RebootInstances", Needed, instances::REBOOT, instances::reboot, accepted::nothing),
    action(CVM, "TerminateInstances", Needed, instances::TERMINATE, instances::terminate, accepted::nothing),
    action(CVM, "ImportKeyPair", Needed, key_pairs::IMPORT, key_pairs::import, key_pair::imported),
    action(CVM, "DescribeKeyPairs", Needed, key_pairs::DESCRIBE, key_pairs::describe, key_pair::list),
    action(CVM, "DeleteKeyPairs", Needed, key_pairs::DELETE, key_pairs::delete, accepted::nothing),
    action(STS, "GetCallerIdentity", Unneeded, &[], |_| Ok(Command::GetCallerIdentity), account::identity),
    action(KILN, "CreateAccount", Unneeded, kiln::CREATE_ACCOUNT, kiln::create_account, account::created),
    action(KILN, "DescribeAccounts", Unneeded, &[], |_| Ok(Command::DescribeAccounts), account::list),
    action(KILN, "ModifyImportPermission", Unneeded, kiln::IMPORT_PERMISSION, kiln::import_permission, accepted::nothing),
    action(KILN, "ModifyAccountLimits", Unneeded, kiln::ACCOUNT_LIMITS, kiln::account_limits, accepted::nothing),
    action(KILN, "CreateApiKey", Unneeded, kiln::KEYS_OF, kiln::create_api_key, account::key),
    action(KILN, "DescribeApiKeys", Unneeded, kiln::KEYS_OF, kiln::describe_api_keys, account::keys),
    action(KILN, "ModifyApiKey", Unneeded, kiln::MODIFY_KEY, kiln::modify_api_key, accepted::nothing),
    action(KILN, "DeleteApiKey", Unneeded, kiln::DELETE_KEY, kiln::delete_api_key, accepted::nothing),
    action(KILN, "DescribeTasks", Unneeded, kiln::DESCRIBE_TASKS, kiln::describe_tasks, task::list),
    action(KILN, "CancelTask", Unneeded, kiln::CANCEL_TASK, kiln::cancel_task, accepted::nothing),
    action(KILN, "DescribeImageReport", Needed, images::SHARES, images::report, image::report),
    action(KILN, "OpenImageExport", Needed, kiln::OPEN_EXPORT, kiln::open_export, image::export),
    action(KILN, "DescribeInstanceConnection", Needed, kiln::CONNECTION, kiln::connection, instance::connection),
    action(KILN, "DescribeStores", Unneeded, &[], |_| Ok(Command::DescribeStores), place::stores),
    action(
        KILN,
        "DescribeObjectStorage",
        Unneeded,
        &[],
        |_| Ok(Command::DescribeObjectStorage),
        place::object_storage,
    ),
    ]
};

/// The action that a request means.
///
/// # Errors
/// No such service, version or action. A host such as `127.0.0.1` names no service: with the older signatures, which
/// have no credential scope, version and name decide then.
pub(crate) fn find(
    service: &str,
    service_is_signed: bool,
    version: &str,
    name: &str,
) -> Result<&'static Action, Error> {
    let Some(addressed) = SERVICES.iter().find(|known| known.service == service) else {
        let mut actions = ACTIONS.iter();
        return match actions.find(|action| action.of.version == version && action.name == name) {
            Some(action) if !service_is_signed => Ok(action),
            None if !service_is_signed => Err(Error::InvalidAction {
                service: "that was addressed".to_owned(),
                action: shortened(name),
            }),
            _ => Err(Error::NoSuchProduct(shortened(service))),
        };
    };
    if addressed.version != version {
        return Err(Error::NoSuchVersion {
            service: service.to_owned(),
            version: shortened(version),
            known: addressed.version,
        });
    }
    let found = ACTIONS.iter().find(|action| action.of == *addressed && action.name == name);
    found.ok_or_else(|| Error::InvalidAction { service: service.to_owned(), action: shortened(name) })
}

#[cfg(test)]
mod tests;
