//! AttachDisks, DetachDisks: which instance has a data disk. All of the named disks, or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{
    Attachment, Disk, DiskEvent, DiskId, DiskState, Instance, InstanceId, InstanceState, LastOperation,
    OperationState, TaskKind, Timestamp,
};

use super::{cbs_checks, commit_tasks};
use crate::{Answer, AttachDisks, Caller, Refusal, Service, checks};

/// The most disks that one request moves.
const MAX_DISKS: usize = 10;
/// The states of an instance in which its disks change.
const AT_REST: [InstanceState; 2] = [InstanceState::Running, InstanceState::Stopped];

pub(super) async fn attach(
    service: &Arc<Service>,
    caller: &Caller,
    request: AttachDisks,
) -> Result<Answer, Refusal> {
    let ids = cbs_checks::each_once("DiskIds", request.disks, MAX_DISKS)?;
    let mut tx = service.catalog.write().await?;
    let instance = own_instance(&mut tx, caller, &request.instance).await?;
    for id in &ids {
        let disk = checks::own_disk(&mut tx, caller, id).await?;
        can_be_attached(&disk, &instance)?;
    }
    let slots = free_slots(&mut tx, &instance, ids.len()).await?;
    for (id, slot) in ids.iter().zip(slots) {
        let to = Attachment { instance: instance.id.clone(), slot };
        tx.attach_disk(id, &to, request.delete_with_instance).await?;
    }
    begin(&mut tx, caller, &instance, "AttachDisks", |instance| TaskKind::AttachDisks {
        instance,
        disks: ids,
    })
    .await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

pub(super) async fn detach(
    service: &Arc<Service>,
    caller: &Caller,
    disks: Vec<DiskId>,
    named: Option<&InstanceId>,
) -> Result<Answer, Refusal> {
    let ids = cbs_checks::each_once("DiskIds", disks, MAX_DISKS)?;
    let mut tx = service.catalog.write().await?;
    let mut by_instance: BTreeMap<InstanceId, Vec<DiskId>> = BTreeMap::new();
    for id in ids {
        let disk = checks::own_disk(&mut tx, caller, &id).await?;
        by_instance.entry(can_be_detached(&disk, named)?).or_default().push(id);
    }
    for (instance, disks) in by_instance {
        let instance = own_instance(&mut tx, caller, &instance).await?;
        for id in &disks {
            tx.transition_disk(id, DiskEvent::DetachRequested, Timestamp::now()).await?;
            tx.set_disk_failure(id, None).await?;
        }
        begin(&mut tx, caller, &instance, "DetachDisks", |instance| TaskKind::DetachDisks {
            instance,
            disks,
        })
        .await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

/// An instance of the caller's whose disks can change now. The CBS service has codes of its own for why not.
async fn own_instance(tx: &mut Tx, caller: &Caller, id: &InstanceId) -> Result<Instance, Refusal> {
    let instance = checks::own_instance(tx, caller, id).await?;
    checks::instance_is_free(&instance).map_err(|refusal| Refusal { code: "ResourceBusy", ..refusal })?;
    checks::instance_state(&instance, &AT_REST)
        .map_err(|refusal| Refusal { code: "InvalidInstance.NotSupported", ..refusal })?;
    Ok(instance)
}

fn can_be_attached(disk: &Disk, instance: &Instance) -> Result<(), Refusal> {
    cbs_checks::is_data_disk(disk)?;
    cbs_checks::disk_is_free(disk)?;
    match disk.state {
        DiskState::Unattached => {}
        DiskState::Attaching | DiskState::Detaching => {
            return Err(cbs_checks::busy(disk, "it is on its way already"));
        }
        DiskState::Attached | DiskState::Terminated => {
            return Err(Refusal::conflict(
                "ResourceUnavailable.Attached",
                format!("Disk {} belongs to an instance already; detach it first.", disk.id),
            ));
        }
    }
    if disk.zone != instance.zone {
        return Err(Refusal::conflict(
            "ResourceUnavailable.ZoneNotMatch",
            format!(
                "Disk {} is in {}, {} in {}. Use an instance of the disk's zone, or make a snapshot of the disk, and of \
                 that a disk in {}.",
                disk.id, disk.zone, instance.id, instance.zone, instance.zone
            ),
        ));
    }
    Ok(())
}

/// The instance that a disk is to be taken from.
fn can_be_detached(disk: &Disk, named: Option<&InstanceId>) -> Result<InstanceId, Refusal> {
    cbs_checks::is_data_disk(disk)?;
    match (disk.state, &disk.attachment) {
        (DiskState::Attached, Some(at)) if named.is_none_or(|named| *named == at.instance) => {
            Ok(at.instance.clone())
        }
        (DiskState::Attached, Some(at)) => Err(Refusal::invalid(
            "InvalidParameterValue",
            format!(
                "Disk {} belongs to {}, not to the instance that InstanceId names.",
                disk.id, at.instance
            ),
        )),
        (DiskState::Attaching | DiskState::Detaching, _) => {
            Err(cbs_checks::busy(disk, "it is on its way already"))
        }
        _ => Err(Refusal::conflict(
            "UnsupportedOperation.StateError",
            format!("Disk {} belongs to no instance; there is nothing to detach.", disk.id),
        )),
    }
}

/// The lowest places that an instance has free.
async fn free_slots(tx: &mut Tx, instance: &Instance, count: usize) -> Result<Vec<u8>, Refusal> {
    let present = tx.data_disks_of([&instance.id]).await?;
    let taken =
        |slot: &u8| present.iter().filter_map(|disk| disk.attachment.as_ref()).any(|at| at.slot == *slot);
    let free: Vec<u8> = (0..kiln_qemu::MAX_DATA_DISKS).filter(|slot| !taken(slot)).take(count).collect();
    if free.len() == count {
        return Ok(free);
    }
    Err(Refusal::quota(
        "LimitExceeded.InstanceAttachedDisk",
        format!(
            "{} has {} data disks; with {count} more there would be over {}. Detach some first.",
            instance.id,
            present.len(),
            kiln_qemu::MAX_DATA_DISKS
        ),
    ))
}

/// Hands an instance to the task that changes its disks.
async fn begin(
    tx: &mut Tx,
    caller: &Caller,
    instance: &Instance,
    action: &str,
    kind: impl FnOnce(InstanceId) -> TaskKind,
) -> Result<(), Refusal> {
    let task = super::enqueue(tx, caller, &caller.region, kind(instance.id.clone())).await?;
    tx.hold_instance(&instance.id, &task).await?;
    let begun = LastOperation {
        action: action.to_owned(),
        state: OperationState::Operating,
        request_id: caller.request_id.clone(),
        failure: None,
    };
    Ok(tx.set_last_operation(&instance.id, &begun).await?)
}
