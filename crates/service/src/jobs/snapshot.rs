//! Making a snapshot of a disk: its content goes into the store, as that of an image does.

use kiln_catalog::Tx;
use kiln_model::{
    DiskId, Failure, InstanceId, SnapshotEvent, SnapshotId, SnapshotState, Task, TaskKind, Timestamp,
};

use super::{JobContext, JobError, disk_content, power, publish};

pub(super) async fn run(
    context: &JobContext,
    id: &SnapshotId,
    disk: &DiskId,
    instance: Option<&InstanceId>,
) -> Result<(), JobError> {
    let disk = disk_content::wanted_disk(context, disk).await?;
    context.progress.begin("store", 0);
    let stored = match instance {
        Some(instance) => {
            let instance = power::held_instance(context, instance).await?;
            let disks = std::slice::from_ref(&disk);
            disk_content::store_of_instance(context, &instance, disks).await?.remove(0)
        }
        None => disk_content::store_free(context, &disk).await?,
    };
    let (task, now) = (&context.task, Timestamp::now());
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&task.id, task.fence).await?;
    let manifest = publish::publish_manifest(&mut tx, context, &stored, now).await?;
    tx.publish_snapshot(id, &manifest, stored.manifest.size_bytes()).await?;
    match instance {
        Some(instance) => power::release(&mut tx, instance, &task.id).await?,
        None => tx.release_disk(&disk.id, &task.id).await?,
    }
    publish::finish_task(context, tx, now).await
}

/// Forgets the snapshot that a task did not make, and lets its disk go.
pub(super) async fn record_failure(tx: &mut Tx, task: &Task, failure: &Failure) -> kiln_catalog::Result<()> {
    let TaskKind::CreateSnapshot { snapshot, disk, instance } = &task.kind else { return Ok(()) };
    if tx.snapshot(snapshot).await?.is_some_and(|found| found.state == SnapshotState::Creating) {
        tx.transition_snapshot(snapshot, SnapshotEvent::Failed, Timestamp::now()).await?;
    }
    if instance.is_none() {
        tx.release_disk(disk, &task.id).await?;
        tx.set_disk_failure(disk, Some(failure)).await?;
    }
    Ok(())
}
