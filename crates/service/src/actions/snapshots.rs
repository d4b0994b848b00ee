//! CreateSnapshot, DescribeSnapshots, DeleteSnapshots.

use std::sync::Arc;

use kiln_catalog::{SnapshotQuery, Tx};
use kiln_model::{
    Disk, DiskState, DiskUsage, ImageId, InstanceState, LastOperation, Limits, OperationState, Price,
    Snapshot, SnapshotEvent, SnapshotId, SnapshotState, TaskKind, Timestamp,
};

use super::{cbs_checks, commit_tasks, delete_images, describe_images, tags};
use crate::{
    Answer, Caller, CreateSnapshot, DescribeSnapshots, Filter, Refusal, SeenSnapshot, Service,
    SnapshotCommand, checks,
};

const DEFAULT_NAME: &str = "Unnamed";

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: SnapshotCommand,
) -> Result<Answer, Refusal> {
    match command {
        SnapshotCommand::Create(request) => create(service, caller, request).await,
        SnapshotCommand::Describe(request) => describe(service, caller, request).await,
        SnapshotCommand::Delete { snapshots, with_images } => {
            delete(service, caller, snapshots, with_images).await
        }
    }
}

async fn create(service: &Arc<Service>, caller: &Caller, request: CreateSnapshot) -> Result<Answer, Refusal> {
    cbs_checks::name(request.name.as_deref(), "SnapshotName")?;
    tags::check(&request.tags, &tags::CBS)?;
    let limits = service.limits_of(caller.account.uin).await?;
    let mut tx = service.catalog.write().await?;
    let disk = checks::own_disk(&mut tx, caller, &request.disk).await?;
    let usage = usage(&request, &disk)?;
    let source_image = can_be_frozen(&mut tx, caller, &disk).await?;
    if usage == DiskUsage::Data
        && let Some(image) = &source_image
    {
        keeps_its_fee(&mut tx, &disk, image).await?;
    }
    check_room(&mut tx, caller, &limits).await?;
    let instance = disk.attachment.as_ref().map(|at| at.instance.clone());
    let id = SnapshotId::random();
    let kind =
        TaskKind::CreateSnapshot { snapshot: id.clone(), disk: disk.id.clone(), instance: instance.clone() };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    match &instance {
        Some(instance) => {
            tx.hold_instance(instance, &task).await?;
            tx.set_last_operation(instance, &operation(caller)).await?;
        }
        None => tx.hold_disk(&disk.id, &task).await?,
    }
    let snapshot = Snapshot {
        id: id.clone(),
        region: disk.region,
        zone: Some(disk.zone),
        owner: disk.owner,
        name: request.name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        state: SnapshotState::Creating,
        usage,
        disk: Some(disk.id),
        manifest: None,
        size_bytes: disk.size_bytes,
        source_image,
        of_image: None,
        task,
        created_at: Timestamp::now(),
    };
    tx.insert_snapshot(&snapshot).await?;
    tags::put(&mut tx, caller, id.as_str(), &request.tags, &tags::CBS).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::SnapshotAccepted(id))
}

/// What disks made of the snapshot are for: a system disk's content can be data, but data are no system.
fn usage(request: &CreateSnapshot, disk: &Disk) -> Result<DiskUsage, Refusal> {
    match (request.usage, disk.usage) {
        (Some(DiskUsage::System), DiskUsage::Data) => Err(Refusal::invalid(
            "InvalidParameterValue",
            format!("Disk {} is a data disk; a snapshot of it is none of a system disk.", disk.id),
        )),
        (Some(wanted), _) => Ok(wanted),
        (None, own) => Ok(own),
    }
}

