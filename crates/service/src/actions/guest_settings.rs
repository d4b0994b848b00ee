//! ResetInstancesPassword, AssociateInstancesKeyPairs, DisassociateInstancesKeyPairs, ModifyInstancesAttribute: what a
//! guest is told anew.
//!
//! Nothing runs in a guest on Kiln's behalf but its own cloud-init, at its start. So a change waits in the instance's
//! settings until the next start, and a running instance is restarted where the request says so, or else refused.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{
    GuestChange, GuestPassword, Image, Instance, InstanceEvent, InstanceId, InstanceState, KeyPair,
    LastOperation, OperationState, StopMode, TaskKind, Timestamp,
};

use super::run_instances::{check_hostname, check_password, check_user_data};
use super::{commit_tasks, reset_instance};
use crate::{
    Answer, Caller, GuestCommand, ModifyInstancesAttribute, ModifyInstancesKeyPairs, Refusal,
    ResetInstancesPassword, Service, checks, usage,
};

const MAX_NAME_CHARS: usize = 60;
const MAX_USER_CHARS: usize = 64;
/// The most key pairs of one request, and of an instance.
const MAX_KEY_PAIRS: usize = 64;
const DEFAULT_USER: &str = "root";

/// What happens to an instance that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    /// Nothing is changed.
    Refused,
    /// It is restarted, and changed then.
    Restarted,
    /// It goes on, and is changed at its next start.
    Left,
}

impl Running {
    fn of(restart: bool) -> Self {
        if restart { Self::Restarted } else { Self::Refused }
    }
}

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: GuestCommand,
) -> Result<Answer, Refusal> {
    match command {
        GuestCommand::ModifyKeyPairs(request) => modify_key_pairs(service, caller, request).await,
        GuestCommand::ResetPassword(request) => reset_password(service, caller, request).await,
        GuestCommand::ModifyAttribute(request) => modify_attribute(service, caller, request).await,
        GuestCommand::DescribeAttributes { instances } => {
            describe_attributes(service, caller, &instances).await
        }
        GuestCommand::ResetInstance(request) => reset_instance::perform(service, caller, request).await,
    }
}

