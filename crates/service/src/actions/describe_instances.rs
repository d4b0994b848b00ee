//! DescribeInstances, and how to reach an instance's guest.

use std::sync::Arc;

use kiln_catalog::{InstanceQuery, Tx};
use kiln_model::{Disk, InstanceId, InstanceState, Timestamp, ZoneId};
use kiln_qemu::layout;

use super::tags;
use crate::machines::machine_uuid;
use crate::{
    Answer, Caller, DescribeInstances, Filter, InstanceConnection, Refusal, SeenInstance, Service, checks,
};

/// How much of a console's log an answer carries, in bytes.
const CONSOLE_TAIL_BYTES: u64 = 64 << 10;
const MAX_IDS: usize = 100;
const MAX_FILTERS: usize = 10;
const MAX_FILTER_VALUES: usize = 5;
/// The one project there is.
const DEFAULT_PROJECT: &str = "0";
/// How all instances are paid for.
const CHARGE_TYPE: &str = "POSTPAID_BY_HOUR";

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeInstances,
) -> Result<Answer, Refusal> {
    let Some(mut query) = query(caller, &request)? else {
        return Ok(Answer::Instances { instances: Vec::new(), total: 0 });
    };
    let mut tx = service.catalog.read().await?;
    for filter in request.filters.iter().filter(|filter| filter.name == "uuid") {
        let ids = ids_of_uuids(&mut tx, caller, &filter.values).await?;
        narrow_ids(&mut query, ids);
    }
    let (found, total) = tx.instances(&query).await?;
    let ids = found.iter().map(|instance| instance.id.as_str());
    let mut tags = tx.tags_of(caller.account.uin, ids).await?;
    let mut disks = tx.data_disks_of(found.iter().map(|instance| &instance.id)).await?;
    let mut instances = Vec::with_capacity(found.len());
    for instance in found {
        let os_name = tx.image(&instance.image).await?.map(|image| image.facts.os_name).unwrap_or_default();
        let uuid = machine_uuid(&instance.id).to_string();
        let tags = tags.remove(instance.id.as_str()).unwrap_or_default();
        let at = |disk: &mut Disk| disk.attachment.as_ref().is_some_and(|at| at.instance == instance.id);
        let data_disks = disks.extract_if(.., at).collect();
        instances.push(SeenInstance { instance, os_name, uuid, data_disks, tags });
    }
    Ok(Answer::Instances { instances, total })
}

pub(super) async fn connection(
    service: &Arc<Service>,
    caller: &Caller,
    id: &InstanceId,
) -> Result<Answer, Refusal> {
    let instance = checks::own_instance(&mut service.catalog.read().await?, caller, id).await?;
    let dir = service.machines.dir(id);
    let reading = dir.clone();
    let tail = tokio::task::spawn_blocking(move || kiln_qemu::read_console(&reading, CONSOLE_TAIL_BYTES));
    let tail = tail.await.map_err(Refusal::internal)?.unwrap_or_default();
    Ok(Answer::Connection(InstanceConnection {
        ssh_port: instance.ssh_port,
        console_socket: dir.join(layout::CONSOLE_SOCKET).display().to_string(),
        console_tail: String::from_utf8_lossy(&tail).into_owned(),
    }))
}

