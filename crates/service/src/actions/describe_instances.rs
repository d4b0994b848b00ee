//! DescribeInstances, and how to reach an instance's guest.

use std::sync::Arc;

use kiln_catalog::InstanceQuery;
use kiln_model::{InstanceId, InstanceState, ZoneId};
use kiln_qemu::layout;

use crate::{
    Answer, Caller, DescribeInstances, Filter, InstanceConnection, Refusal, SeenInstance, Service, checks,
};

/// How much of a console's log an answer carries, in bytes.
const CONSOLE_TAIL_BYTES: u64 = 64 << 10;
const MAX_IDS: usize = 100;

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeInstances,
) -> Result<Answer, Refusal> {
    let Some(query) = query(caller, &request)? else {
        return Ok(Answer::Instances { instances: Vec::new(), total: 0 });
    };
    let mut tx = service.catalog.read().await?;
    let (found, total) = tx.instances(&query).await?;
    let mut instances = Vec::with_capacity(found.len());
    for instance in found {
        let os_name = tx.image(&instance.image).await?.map(|image| image.facts.os_name).unwrap_or_default();
        instances.push(SeenInstance { instance, os_name });
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
    let values = &filter.values;
    match filter.name.as_str() {
        "instance-id" => {
            let ids: Vec<InstanceId> = values.iter().filter_map(|text| text.parse().ok()).collect();
            let any = !ids.is_empty();
            query.ids = Some(ids);
            Ok(any)
        }
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
                "There is no filter {other:?}. Use instance-id, image-id, instance-name, instance-state, zone or \
                 private-ip-address."
            ),
        )),
    }
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
