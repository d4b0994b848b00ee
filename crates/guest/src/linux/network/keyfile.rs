//! The two that write sections of `key=value`: NetworkManager's keyfiles and systemd-networkd's `.network` files.
//!
//! Sources: nm-settings-keyfile(5), systemd.network(5).

use super::{Addressing, Configurator, Interface, InterfaceName, files, name_of};
use crate::error::Result;
use crate::tree::Root;

const NETWORK_MANAGER: [&str; 2] =
    ["/etc/NetworkManager/system-connections", "/usr/lib/NetworkManager/system-connections"];
/// What the distribution ships in `/usr` is for containers and virtual devices.
const NETWORKD: &str = "/etc/systemd/network";

/// A text as section, key and value.
fn settings(text: &str) -> Vec<(&str, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with(['#', ';'])
        {
            found.push((section, key.trim(), value.trim()));
        }
    }
    found
}

fn value<'a>(settings: &[(&'a str, &'a str, &'a str)], section: &str, key: &str) -> Option<&'a str> {
    let mut values = settings.iter().filter(|(own, name, _)| *own == section && *name == key);
    values.next_back().map(|(_, _, value)| *value)
}

pub(super) fn read_network_manager(root: &Root) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    for directory in NETWORK_MANAGER {
        let texts = files(root, directory, |name| !name.starts_with('.') && !name.ends_with('~'))?;
        found.extend(texts.iter().filter_map(|(path, text)| parse_network_manager(text, path)));
    }
    Ok(found)
}

/// The interface of a connection; `None` where the text is no connection.
pub(crate) fn parse_network_manager(text: &str, path: &str) -> Option<Interface> {
    let settings = settings(text);
    value(&settings, "connection", "type")?;
    let addressing = |section| match value(&settings, section, "method") {
        Some("auto" | "dhcp") => Addressing::Automatic,
        Some("manual") => Addressing::Static,
        _ => Addressing::Unset,
    };
    let device = value(&settings, "connection", "interface-name");
    let address = value(&settings, "ethernet", "mac-address");
    let name = match (device, address) {
        (Some(name), _) => name_of(name),
        (None, Some(address)) => InterfaceName::HardwareAddress(address.to_ascii_lowercase()),
        (None, None) => InterfaceName::Any,
    };
    Some(Interface {
        name,
        ipv4: addressing("ipv4"),
        ipv6: addressing("ipv6"),
        configurator: Configurator::NetworkManager,
        path: path.to_owned(),
    })
}

pub(super) fn read_networkd(root: &Root) -> Result<Vec<Interface>> {
    let texts = files(root, NETWORKD, |name| name.ends_with(".network"))?;
    Ok(texts.iter().flat_map(|(path, text)| parse_networkd(text, path)).collect())
}

/// One interface for each name that the file matches.
pub(crate) fn parse_networkd(text: &str, path: &str) -> Vec<Interface> {
    let settings = settings(text);
    let dhcp = value(&settings, "Network", "DHCP").unwrap_or_default().to_ascii_lowercase();
    let is_all = matches!(dhcp.as_str(), "yes" | "true" | "both" | "on" | "1");
    let addresses = settings.iter().filter(|(section, key, value)| {
        matches!(*section, "Network" | "Address") && *key == "Address" && !value.is_empty()
    });
    let addresses: Vec<&str> = addresses.map(|(_, _, address)| *address).collect();
    let addressing = |word: &str, is_version_6: bool| {
        if addresses.iter().any(|address| address.contains(':') == is_version_6) {
            Addressing::Static
        } else if is_all || dhcp == word {
            Addressing::Automatic
        } else {
            Addressing::Unset
        }
    };
    let (ipv4, ipv6) = (addressing("ipv4", false), addressing("ipv6", true));
    let interface = |name| Interface {
        name,
        ipv4,
        ipv6,
        configurator: Configurator::SystemdNetworkd,
        path: path.to_owned(),
    };
    let words = |key| value(&settings, "Match", key).unwrap_or_default().split_whitespace();
    let names: Vec<_> = words("Name").map(name_of).collect();
    if !names.is_empty() {
        return names.into_iter().map(interface).collect();
    }
    let addresses =
        words("MACAddress").map(|address| InterfaceName::HardwareAddress(address.to_ascii_lowercase()));
    let found: Vec<_> = addresses.map(interface).collect();
    match found.is_empty() && settings.iter().any(|(section, ..)| *section == "Match") {
        true => vec![interface(InterfaceName::Any)],
        false => found,
    }
}
