//! CreateImage: a custom image of an instance's disks, or of snapshots.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{
    Attachment, DiskId, DiskState, DiskUsage, Image, ImageDisk, ImageId, ImageKind, ImageOrigin, ImageState,
    Instance, InstanceId, InstanceState, LastOperation, Limits, OperationState, Snapshot, SnapshotId,
    TaskKind, Timestamp,
};

use super::{commit_tasks, tags};
use crate::{Answer, Caller, CreateImage, Refusal, Service, checks};

/// What an image is made of.
struct Source {
    origin: ImageOrigin,
    /// The image that says what is on the system disk.
    described_by: ImageId,
    size_bytes: u64,
    /// Of snapshots: the disks, the system disk first.
    disks: Vec<ImageDisk>,
    instance: Option<Instance>,
}

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
    let mut tx = service.catalog.write().await?;
    let source = source(&mut tx, caller, &request).await?;
    check_size(&source, &limits)?;
    checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &request.name).await?;
    let now = Timestamp::now();
    checks::reserve_image(&mut tx, &caller.account, &caller.region, &limits, now).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let id = ImageId::random();
    let kind = task_kind(&id, &source, &request);
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    if let Some(instance) = &source.instance {
        tx.hold_instance(&instance.id, &task).await?;
        tx.set_last_operation(&instance.id, &operation(caller)).await?;
    }
    // What the image is of, that image says, even if it is deleted by now.
    let base = tx.image(&source.described_by).await?.ok_or_else(|| missing_facts(&source.described_by))?;
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
        origin: source.origin,
        facts: base.facts.clone(),
        size_bytes: source.size_bytes,
        disks: source.disks,
        task: task.clone(),
        failure: None,
        fee_of: Some(tx.fee_of_descendants(&base).await?),
        created_at: now,
    };
    tx.insert_image(&image).await?;
    tags::put(&mut tx, caller, id.as_str(), &request.tags, &tags::CVM).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::ImageAccepted { image: id, task })
}

fn task_kind(image: &ImageId, source: &Source, request: &CreateImage) -> TaskKind {
    let image = image.clone();
    match &source.instance {
        None => TaskKind::AssembleImage { image },
        Some(instance) => TaskKind::CreateImage {
            image,
            instance: instance.id.clone(),
            power_off: request.power_off && instance.state == InstanceState::Running,
            data_disks: request.data_disks.clone(),
        },
    }
}

/// The one source that the request names.
async fn source(tx: &mut Tx, caller: &Caller, request: &CreateImage) -> Result<Source, Refusal> {
    match (&request.instance, request.snapshots.as_slice()) {
        (Some(_), [_, ..]) => Err(Refusal::invalid(
            "InvalidParameter.SpecifyOneParameter",
            "InstanceId and SnapshotIds exclude each other. Give one of them.",
        )),
        (None, []) => Err(Refusal::invalid(
            "MissingParameter",
            "InstanceId is missing: name the instance that the image is to be made of, or SnapshotIds.",
        )),
        (None, _) if !request.data_disks.is_empty() => Err(Refusal::invalid(
            "InvalidParameterValue.InvalidDataDiskId",
            "DataDiskIds are disks of an instance. Name snapshots of theirs in SnapshotIds instead.",
        )),
        (None, ids) => of_snapshots(tx, caller, ids).await,
        (Some(id), []) => of_instance(tx, caller, id, &request.data_disks).await,
    }
}

async fn of_instance(
    tx: &mut Tx,
    caller: &Caller,
    id: &InstanceId,
    data_disks: &[DiskId],
) -> Result<Source, Refusal> {
    let instance = checks::own_instance(tx, caller, id).await?;
    checks::instance_is_free(&instance)?;
    checks::instance_state(&instance, &[InstanceState::Running, InstanceState::Stopped])?;
    for (position, disk) in data_disks.iter().enumerate() {
        has_data_disk(tx, &instance, disk).await?;
        if data_disks[..position].contains(disk) {
            return Err(Refusal::invalid(
                "InvalidParameterValue.Duplicate",
                format!("DataDiskIds names {disk} twice."),
            ));
        }
    }
    Ok(Source {
        origin: ImageOrigin::Instance(instance.id.clone()),
        described_by: instance.image.clone(),
        size_bytes: instance.system_disk_bytes,
        disks: Vec::new(),
        instance: Some(instance),
    })
}

