//! Giving data disks to an instance and taking them from it, whether its machine runs or not.
//!
//! Each disk is recorded when it has arrived, so that of several those stay that got there before one failed. Begun
//! again after a crash, a disk that is there already is fine.

use kiln_catalog::Tx;
use kiln_model::{
    Disk, DiskEvent, DiskId, DiskState, Failure, Instance, InstanceId, TaskEvent, TaskKind, Timestamp,
};

use super::{JobContext, JobError, power};

pub(super) async fn attach(context: &JobContext, id: &InstanceId, disks: &[DiskId]) -> Result<(), JobError> {
    let instance = power::held_instance(context, id).await?;
    context.progress.begin("attach", 0);
    for disk in under_way(context, disks, DiskState::Attaching).await? {
        if let Err(error) = context.service.machines.attach_disk(&context.service, &instance, &disk).await {
            give_up(context, &instance, &disk).await;
            return Err(error);
        }
        record(context, &disk, DiskEvent::Attached).await?;
    }
    complete(context, id).await
}

pub(super) async fn detach(context: &JobContext, id: &InstanceId, disks: &[DiskId]) -> Result<(), JobError> {
    let instance = power::held_instance(context, id).await?;
    context.progress.begin("detach", 0);
    for disk in under_way(context, disks, DiskState::Detaching).await? {
        context.service.machines.detach_disk(&context.service, &instance, &disk).await?;
        record(context, &disk, DiskEvent::Detached).await?;
    }
    complete(context, id).await
}

/// Those of the disks that an earlier try has not brought to their end.
async fn under_way(context: &JobContext, disks: &[DiskId], state: DiskState) -> Result<Vec<Disk>, JobError> {
    let mut tx = context.service.catalog.read().await?;
    let mut found = Vec::with_capacity(disks.len());
    for id in disks {
        found.extend(tx.disk(id).await?.filter(|disk| disk.state == state));
    }
    Ok(found)
}

/// Takes away what a failed attachment left with the instance. QEMU's own lock on the file keeps another machine from
/// using a disk that could not be taken away.
async fn give_up(context: &JobContext, instance: &Instance, disk: &Disk) {
    if context.is_ours().await
        && let Err(error) = context.service.machines.detach_disk(&context.service, instance, disk).await
    {
        tracing::error!(instance = %instance.id, disk = %disk.id, %error, "a failed attachment is left");
    }
}

async fn record(context: &JobContext, disk: &Disk, event: DiskEvent) -> Result<(), JobError> {
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    tx.transition_disk(&disk.id, event, Timestamp::now()).await?;
    Ok(tx.commit().await?)
}

async fn complete(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let task = &context.task;
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&task.id, task.fence).await?;
    power::release(&mut tx, id, &task.id).await?;
    tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, Timestamp::now()).await?;
    Ok(tx.commit().await?)
}

/// Puts the disks that a task had under way back to where they were, with the reason.
pub(super) async fn record_failure(
    tx: &mut Tx,
    kind: &TaskKind,
    failure: &Failure,
) -> kiln_catalog::Result<()> {
    let (TaskKind::AttachDisks { disks, .. } | TaskKind::DetachDisks { disks, .. }) = kind else {
        return Ok(());
    };
    for id in disks {
        let event = match tx.disk(id).await?.map(|disk| disk.state) {
            Some(DiskState::Attaching) => DiskEvent::Detached,
            Some(DiskState::Detaching) => DiskEvent::Attached,
            _ => continue,
        };
        tx.transition_disk(id, event, Timestamp::now()).await?;
        tx.set_disk_failure(id, Some(failure)).await?;
    }
    Ok(())
}

/// Whether an instance has disks that do not go with it.
pub(super) async fn some_stay(context: &JobContext, instance: &InstanceId) -> Result<bool, JobError> {
    let disks = context.service.catalog.read().await?.data_disks_of([instance]).await?;
    Ok(disks.iter().any(|disk| !disk.delete_with_instance))
}

/// Ends the attachments of an instance that is gone: a disk that goes with it is removed, another is free. The removed
/// ones, whose files are to go once that is durable.
pub(super) async fn leave(tx: &mut Tx, instance: &InstanceId) -> kiln_catalog::Result<Vec<DiskId>> {
    let mut removed = Vec::new();
    for disk in tx.data_disks_of([instance]).await? {
        if disk.delete_with_instance {
            tx.transition_disk(&disk.id, DiskEvent::Terminated, Timestamp::now()).await?;
            removed.push(disk.id);
        } else {
            tx.transition_disk(&disk.id, DiskEvent::Detached, Timestamp::now()).await?;
        }
    }
    Ok(removed)
}
