//! CreateDisks, DescribeDisks, TerminateDisks: data disks as such. Which instance has one is `attach_disks`' business.

use std::sync::Arc;

use kiln_catalog::{DiskQuery, Tx};
use kiln_model::{
    Attachment, Disk, DiskEvent, DiskId, DiskState, DiskUsage, Limits, ManifestKey, SnapshotId, Timestamp,
    ZoneId,
};

use super::client_tokens::Repeatable;
use super::{attach_disks, cbs_checks, run_instances, tags};
use crate::{
    Answer, Caller, CreateDisks, DescribeDisks, DiskCommand, Filter, Refusal, SeenDisk, Service, checks,
};

const GIB: u64 = 1 << 30;
/// The largest disk, in GiB.
const MAX_GIB: u64 = 32_000;
const MAX_COUNT: u32 = 20;
const DEFAULT_NAME: &str = "Unnamed";

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: DiskCommand,
) -> Result<Answer, Refusal> {
    match command {
        DiskCommand::Create(request) => create(service, caller, request).await,
        DiskCommand::Describe(request) => describe(service, caller, request).await,
        DiskCommand::Attach(request) => attach_disks::attach(service, caller, request).await,
        DiskCommand::Detach { disks, instance } => {
            attach_disks::detach(service, caller, disks, instance.as_ref()).await
        }
        DiskCommand::Terminate { disks } => terminate(service, caller, disks).await,
    }
}

async fn create(service: &Arc<Service>, caller: &Caller, request: CreateDisks) -> Result<Answer, Refusal> {
    let repeatable = Repeatable::new("CreateDisks", request.client_token.as_deref(), &request);
    repeatable.check("InvalidParameter.InvalidClientToken")?;
    cbs_checks::name(request.name.as_deref(), "DiskName")?;
    check_count(request.count)?;
    tags::check(&request.tags, &tags::CBS)?;
    let zone = run_instances::zone(service, caller, Some(&request.zone))
        .map_err(|refusal| Refusal { code: "InvalidParameterValue", ..refusal })?;
    let limits = service.limits_of(caller.account.uin).await?;
    let mut tx = service.catalog.write().await?;
    if let Some(made) = repeatable.answered(&mut tx, caller, "InvalidParameter.InvalidClientToken").await? {
        return Ok(Answer::DisksCreated(made));
    }
    let content = content(&mut tx, caller, request.size_gib, request.snapshot.as_ref(), &CBS).await?;
    check_room(&mut tx, caller, request.count, &limits, "ResourceInsufficient.OverQuota").await?;
    let mut made = Vec::with_capacity(request.count as usize);
    for _ in 0..request.count {
        let disk = NewDisk { name: request.name.as_deref(), zone: &zone.id, content: &content, at: None };
        let id = disk.insert(&mut tx, caller).await?;
        tags::put(&mut tx, caller, id.as_str(), &request.tags, &tags::CBS).await?;
        made.push(id);
    }
    repeatable.remember(&mut tx, caller, &made).await?;
    tx.commit().await?;
    Ok(Answer::DisksCreated(made))
}

fn check_count(count: u32) -> Result<(), Refusal> {
    if (1..=MAX_COUNT).contains(&count) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue.LimitExceeded",
        format!("DiskCount is {count}; it must be between 1 and {MAX_COUNT}."),
    ))
}

/// What a new disk begins as.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) size_bytes: u64,
    pub(super) base_manifest: Option<ManifestKey>,
    pub(super) snapshot: Option<SnapshotId>,
}

/// What a service calls the size of a new disk, and its codes for what a disk cannot begin as.
pub(super) struct ContentCodes {
    pub(super) size: &'static str,
    pub(super) range: &'static str,
    pub(super) not_found: &'static str,
    pub(super) no_data: &'static str,
    pub(super) too_small: &'static str,
}

const CBS: ContentCodes = ContentCodes {
    size: "DiskSize",
    range: "InvalidParameterValue",
    not_found: "InvalidSnapshotId.NotFound",
    no_data: "InvalidSnapshot.NotSupported",
    too_small: "InvalidParameter.DiskSizeNotMatch",
};

