//! StartInstances, StopInstances, RebootInstances, TerminateInstances: all of the named instances, or none.

use std::sync::Arc;

use kiln_model::{
    Instance, InstanceEvent, InstanceId, InstanceState, LastOperation, OperationState, StopMode, TaskKind,
    Timestamp,
};

use super::commit_tasks;
use crate::{Answer, Caller, Refusal, Service, checks, usage};

/// What distinguishes the four operations.
struct Operation {
    action: &'static str,
    allowed: &'static [InstanceState],
    event: InstanceEvent,
    dry_run: bool,
}

pub(super) async fn start(
    service: &Arc<Service>,
    caller: &Caller,
    instances: &[InstanceId],
) -> Result<Answer, Refusal> {
    let operation = Operation {
        action: "StartInstances",
        allowed: &[InstanceState::Stopped],
        event: InstanceEvent::StartRequested,
        dry_run: false,
    };
    perform(service, caller, instances, operation, |instance| TaskKind::StartInstance { instance }).await
}

pub(super) async fn stop(
    service: &Arc<Service>,
    caller: &Caller,
    instances: &[InstanceId],
    stop: StopMode,
) -> Result<Answer, Refusal> {
    let operation = Operation {
        action: "StopInstances",
        allowed: &[InstanceState::Running],
        event: InstanceEvent::StopRequested,
        dry_run: false,
    };
    perform(service, caller, instances, operation, |instance| TaskKind::StopInstance { instance, stop }).await
}

pub(super) async fn reboot(
    service: &Arc<Service>,
    caller: &Caller,
    instances: &[InstanceId],
    stop: StopMode,
) -> Result<Answer, Refusal> {
    let operation = Operation {
        action: "RebootInstances",
        allowed: &[InstanceState::Running],
        event: InstanceEvent::RebootRequested,
        dry_run: false,
    };
    perform(service, caller, instances, operation, |instance| TaskKind::RebootInstance { instance, stop })
        .await
}

pub(super) async fn terminate(
    service: &Arc<Service>,
    caller: &Caller,
    instances: &[InstanceId],
    dry_run: bool,
) -> Result<Answer, Refusal> {
    let operation = Operation {
        action: "TerminateInstances",
        allowed: &[InstanceState::Running, InstanceState::Stopped, InstanceState::LaunchFailed],
        event: InstanceEvent::TerminateRequested,
        dry_run,
    };
    perform(service, caller, instances, operation, |instance| TaskKind::TerminateInstance { instance }).await
}

async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    ids: &[InstanceId],
    operation: Operation,
    kind: impl Fn(InstanceId) -> TaskKind,
) -> Result<Answer, Refusal> {
    let ids = checks::instance_ids(ids)?;
    let mut tx = service.catalog.write().await?;
    let mut instances: Vec<Instance> = Vec::with_capacity(ids.len());
    for id in &ids {
        let instance = checks::own_instance(&mut tx, caller, id).await?;
        checks::instance_is_free(&instance)?;
        checks::instance_state(&instance, operation.allowed)?;
        instances.push(instance);
    }
    if operation.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    for instance in instances {
        let task = super::enqueue(&mut tx, caller, &caller.region, kind(instance.id.clone())).await?;
        tx.hold_instance(&instance.id, &task).await?;
        usage::transition(&mut tx, &instance.id, operation.event, Timestamp::now()).await?;
        let begun = LastOperation {
            action: operation.action.to_owned(),
            state: OperationState::Operating,
            request_id: caller.request_id.clone(),
            failure: None,
        };
        tx.set_last_operation(&instance.id, &begun).await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}
