//! One use case a file. This one leads each command to its own.

mod account_commands;
mod accounts;
mod attach_disks;
mod cbs_checks;
mod client_tokens;
mod copies;
mod create_image;
mod delete_images;
mod describe_images;
mod describe_instances;
mod disks;
mod export_images;
mod exports;
mod guest_settings;
mod image_report;
mod import_image;
mod import_permission;
mod instance_types;
mod key_pairs;
mod keys;
mod launch_disks;
mod limits;
mod listings;
mod messages;
mod modify_image;
mod object_storage;
mod operations;
mod power_instances;
mod prices;
mod providers;
mod public_images;
mod reset_instance;
mod run_instances;
mod screen;
mod share_image;
mod snapshots;
mod sub_accounts;
mod sync_images;
mod tags;
mod tasks;
mod usage;

pub use screen::OpenScreen;
pub(crate) use screen::{SCREEN_LIFE, ScreenTicket, open_screen};

use std::sync::Arc;

use kiln_catalog::{OperationEntry, Tx};
use kiln_model::{RegionId, Task, TaskId, TaskKind, TaskProgress, TaskState, Timestamp, Uin};

use crate::policy::supported_os;
use crate::{Answer, Caller, Command, Identity, MarketCommand, Refusal, Service, checks};

/// Carries out a command.
pub(crate) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: Command,
) -> Result<Answer, Refusal> {
    checks::may_change(caller, &command)?;
    match command {
        Command::DescribeRegions | Command::DescribeZones => {
            Ok(Answer::Regions(service.config.regions.clone()))
        }
        // The table of actions is the adapter's.
        Command::DescribeActions => Ok(Answer::Done),
        Command::GetCallerIdentity => Ok(Answer::Identity(Identity {
            account: caller.account.clone(),
            sub_account: caller.sub_account.clone(),
        })),
        Command::ImportImage(request) => import_image::perform(service, caller, request).await,
        Command::CreateImage(request) => create_image::perform(service, caller, request).await,
        Command::SyncImages(request) => sync_images::perform(service, caller, request).await,
        Command::ExportImages(request) => export_images::perform(service, caller, request).await,
        Command::DescribeImages(request) => describe_images::perform(service, caller, request).await,
        Command::DescribeImageFromFamily(family) => describe_images::newest(service, caller, &family).await,
        Command::DescribeImageQuota => describe_images::quota(service, caller).await,
        Command::ModifyImageAttribute(request) => modify_image::perform(service, caller, request).await,
        Command::ModifyImageSharePermission(request) => share_image::perform(service, caller, request).await,
        Command::DescribeImageSharePermission { image } => {
            share_image::describe(service, caller, &image).await
        }
        Command::DescribeImportImageOs => {
            Ok(Answer::ImportImageOs(supported_os(&service.config.import_policy)))
        }
        Command::DescribeImageReport { image } => image_report::perform(service, caller, image).await,
        Command::DeleteImages(request) => delete_images::perform(service, caller, request).await,
        Command::RunInstances(request) => run_instances::perform(service, caller, request).await,
        Command::DescribeInstances(request) => describe_instances::perform(service, caller, request).await,
        Command::DescribeInstanceConnection { instance } => {
            describe_instances::connection(service, caller, &instance).await
        }
        Command::DescribeInstanceVncUrl { instance } => screen::perform(service, caller, &instance).await,
        Command::StartInstances { instances } => power_instances::start(service, caller, &instances).await,
        Command::StopInstances { instances, stop } => {
            power_instances::stop(service, caller, &instances, stop).await
        }
        Command::RebootInstances { instances, stop } => {
            power_instances::reboot(service, caller, &instances, stop).await
        }
        Command::TerminateInstances { instances, dry_run } => {
            power_instances::terminate(service, caller, &instances, dry_run).await
        }
        Command::Snapshot(command) => snapshots::perform(service, caller, command).await,
        Command::Disk(command) => disks::perform(service, caller, command).await,
        Command::KeyPair(command) => key_pairs::perform(service, caller, command).await,
        Command::Guest(command) => guest_settings::perform(service, caller, command).await,
        Command::Price(command) => prices::perform(service, caller, command).await,
        Command::PublicImage(command) => public_images::perform(service, caller, command).await,
        Command::Tag(command) => tags::perform(service, caller, command).await,
        Command::Market(command) => market(service, caller, command).await,
        Command::Usage(command) => usage::perform(service, caller, command).await,
        Command::DescribeAccountQuota { filters } => limits::quota(service, caller, &filters).await,
        Command::Account(command) => account_commands::perform(service, caller, command).await,
        Command::DescribeTasks(request) => tasks::describe(service, caller, request).await,
        Command::CancelTask { task } => tasks::cancel(service, caller, &task).await,
        Command::OpenImageExport { image, transport } => {
            exports::open(service, caller, &image, transport).await
        }
        Command::DescribeStores => exports::stores(service, caller).await,
        Command::DescribeObjectStorage => object_storage::perform(service, caller).await,
    }
}

