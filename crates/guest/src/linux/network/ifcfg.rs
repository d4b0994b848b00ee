//! `ifcfg-*` files of Red Hat's network scripts and of SUSE's wicked. Source: Red Hat's sysconfig.txt, ifcfg(5).

use super::{Addressing, Configurator, Interface, files, name_of};
use crate::error::Result;
use crate::linux::release::assignment;
use crate::tree::Root;

const DIRECTORIES: [&str; 2] = ["/etc/sysconfig/network-scripts", "/etc/sysconfig/network"];
const PREFIX: &str = "ifcfg-";
/// What editors and package managers leave behind; the scripts pass over them as well.
const LEFTOVERS: [&str; 8] = [".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".old", "~", ".template"];

pub(super) fn read(root: &Root) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    let is_wanted =
        |name: &str| name.starts_with(PREFIX) && !LEFTOVERS.iter().any(|leftover| name.ends_with(leftover));
    for directory in DIRECTORIES {
        for (path, text) in files(root, directory, is_wanted)? {
            let own_name = path.rsplit(PREFIX).next().unwrap_or_default();
            found.push(parse(&text, own_name, &path));
        }
    }
    Ok(found)
}

/// The interface of a text; `own_name` is the one in the file's name.
pub(crate) fn parse(text: &str, own_name: &str, path: &str) -> Interface {
    let is_set = |name: &str| assignment(text, name).is_some_and(|value| !value.is_empty());
    let is_yes = |name: &str| assignment(text, name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
    let protocol = assignment(text, "BOOTPROTO").unwrap_or_default().to_ascii_lowercase();
    let ipv4 = match protocol.as_str() {
        "dhcp" | "dhcp4" | "bootp" | "dhcp+autoip" => Addressing::Automatic,
        _ if is_set("IPADDR") || is_set("IPADDR0") || is_set("IPADDR1") => Addressing::Static,
        _ => Addressing::Unset,
    };
    let ipv6 = if is_set("IPV6ADDR") || is_set("IPV6ADDR_SECONDARIES") {
        Addressing::Static
    } else if is_yes("DHCPV6C") || is_yes("IPV6_AUTOCONF") || is_yes("IPV6INIT") || protocol == "dhcp6" {
        Addressing::Automatic
    } else {
        Addressing::Unset
    };
    let name =
        assignment(text, "DEVICE").filter(|device| !device.is_empty()).unwrap_or_else(|| own_name.to_owned());
    Interface {
        name: name_of(&name),
        ipv4,
        ipv6,
        configurator: Configurator::NetworkScripts,
        path: path.to_owned(),
    }
}
