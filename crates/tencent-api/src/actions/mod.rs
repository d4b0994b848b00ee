//! Every action of every service, in one table: what it is called, what it takes, what it means, how it is answered.
//!
//! Whether an action changes anything is asked of the command that it becomes ([`Command::changes`]), so that it is
//! decided in one place. Not here: carrying anything out.

mod accounts;
mod disks;
mod images;
mod instances;
mod key_pairs;
mod kiln;
mod launch;
mod market;
mod prices;
mod public_images;
mod snapshots;
pub(crate) mod tags;
mod usage;

use kiln_service::{AccountCommand, Answer, Caller, Command};

use crate::envelope::Object;
use crate::error::{Error, shortened};
use crate::parameter::{Arguments, Parameter};
use crate::render::{
    accepted, account, disk, image, instance, instance_type, key_pair, limits, market as render_market,
    message, operation, place, price, snapshot, tag, task, usage as render_usage,
};

/// A service and its one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceVersion {
    /// The name in credential scopes and host names.
    pub(crate) service: &'static str,
    /// The version's date.
    pub(crate) version: &'static str,
}

const CVM: ServiceVersion = ServiceVersion { service: "cvm", version: "2017-03-12" };
const CBS: ServiceVersion = ServiceVersion { service: "cbs", version: "2017-03-12" };
const TAG: ServiceVersion = ServiceVersion { service: "tag", version: "2018-08-13" };
const STS: ServiceVersion = ServiceVersion { service: "sts", version: "2018-08-13" };
const KILN: ServiceVersion = ServiceVersion { service: "kiln", version: "2026-11-01" };
const SERVICES: [ServiceVersion; 5] = [CVM, CBS, TAG, STS, KILN];

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
    /// How the request came here.
    pub(crate) reached: Reached<'a>,
}

/// How a request came to the server, and so how another can.
#[derive(Clone, Copy)]
pub(crate) struct Reached<'a> {
    /// The `Host` header.
    pub(crate) host: &'a str,
    pub(crate) tls: bool,
}

/// What an action does to what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It only looks.
    Read,
    /// It can change something; who may look only is refused.
    Change,
}