/// Leads each command on the marketplace to its use case.
async fn market(service: &Arc<Service>, caller: &Caller, command: MarketCommand) -> Result<Answer, Refusal> {
    match command {
        MarketCommand::ApplyForProvider { name, reason } => {
            providers::apply(service, caller, name, reason).await
        }
        MarketCommand::DescribeProviders { state } => providers::describe(service, caller, state).await,
        MarketCommand::ModifyProvider(request) => providers::modify(service, caller, request).await,
        MarketCommand::SubmitListing(request) => listings::submit(service, caller, request).await,
        MarketCommand::DescribeListings(request) => listings::describe(service, caller, request).await,
        MarketCommand::ReviewListing(request) => listings::review(service, caller, request).await,
        MarketCommand::WithdrawListing { listing, reason } => {
            listings::withdraw(service, caller, &listing, reason).await
        }
    }
}

/// What the operation log says about a command until its outcome is known.
pub(crate) fn unfinished_operation(caller: &Caller, command: &Command) -> OperationEntry {
    let (action, subject) = name_and_subject(command);
    OperationEntry {
        code: OperationEntry::UNFINISHED.to_owned(),
        message: "It is not known how this ended. If the server was stopped meanwhile, look at what it was to change."
            .to_owned(),
        ..operation(caller, action, subject)
    }
}

/// What the operation log is to say about something that succeeded.
pub(crate) fn operation(caller: &Caller, action: &str, subject: String) -> OperationEntry {
    OperationEntry {
        at: Timestamp::now(),
        account: caller.account.uin,
        sub_account: caller.sub_account.as_ref().map(|sub_account| sub_account.uin),
        secret_id: Some(caller.secret_id.clone()),
        action: action.to_owned(),
        subject,
        region: Some(caller.region.clone()),
        request_id: caller.request_id.clone(),
        code: String::new(),
        message: String::new(),
    }
}

/// What the operation log says came of a command: what was made, and the tasks that go on with it.
pub(crate) fn outcome(answer: &Answer) -> String {
    match answer {
        Answer::DryRunPassed => "dry run: nothing was changed".to_owned(),
        Answer::ImageAccepted { image, task } => format!("{image} by {task}"),
        Answer::ExportAccepted { task, keys } => format!("{} by {task}", keys.join(" ")),
        Answer::CopiesAccepted(copies) => {
            let texts =
                copies.iter().map(|copy| format!("{} in {} by {}", copy.image, copy.region, copy.task));
            texts.collect::<Vec<_>>().join(", ")
        }
        Answer::Launched(instances) => list(instances),
        Answer::DisksCreated(disks) => list(disks),
        Answer::ListingAccepted(listing) => listing.to_string(),
        Answer::SnapshotAccepted(snapshot) => snapshot.to_string(),
        Answer::AccountCreated { account, .. } => account.uin.to_string(),
        Answer::SubAccountCreated(created) => created.sub_account.uin.to_string(),
        Answer::ApiKeyCreated(key) => key.secret_id.to_string(),
        _ => String::new(),
    }
}

