//! Regions, zones, and what the regions' stores hold.

use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// All regions.
pub(crate) fn regions(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Regions(regions) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let regions: Vec<Value> = regions
        .iter()
        .map(|region| json!({"Region": region.id, "RegionName": region.name, "RegionState": "AVAILABLE"}))
        .collect();
    members(json!({"TotalCount": regions.len(), "RegionSet": regions}))
}

/// The zones of the caller's region.
pub(crate) fn zones(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Regions(regions) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let here = regions.iter().filter(|region| region.id == rendering.caller.region);
    let zones: Vec<Value> = here
        .flat_map(|region| &region.zones)
        .map(|zone| {
            json!({
                "Zone": zone.id,
                "ZoneName": zone.name,
                "ZoneId": zone.number.to_string(),
                "ZoneState": "AVAILABLE",
            })
        })
        .collect();
    members(json!({"TotalCount": zones.len(), "ZoneSet": zones}))
}

/// What the regions' stores hold.
pub(crate) fn stores(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Stores(stores) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let stores: Vec<Value> = stores
        .iter()
        .map(|store| {
            json!({
                "Region": store.region,
                "StoredBytes": store.stored_bytes,
                "Packs": store.packs,
                "Manifests": store.manifests,
                "LogicalBytes": store.logical_bytes,
            })
        })
        .collect();
    members(json!({"StoreSet": stores}))
}

/// Where the caller's buckets are reached, and how much they hold.
pub(crate) fn object_storage(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ObjectStorage(storage) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "Address": storage.address.map(|address| address.to_string()),
        "AppId": storage.app_id,
        "UsedBytes": storage.used_bytes,
        "LimitBytes": storage.limit_bytes,
    }))
}
