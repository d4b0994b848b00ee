//! netplan's YAML files. Source: netplan's "YAML configuration".

use super::{Addressing, Configurator, Interface, InterfaceName, files, name_of};
use crate::error::Result;
use crate::linux::yaml::Value;
use crate::tree::Root;

const DIRECTORIES: [&str; 2] = ["/usr/lib/netplan", "/etc/netplan"];
/// Kinds of interfaces; each is a mapping from a name to its settings.
const KINDS: [&str; 7] = ["ethernets", "wifis", "modems", "bonds", "bridges", "vlans", "tunnels"];

pub(super) fn read(root: &Root) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        for (path, text) in files(root, directory, |name| name.ends_with(".yaml"))? {
            found.extend(parse(&text, &path));
        }
    }
    Ok(found)
}

/// The interfaces of a text; none where it is not YAML, as netplan takes nothing from it then.
pub(crate) fn parse(text: &str, path: &str) -> Vec<Interface> {
    let Ok(document) = Value::parse(text) else {
        return Vec::new();
    };
    let Some(network) = document.get("network") else {
        return Vec::new();
    };
    let definitions = KINDS.iter().filter_map(|kind| network.get(kind)).flat_map(Value::fields);
    definitions.map(|(id, settings)| interface(id, settings, path)).collect()
}

fn interface(id: &str, settings: &Value, path: &str) -> Interface {
    let addresses: Vec<&str> = settings
        .get("addresses")
        .and_then(Value::items)
        .unwrap_or_default()
        .iter()
        // An address may be a mapping from itself to its options.
        .filter_map(|item| item.text().or_else(|| item.fields().first().map(|(address, _)| address.as_str())))
        .collect();
    let addressing = |key: &str, is_version_6: bool| {
        if addresses.iter().any(|address| address.contains(':') == is_version_6) {
            Addressing::Static
        } else if settings.get(key).is_some_and(Value::is_true) {
            Addressing::Automatic
        } else {
            Addressing::Unset
        }
    };
    Interface {
        name: matched_name(id, settings),
        ipv4: addressing("dhcp4", false),
        ipv6: addressing("dhcp6", true),
        configurator: Configurator::Netplan,
        path: path.to_owned(),
    }
}

/// Without `match`, the identifier is the interface's name.
fn matched_name(id: &str, settings: &Value) -> InterfaceName {
    let Some(matching) = settings.get("match") else {
        return name_of(id);
    };
    let text = |key| matching.get(key).and_then(Value::text);
    match (text("name"), text("macaddress")) {
        (Some(name), _) => name_of(name),
        (None, Some(address)) => InterfaceName::HardwareAddress(address.to_ascii_lowercase()),
        (None, None) => InterfaceName::Any,
    }
}