/// What a new disk begins as: a snapshot of the caller's, or nothing.
pub(super) async fn content(
    tx: &mut Tx,
    caller: &Caller,
    gib: Option<u64>,
    snapshot: Option<&SnapshotId>,
    codes: &ContentCodes,
) -> Result<Content, Refusal> {
    let asked = asked_bytes(gib, codes)?;
    let Some(id) = snapshot else {
        let size_bytes = asked.ok_or_else(|| {
            Refusal::invalid("MissingParameter", format!("{} is missing: say how many GiB.", codes.size))
        })?;
        return Ok(Content { size_bytes, base_manifest: None, snapshot: None });
    };
    let snapshot = checks::own_snapshot(tx, caller, id, codes.not_found).await?;
    checks::snapshot_is_normal(&snapshot)?;
    if snapshot.usage == DiskUsage::System {
        return Err(Refusal::conflict(
            codes.no_data,
            format!(
                "Snapshot {id} is one of a system disk. Make an image of it, or name one of a data disk."
            ),
        ));
    }
    Content::of(id, snapshot.manifest, snapshot.size_bytes, asked, codes)
}

/// The bytes that were asked for, where they can be a disk's.
pub(super) fn asked_bytes(gib: Option<u64>, codes: &ContentCodes) -> Result<Option<u64>, Refusal> {
    if let Some(gib) = gib.filter(|gib| !(1..=MAX_GIB).contains(gib)) {
        let range = format!("{} is {gib} GiB; it must be between 1 and {MAX_GIB}.", codes.size);
        return Err(Refusal::invalid(codes.range, range));
    }
    Ok(gib.map(|gib| gib * GIB))
}

impl Content {
    /// A snapshot, and empty space behind it where more was asked for.
    pub(super) fn of(
        snapshot: &SnapshotId,
        base_manifest: Option<ManifestKey>,
        least_bytes: u64,
        asked_bytes: Option<u64>,
        codes: &ContentCodes,
    ) -> Result<Self, Refusal> {
        let size_bytes = asked_bytes.unwrap_or(least_bytes);
        if size_bytes < least_bytes {
            let least = least_bytes.div_ceil(GIB);
            return Err(Refusal::invalid(
                codes.too_small,
                format!("{} must be {least} GiB at least: so large is {snapshot}.", codes.size),
            ));
        }
        Ok(Self { size_bytes, base_manifest, snapshot: Some(snapshot.clone()) })
    }
}

/// That so many disks more are within the limit, in the transaction that makes them.
pub(super) async fn check_room(
    tx: &mut Tx,
    caller: &Caller,
    count: u32,
    limits: &Limits,
    code: &'static str,
) -> Result<(), Refusal> {
    let used = tx.count_disks(caller.account.uin, &caller.region).await?;
    if used.saturating_add(count) <= limits.disks_per_region {
        return Ok(());
    }
    Err(Refusal::quota(
        code,
        format!(
            "The limit of {} data disks in {} would be passed: there are {used}, and {count} were asked for. Terminate \
             some that are not needed, or ask the operator for more.",
            limits.disks_per_region, caller.region
        ),
    ))
}

/// A data disk that is about to be.
pub(super) struct NewDisk<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) zone: &'a ZoneId,
    pub(super) content: &'a Content,
    /// The instance that is launched with it, and whether it goes with that one.
    pub(super) at: Option<(Attachment, bool)>,
}

impl NewDisk<'_> {
    /// Records it. Its file is made when an instance first uses it.
    pub(super) async fn insert(self, tx: &mut Tx, caller: &Caller) -> Result<DiskId, Refusal> {
        let state = if self.at.is_some() { DiskState::Attached } else { DiskState::Unattached };
        let (attachment, delete_with_instance) = self.at.map_or((None, false), |(at, goes)| (Some(at), goes));
        let disk = Disk {
            id: DiskId::random(),
            region: caller.region.clone(),
            zone: self.zone.clone(),
            owner: caller.account.uin,
            name: self.name.unwrap_or(DEFAULT_NAME).to_owned(),
            usage: DiskUsage::Data,
            state,
            size_bytes: self.content.size_bytes,
            base_manifest: self.content.base_manifest.clone(),
            snapshot: self.content.snapshot.clone(),
            attachment,
            delete_with_instance,
            task: None,
            failure: None,
            created_at: Timestamp::now(),
        };
        tx.insert_disk(&disk).await?;
        Ok(disk.id)
    }
}

async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeDisks,
) -> Result<Answer, Refusal> {
    let Some(query) = query(caller, &request)? else {
        return Ok(Answer::Disks { disks: Vec::new(), total: 0 });
    };
    let mut tx = service.catalog.read().await?;
    let (found, total) = tx.disks(&query).await?;
    let mut tags = tx.tags_of(caller.account.uin, found.iter().map(|disk| disk.id.as_str())).await?;
    let snapshots = tx.snapshot_totals(found.iter().map(|disk| &disk.id)).await?;
    let seen = |disk: Disk| {
        let tags = tags.remove(disk.id.as_str()).unwrap_or_default();
        let snapshots = snapshots.get(&disk.id).copied().unwrap_or_default();
        SeenDisk { disk, snapshots, tags }
    };
    Ok(Answer::Disks { disks: found.into_iter().map(seen).collect(), total })
}