/// That a disk can be read now; the image that says what is on it, where that is a system.
async fn can_be_frozen(tx: &mut Tx, caller: &Caller, disk: &Disk) -> Result<Option<ImageId>, Refusal> {
    cbs_checks::disk_is_free(disk)?;
    if matches!(disk.state, DiskState::Attaching | DiskState::Detaching) {
        return Err(cbs_checks::busy(disk, "it is on its way to or from an instance"));
    }
    let Some(at) = &disk.attachment else { return Ok(None) };
    let instance = checks::own_instance(tx, caller, &at.instance).await?;
    checks::instance_is_free(&instance).map_err(|refusal| Refusal { code: "ResourceBusy", ..refusal })?;
    checks::instance_state(&instance, &[InstanceState::Running, InstanceState::Stopped])
        .map_err(|refusal| Refusal { code: "ResourceUnavailable.NotSupportSnapshot", ..refusal })?;
    Ok((disk.usage == DiskUsage::System).then_some(instance.image))
}

/// That the content of a system disk, taken as data, leaves nobody unpaid: data carry no image's fee.
async fn keeps_its_fee(tx: &mut Tx, disk: &Disk, image: &ImageId) -> Result<(), Refusal> {
    let Some(image) = tx.image(image).await? else { return Ok(()) };
    let is_anothers = image.owner != disk.owner && tx.image_fee(&image).await? != Price::default();
    let Some(payee) = checks::anothers_fee(tx, &image).await?.or(is_anothers.then_some(image)) else {
        return Ok(());
    };
    Err(Refusal::denied(
        "UnsupportedOperation",
        format!(
            "Disk {} holds image {}, which is paid for; data would not be. Take the snapshot as SYSTEM_DISK.",
            disk.id, payee.id
        ),
    ))
}

async fn check_room(tx: &mut Tx, caller: &Caller, limits: &Limits) -> Result<(), Refusal> {
    let used = tx.count_snapshots(caller.account.uin, &caller.region).await?;
    if used < limits.snapshots_per_region {
        return Ok(());
    }
    Err(Refusal::quota(
        "InsufficientSnapshotQuota",
        format!(
            "The limit of {} snapshots in {} is reached ({used} used). Delete one that is not needed, or ask the operator \
             for more.",
            limits.snapshots_per_region, caller.region
        ),
    ))
}

fn operation(caller: &Caller) -> LastOperation {
    LastOperation {
        action: "CreateSnapshot".to_owned(),
        state: OperationState::Operating,
        request_id: caller.request_id.clone(),
        failure: None,
    }
}

async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeSnapshots,
) -> Result<Answer, Refusal> {
    let Some(query) = query(caller, &request)? else {
        return Ok(Answer::Snapshots { snapshots: Vec::new(), total: 0 });
    };
    let mut tx = service.catalog.read().await?;
    let (found, total) = tx.snapshots(&query).await?;
    let mut tags = tx.tags_of(caller.account.uin, found.iter().map(|snapshot| snapshot.id.as_str())).await?;
    let images = tx.images_of_snapshots(found.iter().map(|snapshot| &snapshot.id)).await?;
    let mut snapshots = Vec::with_capacity(found.len());
    for snapshot in found {
        let percent = match snapshot.state {
            SnapshotState::Creating => describe_images::task_percent(&mut tx, &snapshot.task).await?,
            SnapshotState::Normal | SnapshotState::Deleted => 100,
        };
        let of_it = images.iter().filter(|(id, _, _)| *id == snapshot.id);
        let images = of_it.map(|(_, image, name)| (image.clone(), name.clone())).collect();
        let tags = tags.remove(snapshot.id.as_str()).unwrap_or_default();
        snapshots.push(SeenSnapshot { snapshot, percent, images, tags });
    }
    Ok(Answer::Snapshots { snapshots, total })
}