async fn reset_password(
    service: &Arc<Service>,
    caller: &Caller,
    request: ResetInstancesPassword,
) -> Result<Answer, Refusal> {
    let ids = checks::instance_ids(&request.instances)?;
    check_password(&request.password, "Password")?;
    let user = request.user.unwrap_or_else(|| DEFAULT_USER.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if user.is_empty() || user.len() > MAX_USER_CHARS || !user.chars().all(plain) || user.starts_with('-') {
        return Err(Refusal::invalid(
            "InvalidParameterValue",
            format!("UserName must be 1 to {MAX_USER_CHARS} letters, digits, hyphens, dots and underscores."),
        ));
    }
    let mut tx = service.catalog.write().await?;
    for id in &ids {
        let running = Running::of(request.restart);
        let code = "InvalidParameter.PasswordNotSupported";
        let mut instance = changeable(&mut tx, caller, id, running, code).await?;
        let change = begun(&mut instance, caller);
        change.passwords.retain(|set| set.user != user);
        change.passwords.push(GuestPassword { user: user.clone(), secret: request.password.clone() });
        change.password_login = Some(true);
        record(&mut tx, caller, "ResetInstancesPassword", &instance, running).await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

async fn modify_key_pairs(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyInstancesKeyPairs,
) -> Result<Answer, Refusal> {
    let ids = checks::instance_ids(&request.instances)?;
    if request.key_pairs.len() > MAX_KEY_PAIRS {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("KeyIds has {} entries; at most {MAX_KEY_PAIRS} are allowed.", request.key_pairs.len()),
        ));
    }
    let mut tx = service.catalog.write().await?;
    let mut pairs = Vec::with_capacity(request.key_pairs.len());
    for id in &request.key_pairs {
        pairs.push(checks::own_key_pair(&mut tx, caller, id).await?);
    }
    for id in &ids {
        let running = Running::of(request.restart);
        let code = "InvalidParameterValue.KeyPairNotSupported";
        let mut instance = changeable(&mut tx, caller, id, running, code).await?;
        if request.associate {
            associate(&mut tx, caller, &mut instance, &pairs).await?;
        } else {
            disassociate(caller, &mut instance, &pairs);
        }
        record(&mut tx, caller, request.action(), &instance, running).await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

/// Opens an instance to these key pairs, and to no other, nor to passwords.
async fn associate(
    tx: &mut Tx,
    caller: &Caller,
    instance: &mut Instance,
    pairs: &[KeyPair],
) -> Result<(), Refusal> {
    let mut former = Vec::new();
    for id in &instance.settings.key_pairs {
        // One that was deleted is not known any more, and stays in the guest.
        if let Some(pair) = tx.key_pair(id).await?.filter(|pair| !pairs.contains(pair)) {
            former.push(pair.public_key);
        }
    }
    instance.settings.key_pairs = pairs.iter().map(|pair| pair.id.clone()).collect();
    let change = begun(instance, caller);
    change.former_keys.retain(|key| !pairs.iter().any(|pair| pair.public_key == *key));
    change.former_keys.extend(former);
    change.password_login = Some(false);
    Ok(())
}

/// Closes an instance to these key pairs. Its passwords open it again.
fn disassociate(caller: &Caller, instance: &mut Instance, pairs: &[KeyPair]) {
    instance.settings.key_pairs.retain(|id| !pairs.iter().any(|pair| pair.id == *id));
    let change = begun(instance, caller);
    change.former_keys.extend(pairs.iter().map(|pair| pair.public_key.clone()));
    change.password_login = Some(true);
}

async fn modify_attribute(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyInstancesAttribute,
) -> Result<Answer, Refusal> {
    let ids = checks::instance_ids(&request.instances)?;
    check_attributes(&request)?;
    let running =
        if request.hostname.is_some() && request.restart { Running::Restarted } else { Running::Left };
    let mut tx = service.catalog.write().await?;
    for id in &ids {
        if let Some(name) = &request.name {
            let instance = checks::own_instance(&mut tx, caller, id).await?;
            tx.rename_instance(&instance.id, name).await?;
            continue;
        }
        let code = "UnsupportedOperation";
        let mut instance = changeable(&mut tx, caller, id, running, code).await?;
        begun(&mut instance, caller);
        if let Some(hostname) = &request.hostname {
            instance.settings.hostname.clone_from(hostname);
        }
        if request.user_data_base64.is_some() {
            instance.settings.user_data_base64.clone_from(&request.user_data_base64);
        }
        record(&mut tx, caller, "ModifyInstancesAttribute", &instance, running).await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

fn check_attributes(request: &ModifyInstancesAttribute) -> Result<(), Refusal> {
    let given = [request.name.is_some(), request.user_data_base64.is_some(), request.hostname.is_some()];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => {
            return Err(Refusal::invalid(
                "MissingParameter",
                "There is nothing to change. Give InstanceName, HostName or UserData.",
            ));
        }
        _ => {
            return Err(Refusal::invalid(
                "InvalidParameter.SpecifyOneParameter",
                "InstanceName, HostName and UserData are changed one at a time. Give one of them.",
            ));
        }
    }
    if let Some(name) = &request.name {
        let chars = name.chars().count();
        if chars == 0 || chars > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(Refusal::invalid(
                "InvalidInstanceName.TooLong",
                format!("InstanceName must be 1 to {MAX_NAME_CHARS} printable characters."),
            ));
        }
    }
    request.hostname.as_deref().map_or(Ok(()), check_hostname)?;
    request.user_data_base64.as_deref().map_or(Ok(()), check_user_data)
}

async fn describe_attributes(
    service: &Arc<Service>,
    caller: &Caller,
    instances: &[InstanceId],
) -> Result<Answer, Refusal> {
    let ids = checks::instance_ids(instances)?;
    let mut tx = service.catalog.read().await?;
    let mut found = Vec::with_capacity(ids.len());
    for id in &ids {
        found.push(checks::own_instance(&mut tx, caller, id).await?);
    }
    Ok(Answer::InstancesAttributes(found))
}

/// An instance of the caller's whose guest takes changes, in a state in which it may be changed.
async fn changeable(
    tx: &mut Tx,
    caller: &Caller,
    id: &InstanceId,
    running: Running,
    code: &'static str,
) -> Result<Instance, Refusal> {
    let instance = checks::own_instance(tx, caller, id).await?;
    checks::instance_is_free(&instance)?;
    let allowed: &[InstanceState] = match running {
        Running::Refused => &[InstanceState::Stopped],
        Running::Restarted | Running::Left => &[InstanceState::Stopped, InstanceState::Running],
    };
    checks::instance_state(&instance, allowed)?;
    if tx.image(&instance.image).await?.as_ref().is_some_and(takes_changes) {
        return Ok(instance);
    }
    Err(Refusal::conflict(
        code,
        format!(
            "The guest of {id} has no cloud-init for Linux, which would carry this out. Change it from inside."
        ),
    ))
}

fn takes_changes(image: &Image) -> bool {
    image.facts.cloud_init && !image.facts.platform.starts_with("Windows")
}

/// The change that the instance's next start makes, as one with any that waits already.
fn begun<'i>(instance: &'i mut Instance, caller: &Caller) -> &'i mut GuestChange {
    let change = instance.settings.change.get_or_insert_default();
    change.request_id.clone_from(&caller.request_id);
    change
}

/// Records a change, and restarts the instance for it where that is wanted and it runs.
async fn record(
    tx: &mut Tx,
    caller: &Caller,
    action: &str,
    instance: &Instance,
    running: Running,
) -> Result<(), Refusal> {
    tx.set_launch_settings(&instance.id, &instance.settings).await?;
    let restarts = running == Running::Restarted && instance.state == InstanceState::Running;
    if restarts {
        let kind = TaskKind::RebootInstance { instance: instance.id.clone(), stop: StopMode::SoftFirst };
        let task = super::enqueue(tx, caller, &caller.region, kind).await?;
        tx.hold_instance(&instance.id, &task).await?;
        usage::transition(tx, &instance.id, InstanceEvent::RebootRequested, Timestamp::now()).await?;
    }
    let operation = LastOperation {
        action: action.to_owned(),
        state: if restarts { OperationState::Operating } else { OperationState::Success },
        request_id: caller.request_id.clone(),
        failure: None,
    };
    Ok(tx.set_last_operation(&instance.id, &operation).await?)
}
