//! Criteria about the network configuration that an image brings along.

use kiln_guest::{Addressing, Interface, InterfaceName, Linux, System};

use super::{Check, Subject};

/// The interface that every instance has, and the only one.
const OWN: &str = "eth0";
/// Files that a sentence lists.
const PATHS_SHOWN: usize = 4;

pub(super) fn other_interfaces(subject: &Subject<'_>) -> Check {
    const FIX: &str = "Remove the configuration of interfaces other than eth0 from these files, and configure eth0 with \
                       DHCP.";
    let Some(linux) = linux(subject) else {
        return not_linux(subject);
    };
    let others: Vec<_> = linux.interfaces.iter().filter(|interface| !interface.name.may_be(OWN)).collect();
    if others.is_empty() {
        return Check::met("No interface but eth0 is configured.");
    }
    let names: Vec<_> = others.iter().take(PATHS_SHOWN).map(|one| name_text(&one.name)).collect();
    let found =
        format!("Interfaces other than eth0 are configured: {} ({}).", names.join(", "), paths(&others));
    judge(linux, found, FIX)
}

pub(super) fn static_ipv6(subject: &Subject<'_>) -> Check {
    const FIX: &str =
        "Remove the static IPv6 addresses from these files: they belong to another machine's network.";
    let Some(linux) = linux(subject) else {
        return not_linux(subject);
    };
    let fixed: Vec<_> =
        linux.interfaces.iter().filter(|interface| interface.ipv6 == Addressing::Static).collect();
    if fixed.is_empty() {
        return Check::met("No interface has a static IPv6 address.");
    }
    judge(linux, format!("Static IPv6 addresses are configured ({}).", paths(&fixed)), FIX)
}

/// A warning is enough where DHCP still brings eth0 up.
fn judge(linux: &Linux, found: String, fix: &'static str) -> Check {
    if dhcp_brings_up(linux) {
        Check::tolerable(format!("{found} DHCP still brings eth0 up."), fix)
    } else {
        Check::not_met(found, fix)
    }
}

/// Whether something configures eth0 by DHCP: a file, or cloud-init, which writes one at the first start.
fn dhcp_brings_up(linux: &Linux) -> bool {
    let by_file = linux
        .interfaces
        .iter()
        .any(|interface| interface.name.may_be(OWN) && interface.ipv4 == Addressing::Automatic);
    let cloud_init = &linux.cloud_init;
    by_file || (cloud_init.enabled && !cloud_init.network_disabled)
}

fn linux<'a>(subject: &Subject<'a>) -> Option<&'a Linux> {
    match &subject.inspection.system {
        System::Linux(linux) => Some(linux),
        _ => None,
    }
}

fn not_linux(subject: &Subject<'_>) -> Check {
    match &subject.inspection.system {
        System::None => Check::unknown(
            "The network configuration could not be found out.",
            "Import a system disk whose root is on an unencrypted partition, outside LVM.",
        ),
        _ => Check::met("Windows configures what it finds."),
    }
}

fn name_text(name: &InterfaceName) -> &str {
    match name {
        InterfaceName::Exact(text) | InterfaceName::Pattern(text) | InterfaceName::HardwareAddress(text) => {
            text
        }
        InterfaceName::Any => "any",
    }
}

fn paths(interfaces: &[&Interface]) -> String {
    let mut paths: Vec<&str> = interfaces.iter().map(|interface| interface.path.as_str()).collect();
    paths.dedup();
    paths.truncate(PATHS_SHOWN);
    paths.join(", ")
}
