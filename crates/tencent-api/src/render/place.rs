//! Regions, zones, and what the regions' stores hold.

use std::net::SocketAddr;

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
    let reached = rendering.reached.host;
    members(json!({
        "Scheme": if storage.tls { "https" } else { "http" },
        "Address": storage.address.map(|address| reachable(address, reached)),
        "AppId": storage.app_id,
        "UsedBytes": storage.used_bytes,
        "LimitBytes": storage.limit_bytes,
    }))
}

/// An address as a client can name it: where the server listens on every address, the one by which the API was reached.
fn reachable(address: SocketAddr, reached: &str) -> String {
    let host = match reached.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => reached,
    };
    if address.ip().is_unspecified() && !host.is_empty() {
        format!("{host}:{}", address.port())
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_nobody_can_name_becomes_the_one_that_was_named() {
        let check = |address: &str, reached, expected| {
            assert_eq!(reachable(address.parse().expect("an address"), reached), expected);
        };
        check("127.0.0.1:5457", "kiln.example.org:5456", "127.0.0.1:5457");
        check("0.0.0.0:5457", "kiln.example.org:5456", "kiln.example.org:5457");
        check("0.0.0.0:5457", "kiln.example.org", "kiln.example.org:5457");
        check("[::]:5457", "[2001:db8::1]:5456", "[2001:db8::1]:5457");
        check("[::]:5457", "[2001:db8::1]", "[2001:db8::1]:5457");
    }
}