fn query(caller: &Caller, request: &DescribeInstances) -> Result<Option<InstanceQuery>, Refusal> {
    if !request.instances.is_empty() && !request.filters.is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameter.SpecifyOneParameter",
            "InstanceIds and Filters exclude each other. Give one of them.",
        ));
    }
    if request.instances.len() > MAX_IDS {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("InstanceIds has {} entries; at most {MAX_IDS} are allowed.", request.instances.len()),
        ));
    }
    if request.filters.len() > MAX_FILTERS {
        return Err(Refusal::invalid(
            "InvalidFilter",
            format!("There are {} filters; at most {MAX_FILTERS} are allowed.", request.filters.len()),
        ));
    }
    let mut query = InstanceQuery {
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
        ..InstanceQuery::all(caller.account.uin, caller.region.clone())
    };
    if !request.instances.is_empty() {
        query.ids = Some(request.instances.clone());
    }
    for filter in &request.filters {
        if !apply(&mut query, filter)? {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

/// Narrows a query by a filter. Answers false where nothing can be left.
fn apply(query: &mut InstanceQuery, filter: &Filter) -> Result<bool, Refusal> {
    check_filter(filter)?;
    let values = &filter.values;
    if let Some(condition) = tags::condition(filter) {
        query.tags.push(condition);
        return Ok(true);
    }
    match filter.name.as_str() {
        "instance-id" => {
            let ids = values.iter().filter_map(|text| text.parse().ok()).collect();
            narrow_ids(query, ids);
            Ok(query.ids.as_ref().is_some_and(|ids| !ids.is_empty()))
        }
        // Only the catalogue can tell which they are.
        "uuid" => Ok(true),
        "project-id" => Ok(values.iter().any(|value| value == DEFAULT_PROJECT)),
        "instance-charge-type" => Ok(values.iter().any(|value| value == CHARGE_TYPE)),
        "creation-start-time" => {
            query.created_from = Some(time(filter)?);
            Ok(true)
        }
        "creation-end-time" => {
            // To the end of that second.
            query.created_until = Some(time(filter)?.plus_millis(999));
            Ok(true)
        }
        // No instance has any of these.
        "host-id"
        | "dedicated-cluster-id"
        | "vpc-id"
        | "subnet-id"
        | "security-group-id"
        | "public-ip-address"
        | "ipv6-address" => Ok(false),
        "image-id" => {
            query.images = values.iter().filter_map(|text| text.parse().ok()).collect();
            Ok(!query.images.is_empty())
        }
        "instance-name" => {
            query.names.clone_from(values);
            Ok(!values.is_empty())
        }
        "zone" => {
            query.zones = values.iter().map(|text| ZoneId::from_trusted(text.as_str())).collect();
            Ok(!values.is_empty())
        }
        "private-ip-address" => {
            query.private_addresses = values.iter().filter_map(|text| text.parse().ok()).collect();
            Ok(!query.private_addresses.is_empty())
        }
        "instance-state" => {
            query.states = values.iter().filter_map(|text| instance_state(text)).collect();
            Ok(!query.states.is_empty())
        }
        other => Err(Refusal::invalid(
            "InvalidFilter",
            format!(
                "There is no filter {other:?}. Use instance-id, image-id, instance-name, instance-state, zone, \
                 private-ip-address, uuid, creation-start-time, creation-end-time, tag-key, tag-value or tag:KEY."
            ),
        )),
    }
}

fn check_filter(filter: &Filter) -> Result<(), Refusal> {
    let values = &filter.values;
    if values.is_empty() || values.len() > MAX_FILTER_VALUES {
        return Err(Refusal::invalid(
            "InvalidFilterValue.LimitExceeded",
            format!(
                "Filter {} has {} values; 1 to {MAX_FILTER_VALUES} are allowed.",
                filter.name,
                values.len()
            ),
        ));
    }
    Ok(())
}

/// Lets only these instances through that were let through before.
fn narrow_ids(query: &mut InstanceQuery, ids: Vec<InstanceId>) {
    match &mut query.ids {
        Some(present) => present.retain(|id| ids.contains(id)),
        none => *none = Some(ids),
    }
}

async fn ids_of_uuids(tx: &mut Tx, caller: &Caller, uuids: &[String]) -> Result<Vec<InstanceId>, Refusal> {
    let ids = tx.instances_of(caller.account.uin).await?.into_iter().map(|instance| instance.id);
    Ok(ids.filter(|id| uuids.contains(&machine_uuid(id).to_string())).collect())
}

/// A filter's time, in UTC.
fn time(filter: &Filter) -> Result<Timestamp, Refusal> {
    let text = filter.values.first().map_or("", String::as_str);
    Timestamp::parse_plain(text).ok_or_else(|| {
        Refusal::invalid(
            "InvalidFilter",
            format!("Filter {} needs a time such as 2026-11-01 00:00:00, in UTC.", filter.name),
        )
    })
}

fn instance_state(text: &str) -> Option<InstanceState> {
    Some(match text {
        "PENDING" => InstanceState::Pending,
        "LAUNCH_FAILED" => InstanceState::LaunchFailed,
        "RUNNING" => InstanceState::Running,
        "STOPPED" => InstanceState::Stopped,
        "STARTING" => InstanceState::Starting,
        "STOPPING" => InstanceState::Stopping,
        "REBOOTING" => InstanceState::Rebooting,
        "TERMINATING" => InstanceState::Terminating,
        _ => return None,
    })
}
