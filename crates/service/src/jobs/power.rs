//! Switching instances on and off, and restarting them.

use kiln_catalog::Tx;
use kiln_model::{
    Instance, InstanceEvent, InstanceId, InstanceState, OperationState, StopMode, TaskEvent, TaskId,
    Timestamp,
};

use super::{JobContext, JobError};
use crate::machines::free_port;
use crate::usage;

/// The instance that the task holds.
pub(super) async fn held_instance(context: &JobContext, id: &InstanceId) -> Result<Instance, JobError> {
    let instance = context.service.catalog.read().await?.instance(id).await?;
    instance
        .filter(|instance| instance.task.as_ref() == Some(&context.task.id))
        .ok_or_else(|| JobError::internal(format!("instance {id} is not held by task {}", context.task.id)))
}

pub(super) async fn start(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let instance = held_instance(context, id).await?;
    context.progress.begin("power on", 0);
    power_on(context, &instance).await?;
    complete(context, id, InstanceEvent::Ran, InstanceState::Running).await
}

pub(super) async fn stop(context: &JobContext, id: &InstanceId, mode: StopMode) -> Result<(), JobError> {
    let instance = held_instance(context, id).await?;
    context.progress.begin("power off", 0);
    switch_off(context, &instance, mode).await?;
    complete(context, id, InstanceEvent::Stopped, InstanceState::Stopped).await
}

pub(super) async fn reboot(context: &JobContext, id: &InstanceId, mode: StopMode) -> Result<(), JobError> {
    let instance = held_instance(context, id).await?;
    context.progress.begin("reboot", 0);
    match (context.service.machines.get(id), mode) {
        // A reset keeps the seed that the machine started with.
        (Some(machine), StopMode::Hard) if instance.settings.change.is_none() => machine.reset().await?,
        _ => {
            switch_off(context, &instance, mode).await?;
            power_on(context, &instance).await?;
        }
    }
    complete(context, id, InstanceEvent::Ran, InstanceState::Running).await
}

/// Launches tried while other programs take the port for SSH between its choice and QEMU's use of it.
const PORT_ATTEMPTS: u32 = 5;

/// Switches the machine on, on a port for SSH that is free at this moment.
pub(super) async fn power_on(context: &JobContext, instance: &Instance) -> Result<(), JobError> {
    let machines = &context.service.machines;
    let mut instance = instance.clone();
    let mut attempt = 1;
    loop {
        if machines.get(&instance.id).is_none() {
            super::launch::renew_seed(context, &instance).await?;
            if machines.forwards_ssh() {
                choose_port(context, &mut instance).await?;
            }
        }
        let Err(error) = machines.power_on(&context.service, &instance).await else { return Ok(()) };
        let taken =
            instance.ssh_port.is_some_and(|port| !free_port(Some(port)).is_ok_and(|free| free == port));
        if !taken || attempt == PORT_ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
    }
}

async fn choose_port(context: &JobContext, instance: &mut Instance) -> Result<(), JobError> {
    let port = Some(free_port(instance.ssh_port)?);
    if port != instance.ssh_port {
        let mut tx = context.service.catalog.write().await?;
        tx.assert_fence(&context.task.id, context.task.fence).await?;
        tx.set_ssh_port(&instance.id, port).await?;
        tx.commit().await?;
        instance.ssh_port = port;
    }
    Ok(())
}

/// Switches the machine off. Where none runs, that is so already.
pub(super) async fn switch_off(
    context: &JobContext,
    instance: &Instance,
    mode: StopMode,
) -> Result<(), JobError> {
    let machines = &context.service.machines;
    let Some(machine) = machines.get(&instance.id) else { return Ok(()) };
    let grace = context.service.config.instances.power_off_grace;
    let ended = match mode {
        StopMode::Hard => machine.force_off().await,
        StopMode::SoftFirst => machine.power_down(grace, true).await,
        StopMode::Soft => machine.power_down(grace, false).await,
    };
    match ended {
        Ok(_) => {
            machines.forget(&instance.id, &machine);
        }
        Err(kiln_qemu::Error::Timeout { limit, .. }) => {
            return Err(JobError::failed(
                "FailedOperation.GuestDidNotPowerOff",
                format!(
                    "The guest did not switch itself off within {} seconds. Shut it down from inside, or stop it with \
                     StopType SOFT_FIRST or HARD.",
                    limit.as_secs()
                ),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    // A machine that an image is made of is simply off then; one that is being stopped is recorded by its task.
    crate::machines::record_end(&context.service, &instance.id).await?;
    Ok(())
}

/// Records the task's success and the instance's new state, and lets the instance go.
pub(super) async fn complete(
    context: &JobContext,
    id: &InstanceId,
    event: InstanceEvent,
    state: InstanceState,
) -> Result<(), JobError> {
    let task = &context.task;
    let now = Timestamp::now();
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&task.id, task.fence).await?;
    let instance = tx.instance(id).await?;
    if let Some(instance) = &instance {
        super::launch::forget_password(&mut tx, instance).await?;
        if state == InstanceState::Running {
            super::launch::forget_change(&mut tx, instance).await?;
        }
    }
    let removed = match state {
        InstanceState::Terminated => super::disks::leave(&mut tx, id).await?,
        _ => Vec::new(),
    };
    let present = instance.map(|instance| instance.state);
    if present != Some(state) {
        usage::transition(&mut tx, id, event, now).await?;
    }
    release(&mut tx, id, &task.id).await?;
    tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, now).await?;
    tx.commit().await?;
    context.service.machines.remove_disks(&removed).await;
    Ok(())
}

/// Lets an instance go after the operation of `task` on it succeeded.
pub(super) async fn release(tx: &mut Tx, id: &InstanceId, task: &TaskId) -> kiln_catalog::Result<()> {
    let Some(instance) = tx.instance(id).await? else { return Ok(()) };
    let mut operation = instance.last_operation;
    operation.state = OperationState::Success;
    tx.set_last_operation(id, &operation).await?;
    tx.release_instance(id, task).await
}
