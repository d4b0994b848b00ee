//! DescribeInstanceTypeConfigs and its kin: the configured types of instances, which each zone of a region has.

use std::sync::Arc;

use kiln_model::{InstanceType, ZoneId};

use crate::{Answer, Caller, Filter, Refusal, Service};

/// How all instances are paid for.
const CHARGE_TYPE: &str = "POSTPAID_BY_HOUR";

pub(super) fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    filters: &[Filter],
) -> Result<Answer, Refusal> {
    let region = service
        .region(&caller.region)
        .ok_or_else(|| Refusal::internal(format!("region {}", caller.region)))?;
    let types = &service.config.instance_types;
    let mut found: Vec<(ZoneId, InstanceType)> = region
        .zones
        .iter()
        .flat_map(|zone| types.iter().map(|kind| (zone.id.clone(), kind.clone())))
        .collect();
    for filter in filters {
        narrow(&mut found, filter)?;
    }
    Ok(Answer::InstanceTypes(found))
}

fn narrow(found: &mut Vec<(ZoneId, InstanceType)>, filter: &Filter) -> Result<(), Refusal> {
    let values = &filter.values;
    let has = |text: &str| values.iter().any(|value| value == text);
    match filter.name.as_str() {
        "zone" => found.retain(|(zone, _)| has(zone.as_str())),
        "instance-type" => found.retain(|(_, kind)| has(&kind.name)),
        "instance-family" => found.retain(|(_, kind)| has(kind.family())),
        "instance-charge-type" => found.retain(|_| has(CHARGE_TYPE)),
        "sort-keys" => sort(found, values)?,
        other => {
            return Err(Refusal::invalid(
                "InvalidFilter",
                format!(
                    "There is no filter {other:?}. Use zone, instance-type, instance-family, instance-charge-type or \
                     sort-keys."
                ),
            ));
        }
    }
    Ok(())
}

/// Sorts by `cpu:asc`, `mem:desc` and the like, the first being the foremost.
fn sort(found: &mut [(ZoneId, InstanceType)], keys: &[String]) -> Result<(), Refusal> {
    for key in keys.iter().rev() {
        match key.as_str() {
            "cpu:asc" => found.sort_by_key(|(_, kind)| kind.vcpus),
            "cpu:desc" => found.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.vcpus)),
            "mem:asc" => found.sort_by_key(|(_, kind)| kind.memory_bytes),
            "mem:desc" => found.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.memory_bytes)),
            other => {
                return Err(Refusal::invalid(
                    "InvalidFilter",
                    format!("There is no sort key {other:?}. Use cpu:asc, cpu:desc, mem:asc or mem:desc."),
                ));
            }
        }
    }
    Ok(())
}