fn query(caller: &Caller, request: &DescribeDisks) -> Result<Option<DiskQuery>, Refusal> {
    cbs_checks::ids_or_filters("DiskIds", &request.disks, &request.filters)?;
    let mut query = DiskQuery {
        oldest_first: request.oldest_first,
        offset: request.offset,
        limit: cbs_checks::page_limit(request.limit)?,
        ..DiskQuery::all(caller.account.uin, caller.region.clone())
    };
    if !request.disks.is_empty() {
        query.ids = Some(request.disks.clone());
    }
    for filter in &request.filters {
        if !apply(&mut query, filter)? {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

/// Narrows a query by a filter. Answers false where nothing can be left.
fn apply(query: &mut DiskQuery, filter: &Filter) -> Result<bool, Refusal> {
    if let Some(condition) = tags::condition(filter) {
        query.tags.push(condition);
        return Ok(true);
    }
    let values = &filter.values;
    let names = |value: &str| values.iter().any(|known| known.eq_ignore_ascii_case(value));
    match filter.name.as_str() {
        "disk-id" => {
            query.ids = Some(values.iter().filter_map(|text| text.parse().ok()).collect());
            Ok(true)
        }
        "disk-name" => {
            query.names.clone_from(values);
            Ok(true)
        }
        "disk-usage" => {
            query.usages = values.iter().filter_map(|text| cbs_checks::usage(text)).collect();
            Ok(!query.usages.is_empty())
        }
        "portable" => {
            // Data disks are, system disks are not.
            query.usages = [("TRUE", DiskUsage::Data), ("FALSE", DiskUsage::System)]
                .into_iter()
                .filter_map(|(word, usage)| names(word).then_some(usage))
                .collect();
            Ok(!query.usages.is_empty())
        }
        "disk-state" => {
            query.states = values.iter().filter_map(|text| state(text)).collect();
            Ok(!query.states.is_empty())
        }
        "instance-id" => {
            query.instances = values.iter().filter_map(|text| text.parse().ok()).collect();
            Ok(!query.instances.is_empty())
        }
        "zone" => {
            query.zones = values.iter().map(|text| ZoneId::from_trusted(text.as_str())).collect();
            Ok(true)
        }
        "project-id" => Ok(names("0")),
        "disk-charge-type" => Ok(names("POSTPAID_BY_HOUR")),
        "disk-type" => Ok(names("CLOUD_PREMIUM")),
        "dedicated-cluster-id" | "cluster-group-id" => Ok(false),
        other => Err(Refusal::invalid(
            "InvalidFilter",
            format!(
                "There is no filter {other:?}. Use disk-id, disk-name, disk-usage, disk-state, disk-type, portable, \
                 instance-id, zone, tag-key, tag-value or tag:KEY."
            ),
        )),
    }
}

fn state(text: &str) -> Option<DiskState> {
    match text {
        "UNATTACHED" => Some(DiskState::Unattached),
        "ATTACHING" => Some(DiskState::Attaching),
        "ATTACHED" => Some(DiskState::Attached),
        "DETACHING" => Some(DiskState::Detaching),
        _ => None,
    }
}

async fn terminate(service: &Arc<Service>, caller: &Caller, disks: Vec<DiskId>) -> Result<Answer, Refusal> {
    let disks = cbs_checks::each_once("DiskIds", disks, cbs_checks::MAX_IDS)?;
    let mut tx = service.catalog.write().await?;
    for id in &disks {
        let disk = checks::own_disk(&mut tx, caller, id).await?;
        cbs_checks::is_data_disk(&disk)?;
        cbs_checks::disk_is_free(&disk)?;
        if disk.state != DiskState::Unattached {
            return Err(Refusal::conflict(
                "ResourceUnavailable.Attached",
                format!("Disk {id} belongs to an instance; detach it first. Nothing was removed."),
            ));
        }
    }
    for id in &disks {
        tx.transition_disk(id, DiskEvent::Terminated, Timestamp::now()).await?;
    }
    tx.commit().await?;
    service.machines.remove_disks(&disks).await;
    Ok(Answer::Done)
}
