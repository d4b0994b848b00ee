//! The types of instances, in the three shapes that the public API has for them.

use std::collections::BTreeSet;

use kiln_model::{InstanceType, ZoneId};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::{gib, members, price};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

fn types(rendering: Rendering<'_>) -> Result<Vec<(ZoneId, InstanceType)>, Error> {
    match rendering.answer {
        Answer::InstanceTypes(types) => Ok(types),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// What each type has.
pub(crate) fn configs(rendering: Rendering<'_>) -> Result<Object, Error> {
    let types = types(rendering)?;
    let configs: Vec<Value> = types
        .iter()
        .map(|(zone, kind)| {
            json!({
                "Zone": zone,
                "InstanceType": kind.name,
                "InstanceFamily": kind.family(),
                "GPU": 0,
                "CPU": kind.vcpus,
                "Memory": gib(kind.memory_bytes),
                "FPGA": 0,
                "GpuCount": 0.0,
            })
        })
        .collect();
    members(json!({"InstanceTypeConfigSet": configs}))
}

/// The series that the types belong to.
pub(crate) fn families(rendering: Rendering<'_>) -> Result<Object, Error> {
    let types = types(rendering)?;
    let names: BTreeSet<&str> = types.iter().map(|(_, kind)| kind.family()).collect();
    let families: Vec<Value> =
        names.iter().map(|name| json!({"InstanceFamily": name, "InstanceFamilyName": name})).collect();
    members(json!({"InstanceFamilyConfigSet": families}))
}

/// What is for sale, and what it costs.
pub(crate) fn offers(rendering: Rendering<'_>) -> Result<Object, Error> {
    let types = types(rendering)?;
    let offers: Vec<Value> = types.iter().map(|(zone, kind)| offer(zone, kind)).collect();
    members(json!({"InstanceTypeQuotaSet": offers}))
}

fn offer(zone: &ZoneId, kind: &InstanceType) -> Value {
    json!({
        "Zone": zone,
        "InstanceType": kind.name,
        "InstanceChargeType": "POSTPAID_BY_HOUR",
        "NetworkCard": 0,
        "Externals": {},
        "Cpu": kind.vcpus,
        "Memory": gib(kind.memory_bytes),
        "InstanceFamily": kind.family(),
        "TypeName": kind.family(),
        "LocalDiskTypeList": [],
        "Status": "SELL",
        "Price": price::of_type(kind.price),
        "SoldOutReason": "",
        "InstanceBandwidth": 0.0,
        "InstancePps": 0,
        "StorageBlockAmount": 0,
        "CpuType": "",
        "Gpu": 0,
        "Fpga": 0,
        "Remark": "",
        "GpuCount": 0.0,
        "Frequency": "",
        "StatusCategory": "EnoughStock",
    })
}