fn query(caller: &Caller, request: &DescribeSnapshots) -> Result<Option<SnapshotQuery>, Refusal> {
    cbs_checks::ids_or_filters("SnapshotIds", &request.snapshots, &request.filters)?;
    let mut query = SnapshotQuery {
        oldest_first: request.oldest_first,
        offset: request.offset,
        limit: cbs_checks::page_limit(request.limit)?,
        ..SnapshotQuery::all(caller.account.uin, caller.region.clone())
    };
    if !request.snapshots.is_empty() {
        query.ids = Some(request.snapshots.clone());
    }
    for filter in &request.filters {
        if !apply(&mut query, filter)? {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

/// Narrows a query by a filter. Answers false where nothing can be left.
fn apply(query: &mut SnapshotQuery, filter: &Filter) -> Result<bool, Refusal> {
    if let Some(condition) = tags::condition(filter) {
        query.tags.push(condition);
        return Ok(true);
    }
    let values = &filter.values;
    let names = |value: &str| values.iter().any(|known| known.eq_ignore_ascii_case(value));
    match filter.name.as_str() {
        "snapshot-id" => {
            query.ids = Some(values.iter().filter_map(|text| text.parse().ok()).collect());
            Ok(true)
        }
        "snapshot-name" => {
            query.names.clone_from(values);
            Ok(true)
        }
        "snapshot-state" => {
            query.states = [("NORMAL", SnapshotState::Normal), ("CREATING", SnapshotState::Creating)]
                .into_iter()
                .filter_map(|(word, state)| names(word).then_some(state))
                .collect();
            Ok(!query.states.is_empty())
        }
        "disk-usage" => {
            query.usages = values.iter().filter_map(|text| cbs_checks::usage(text)).collect();
            Ok(!query.usages.is_empty())
        }
        "disk-id" => {
            query.disks = values.iter().filter_map(|text| text.parse().ok()).collect();
            Ok(!query.disks.is_empty())
        }
        "project-id" => Ok(names("0")),
        "encrypt" => Ok(names("FALSE")),
        "snapshot-type" => Ok(names("PRIVATE_SNAPSHOT")),
        other => Err(Refusal::invalid(
            "InvalidFilter",
            format!(
                "There is no filter {other:?}. Use snapshot-id, snapshot-name, snapshot-state, disk-usage, disk-id, \
                 tag-key, tag-value or tag:KEY."
            ),
        )),
    }
}

async fn delete(
    service: &Arc<Service>,
    caller: &Caller,
    ids: Vec<SnapshotId>,
    with_images: bool,
) -> Result<Answer, Refusal> {
    let ids = cbs_checks::each_once("SnapshotIds", ids, cbs_checks::MAX_IDS)?;
    let mut tx = service.catalog.write().await?;
    for id in &ids {
        let snapshot = checks::own_snapshot(&mut tx, caller, id, "InvalidSnapshotId.NotFound").await?;
        checks::snapshot_is_normal(&snapshot)?;
    }
    delete_images_of(&mut tx, caller, &ids, with_images).await?;
    let now = Timestamp::now();
    for id in &ids {
        // One that was made with an image went with it.
        if tx.snapshot(id).await?.is_some_and(|found| found.state == SnapshotState::Normal) {
            tx.transition_snapshot(id, SnapshotEvent::Deleted, now).await?;
        }
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

/// Deletes the images that have one of the snapshots as a disk, where that is wanted.
async fn delete_images_of(
    tx: &mut Tx,
    caller: &Caller,
    snapshots: &[SnapshotId],
    wanted: bool,
) -> Result<(), Refusal> {
    let bound = tx.images_of_snapshots(snapshots).await?;
    if let Some((snapshot, image, _)) = bound.first().filter(|_| !wanted) {
        return Err(Refusal::conflict(
            "UnsupportedOperation.SnapshotHasBindedImage",
            format!(
                "Snapshot {snapshot} is a disk of image {image}. Delete the image first, or both with DeleteBindImages. \
                 Nothing was deleted."
            ),
        ));
    }
    let mut images: Vec<ImageId> = bound.into_iter().map(|(_, image, _)| image).collect();
    images.sort();
    images.dedup();
    delete_images::check_all(tx, caller, &images).await?;
    delete_images::delete_all(tx, &images).await
}