/// An action.
pub(crate) struct Action {
    /// The service it is of.
    pub(crate) of: ServiceVersion,
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

impl Action {
    /// By the public API's own convention, the name says it; a test holds every command to it.
    pub(crate) fn access(&self) -> Access {
        let reads = ["Describe", "Get", "Inquiry"].iter().any(|verb| self.name.starts_with(verb));
        if reads { Access::Read } else { Access::Change }
    }
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
    action(CVM, "DescribeAccountQuota", Needed, instances::QUOTA, instances::quota, limits::quota),
    action(CVM, "ImportImage", Needed, images::IMPORT, images::import, accepted::image),
    action(CVM, "CreateImage", Needed, images::CREATE, images::create, accepted::image),
    action(CVM, "SyncImages", Needed, images::SYNC, images::sync, accepted::copies),
    action(CVM, "ExportImages", Needed, images::EXPORT, images::export, accepted::export),
    action(CVM, "DescribeImages", Needed, images::DESCRIBE, images::describe, image::list),
    action(CVM, "DescribeImageFromFamily", Needed, images::FAMILY, images::from_family, image::from_family),
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
    action(CVM, "DescribeInstanceVncUrl", Needed, instances::SCREEN, instances::screen, instance::screen),
    action(CVM, "ModifyInstancesAttribute", Needed, instances::MODIFY, instances::modify, accepted::nothing),
    action(CVM, "DescribeInstancesAttributes", Needed, instances::ATTRIBUTES, instances::attributes, instance::attributes),
    action(CVM, "ResetInstancesPassword", Needed, instances::PASSWORD, instances::reset_password, accepted::nothing),
    action(CVM, "ResetInstance", Needed, instances::RESET, instances::reset, accepted::nothing),
    action(CVM, "AssociateInstancesKeyPairs", Needed, instances::KEY_PAIRS, instances::associate, accepted::nothing),
    action(CVM, "DisassociateInstancesKeyPairs", Needed, instances::KEY_PAIRS, instances::disassociate, accepted::nothing),
    action(CVM, "DescribeInstanceTypeConfigs", Needed, instances::TYPES, instances::types, instance_type::configs),
    action(CVM, "DescribeInstanceFamilyConfigs", Needed, &[], instances::types, instance_type::families),
    action(CVM, "DescribeZoneInstanceConfigInfos", Needed, instances::TYPES, instances::types, instance_type::offers),
    action(CVM, "InquiryPriceRunInstances", Needed, prices::RUN, prices::run, price::quote),
    action(CVM, "InquiryPriceResetInstance", Needed, prices::RESET, prices::reset, price::quote),
    action(CVM, "CreateKeyPair", Needed, key_pairs::CREATE, key_pairs::create, key_pair::created),
    action(CVM, "ImportKeyPair", Needed, key_pairs::IMPORT, key_pairs::import, key_pair::imported),
    action(CVM, "ModifyKeyPairAttribute", Needed, key_pairs::MODIFY, key_pairs::modify, accepted::nothing),
    action(CVM, "DescribeKeyPairs", Needed, key_pairs::DESCRIBE, key_pairs::describe, key_pair::list),
    action(CVM, "DeleteKeyPairs", Needed, key_pairs::DELETE, key_pairs::delete, accepted::nothing),
    action(CBS, "CreateDisks", Needed, disks::CREATE, disks::create, disk::created),
    action(CBS, "DescribeDisks", Needed, disks::DESCRIBE, disks::describe, disk::list),
    action(CBS, "AttachDisks", Needed, disks::ATTACH, disks::attach, accepted::nothing),
    action(CBS, "DetachDisks", Needed, disks::DETACH, disks::detach, accepted::nothing),
    action(CBS, "TerminateDisks", Needed, disks::TERMINATE, disks::terminate, accepted::nothing),
    action(CBS, "CreateSnapshot", Needed, snapshots::CREATE, snapshots::create, snapshot::accepted),
    action(CBS, "DescribeSnapshots", Needed, snapshots::DESCRIBE, snapshots::describe, snapshot::list),
    action(CBS, "DeleteSnapshots", Needed, snapshots::DELETE, snapshots::delete, accepted::nothing),
    action(TAG, "DescribeResourceTags", Unneeded, tags::DESCRIBE, tags::describe, tag::list),
    action(TAG, "ModifyResourceTags", Unneeded, tags::MODIFY, tags::modify, accepted::nothing),
    action(TAG, "TagResources", Unneeded, tags::TAG_RESOURCES, tags::tag, tag::failures),
    action(TAG, "UnTagResources", Unneeded, tags::UNTAG_RESOURCES, tags::untag, tag::failures),
    action(STS, "GetCallerIdentity", Unneeded, &[], |_| Ok(Command::GetCallerIdentity), account::identity),
    action(KILN, "CreateAccount", Unneeded, accounts::CREATE_ACCOUNT, accounts::create_account, account::created),
    action(KILN, "DescribeAccounts", Unneeded, &[], |_| Ok(AccountCommand::DescribeAccounts.into()), account::list),
    action(KILN, "DescribeAccount", Unneeded, accounts::ACCOUNT, accounts::describe_account, account::one),
    action(KILN, "ModifyAccountContact", Unneeded, accounts::MODIFY_CONTACT, accounts::modify_contact, accepted::nothing),
    action(KILN, "CreateSubAccount", Unneeded, accounts::CREATE_SUB_ACCOUNT, accounts::create_sub_account, account::sub_account_created),
    action(KILN, "DescribeSubAccounts", Unneeded, accounts::ACCOUNT, accounts::describe_sub_accounts, account::sub_accounts),
    action(KILN, "ModifySubAccount", Unneeded, accounts::MODIFY_SUB_ACCOUNT, accounts::modify_sub_account, accepted::nothing),
    action(KILN, "DeleteSubAccount", Unneeded, accounts::DELETE_SUB_ACCOUNT, accounts::delete_sub_account, accepted::nothing),
    action(KILN, "ApplyForImportPermission", Unneeded, accounts::APPLY, accounts::apply, accepted::nothing),
    action(KILN, "DescribeImportApplications", Unneeded, accounts::APPLICATIONS, accounts::describe_applications, account::applications),
    action(KILN, "ModifyImportPermission", Unneeded, accounts::IMPORT_PERMISSION, accounts::import_permission, accepted::nothing),
    action(KILN, "DescribeLimits", Needed, accounts::ACCOUNT, accounts::describe_limits, limits::list),
    action(KILN, "ModifyAccountLimits", Unneeded, accounts::ACCOUNT_LIMITS, accounts::account_limits, accepted::nothing),
    action(KILN, "CreateApiKey", Unneeded, accounts::ACCOUNT, accounts::create_api_key, account::key),
    action(KILN, "DescribeApiKeys", Unneeded, accounts::ACCOUNT, accounts::describe_api_keys, account::keys),
    action(KILN, "ModifyApiKey", Unneeded, accounts::MODIFY_KEY, accounts::modify_api_key, accepted::nothing),
    action(KILN, "DeleteApiKey", Unneeded, accounts::DELETE_KEY, accounts::delete_api_key, accepted::nothing),
    action(KILN, "DescribeOperations", Unneeded, accounts::DESCRIBE_OPERATIONS, accounts::describe_operations, operation::list),
    action(KILN, "DescribeMessages", Unneeded, accounts::DESCRIBE_MESSAGES, accounts::describe_messages, message::list),
    action(KILN, "DescribeActions", Unneeded, &[], |_| Ok(Command::DescribeActions), operation::actions),
    action(KILN, "DescribeTasks", Unneeded, kiln::DESCRIBE_TASKS, kiln::describe_tasks, task::list),
    action(KILN, "CancelTask", Unneeded, kiln::CANCEL_TASK, kiln::cancel_task, accepted::nothing),
    action(KILN, "DescribeImageReport", Needed, images::SHARES, images::report, image::report),
    action(KILN, "PublishImage", Needed, public_images::PUBLISH, public_images::publish, accepted::copies),
    action(KILN, "WithdrawImage", Needed, public_images::WITHDRAW, public_images::withdraw, accepted::nothing),
    action(KILN, "ModifyImageComponents", Needed, public_images::COMPONENTS, public_images::modify_components, accepted::nothing),
    action(KILN, "DescribeImageComponents", Needed, images::SHARES, public_images::components, image::components),
    action(KILN, "ModifyImageFee", Needed, prices::IMAGE_FEE, prices::image_fee, accepted::nothing),
    action(KILN, "ApplyForProvider", Unneeded, market::APPLY, market::apply, accepted::nothing),
    action(KILN, "DescribeProviders", Unneeded, market::PROVIDERS, market::describe_providers, render_market::providers),
    action(KILN, "ModifyProvider", Unneeded, market::MODIFY_PROVIDER, market::modify_provider, accepted::nothing),
    action(KILN, "SubmitListing", Needed, market::SUBMIT, market::submit, render_market::submitted),
    action(KILN, "DescribeListings", Needed, market::LISTINGS, market::describe_listings, render_market::listings),
    action(KILN, "ReviewListing", Unneeded, market::REVIEW, market::review, accepted::nothing),
    action(KILN, "WithdrawListing", Unneeded, market::WITHDRAW, market::withdraw, accepted::nothing),
    action(KILN, "DescribeUsage", Unneeded, usage::REPORT, usage::usage, render_usage::usage),
    action(KILN, "DescribeEarnings", Unneeded, usage::REPORT, usage::earnings, render_usage::earnings),
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
