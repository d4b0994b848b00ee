//! CreateImage: a custom image of an instance's system disk.

use std::sync::Arc;

use kiln_model::{
    Image, ImageId, ImageKind, ImageOrigin, ImageState, Instance, InstanceState, TaskKind, Timestamp,
};
use kiln_model::{LastOperation, OperationState};

use super::{commit_tasks, tags};
use crate::{Answer, Caller, CreateImage, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: CreateImage,
) -> Result<Answer, Refusal> {
    let limits = service.limits_of(caller.account.uin).await?;
    checks::image_name(&request.name, &limits)?;
    checks::image_description(&request.description, &limits)?;
    checks::image_family(&request.family)?;
    tags::check(&request.tags, &tags::CVM)?;
    let instance = source(&request)?;
    let mut tx = service.catalog.write().await?;
    let instance = checks::own_instance(&mut tx, caller, instance).await?;
    checks::instance_is_free(&instance)?;
    checks::instance_state(&instance, &[InstanceState::Running, InstanceState::Stopped])?;
    if instance.system_disk_bytes > limits.system_disk_bytes {
        return Err(Refusal::quota(
            "InvalidParameterValue.SystemDiskTooLarge",
            format!(
                "The system disk of {} has {} GiB; an image's may have {} GiB.",
                instance.id,
                instance.system_disk_bytes >> 30,
                limits.system_disk_bytes >> 30
            ),
        ));
    }
    checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &request.name).await?;
    let now = Timestamp::now();
    checks::reserve_image(&mut tx, &caller.account, &caller.region, &limits, now).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let id = ImageId::random();
    let kind = TaskKind::CreateImage {
        image: id.clone(),
        instance: instance.id.clone(),
        power_off: request.power_off && instance.state == InstanceState::Running,
    };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    tx.hold_instance(&instance.id, &task).await?;
    tx.set_last_operation(&instance.id, &operation(caller)).await?;
    // What the image is of, the instance's own image says, even if that one is deleted by now.
    let base = tx.image(&instance.image).await?.ok_or_else(|| missing_facts(&instance))?;
    let image = Image {
        id: id.clone(),
        region: caller.region.clone(),
        owner: caller.account.uin,
        kind: ImageKind::Custom,
        state: ImageState::Creating,
        name: request.name,
        description: request.description,
        family: request.family,
        deprecated: false,
        origin: ImageOrigin::Instance(instance.id),
        facts: base.facts.clone(),
        size_bytes: instance.system_disk_bytes,
        disks: Vec::new(),
        task: task.clone(),
        failure: None,
        fee_of: Some(base.fee_of_descendants()),
        created_at: now,
    };
    tx.insert_image(&image).await?;
    tags::put(&mut tx, caller, id.as_str(), &request.tags, &tags::CVM).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::ImageAccepted { image: id, task })
}

/// The one source that the request names.
fn source(request: &CreateImage) -> Result<&kiln_model::InstanceId, Refusal> {
    match (&request.instance, request.snapshots.is_empty()) {
        (Some(_), false) => Err(Refusal::invalid(
            "InvalidParameter.SpecifyOneParameter",
            "InstanceId and SnapshotIds exclude each other. Give one of them.",
        )),
        (None, true) => Err(Refusal::invalid(
            "MissingParameter",
            "InstanceId is missing: name the instance that the image is to be made of.",
        )),
        (None, false) => Err(Refusal::invalid(
            "InvalidSnapshotId.NotFound",
            "None of your disks has such a snapshot. Make the image from the instance: give InstanceId.",
        )),
        (Some(_), true) if !request.data_disks.is_empty() => Err(Refusal::invalid(
            "InvalidParameterValue.InvalidDataDiskId",
            "The instance has no such data disk. Leave DataDiskIds out.",
        )),
        (Some(instance), true) => Ok(instance),
    }
}

fn operation(caller: &Caller) -> LastOperation {
    LastOperation {
        action: "CreateImage".to_owned(),
        state: OperationState::Operating,
        request_id: caller.request_id.clone(),
        failure: None,
    }
}

fn missing_facts(instance: &Instance) -> Refusal {
    Refusal::internal(format!("image {} of instance {} has no row", instance.image, instance.id))
}