/// That a disk is a data disk of the instance.
async fn has_data_disk(tx: &mut Tx, instance: &Instance, id: &DiskId) -> Result<(), Refusal> {
    if *id == instance.system_disk {
        return Err(Refusal::invalid(
            "InvalidParameter.DataDiskIdContainsRootDisk",
            format!("{id} is the system disk, which is part of the image in any case. Leave it out."),
        ));
    }
    let is_its = |at: &Attachment| at.instance == instance.id;
    let disk = tx.disk(id).await?.filter(|disk| disk.state == DiskState::Attached);
    if disk.is_some_and(|disk| disk.attachment.as_ref().is_some_and(is_its)) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameter.DataDiskNotBelongSpecifiedInstance",
        format!("{} has no data disk {id}. DescribeInstances lists those that it has.", instance.id),
    ))
}

async fn of_snapshots(tx: &mut Tx, caller: &Caller, ids: &[SnapshotId]) -> Result<Source, Refusal> {
    let mut found: Vec<Snapshot> = Vec::with_capacity(ids.len());
    for id in ids {
        if found.iter().any(|other| other.id == *id) {
            continue;
        }
        let snapshot = checks::own_snapshot(tx, caller, id, "InvalidSnapshotId.NotFound").await?;
        checks::snapshot_is_normal(&snapshot)?;
        found.push(snapshot);
    }
    let systems: Vec<&Snapshot> =
        found.iter().filter(|snapshot| snapshot.usage == DiskUsage::System).collect();
    let [system] = systems[..] else {
        let code = match systems.len() {
            0 => "InvalidParameter.SystemSnapshotNotFound",
            _ => "InvalidParameter.DuplicateSystemSnapshots",
        };
        let sentence =
            format!("SnapshotIds names {} snapshots of system disks; it must be one.", systems.len());
        return Err(Refusal::invalid(code, sentence));
    };
    let described_by = system.source_image.clone().ok_or_else(|| missing_facts(&system.id))?;
    let size_bytes = system.size_bytes;
    let most = usize::from(kiln_qemu::MAX_DATA_DISKS) + 1;
    if found.len() > most {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("SnapshotIds names {} disks; an instance can have {most}. Name fewer.", found.len()),
        ));
    }
    // The system disk first, the others in their order.
    found.sort_by_key(|snapshot| snapshot.usage != DiskUsage::System);
    let disks = found.into_iter().map(disk_of).collect::<Result<_, _>>()?;
    Ok(Source { origin: ImageOrigin::Snapshots, described_by, size_bytes, disks, instance: None })
}

/// An image's disk of a snapshot. One that goes with another image is taken over under a name of its own.
fn disk_of(snapshot: Snapshot) -> Result<ImageDisk, Refusal> {
    let manifest = snapshot.manifest.ok_or_else(|| missing_facts(&snapshot.id))?;
    let id = if snapshot.of_image.is_some() { SnapshotId::random() } else { snapshot.id };
    Ok(ImageDisk { snapshot: id, usage: snapshot.usage, manifest, size_bytes: snapshot.size_bytes })
}

fn check_size(source: &Source, limits: &Limits) -> Result<(), Refusal> {
    if source.size_bytes <= limits.system_disk_bytes {
        return Ok(());
    }
    Err(Refusal::quota(
        "InvalidParameterValue.SystemDiskTooLarge",
        format!(
            "The system disk has {} GiB; an image's may have {} GiB. The operator can allow more (kiln account \
             set-limits).",
            source.size_bytes.div_ceil(1 << 30),
            limits.system_disk_bytes >> 30
        ),
    ))
}

fn operation(caller: &Caller) -> LastOperation {
    LastOperation {
        action: "CreateImage".to_owned(),
        state: OperationState::Operating,
        request_id: caller.request_id.clone(),
        failure: None,
    }
}

fn missing_facts(what: &impl std::fmt::Display) -> Refusal {
    Refusal::internal(format!("{what} lacks what every such one has"))
}