fn list(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn name_and_subject(command: &Command) -> (&'static str, String) {
    match command {
        Command::ImportImage(request) => ("ImportImage", request.name.clone()),
        Command::CreateImage(request) => ("CreateImage", request.name.clone()),
        Command::SyncImages(request) => ("SyncImages", list(&request.images)),
        Command::ExportImages(request) => ("ExportImages", list(&request.images)),
        Command::ModifyImageAttribute(request) => ("ModifyImageAttribute", request.image.to_string()),
        Command::ModifyImageSharePermission(request) => {
            ("ModifyImageSharePermission", request.image.to_string())
        }
        Command::DeleteImages(request) => ("DeleteImages", list(&request.images)),
        Command::RunInstances(request) => ("RunInstances", request.image.to_string()),
        Command::StartInstances { instances } => ("StartInstances", list(instances)),
        Command::StopInstances { instances, .. } => ("StopInstances", list(instances)),
        Command::RebootInstances { instances, .. } => ("RebootInstances", list(instances)),
        Command::TerminateInstances { instances, .. } => ("TerminateInstances", list(instances)),
        Command::Snapshot(command) => command.name_and_subject(),
        Command::Disk(command) => command.name_and_subject(),
        Command::KeyPair(command) => command.name_and_subject(),
        Command::Guest(command) => command.name_and_subject(),
        Command::Price(command) => command.name_and_subject(),
        Command::PublicImage(command) => command.name_and_subject(),
        Command::Tag(command) => command.name_and_subject(),
        Command::Market(command) => command.name_and_subject(),
        Command::Account(command) => account_commands::name_and_subject(command),
        Command::CancelTask { task } => ("CancelTask", task.to_string()),
        Command::OpenImageExport { image, .. } => ("OpenImageExport", image.to_string()),
        Command::DescribeRegions
        | Command::DescribeZones
        | Command::GetCallerIdentity
        | Command::DescribeImages(_)
        | Command::DescribeImageFromFamily(_)
        | Command::DescribeImageQuota
        | Command::DescribeImageSharePermission { .. }
        | Command::DescribeImportImageOs
        | Command::DescribeImageReport { .. }
        | Command::DescribeInstances(_)
        | Command::DescribeTasks(_)
        | Command::DescribeInstanceConnection { .. }
        | Command::DescribeInstanceVncUrl { .. }
        | Command::DescribeStores
        | Command::DescribeAccountQuota { .. }
        | Command::DescribeActions
        | Command::DescribeObjectStorage
        | Command::Usage(_) => ("Describe", String::new()),
    }
}

/// Adds a task of the caller's to the transaction that accepts the request for it.
async fn enqueue(tx: &mut Tx, caller: &Caller, region: &RegionId, kind: TaskKind) -> Result<TaskId, Refusal> {
    enqueue_for(tx, caller.account.uin, &caller.request_id, region, kind).await
}

/// Adds a task of an account's.
async fn enqueue_for(
    tx: &mut Tx,
    owner: Uin,
    request_id: &str,
    region: &RegionId,
    kind: TaskKind,
) -> Result<TaskId, Refusal> {
    let now = Timestamp::now();
    let task = Task {
        id: TaskId::random(),
        kind,
        owner,
        region: region.clone(),
        request_id: request_id.to_owned(),
        state: TaskState::Queued,
        fence: 0,
        lease_until: now,
        checkpoint: serde_json::Value::Null,
        progress: TaskProgress::default(),
        cancel_requested: false,
        attempts: 0,
        failure: None,
        created_at: now,
        finished_at: None,
    };
    tx.insert_task(&task).await?;
    Ok(task.id)
}

/// Commits a transaction that enqueued tasks, and rings for the workers.
async fn commit_tasks(service: &Service, tx: Tx) -> Result<(), Refusal> {
    tx.commit().await?;
    service.task_announced.notify_waiters();
    Ok(())
}
