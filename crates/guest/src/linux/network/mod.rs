//! How a system's network interfaces are configured, by whichever of five programs.
//!
//! Only what stands in files is looked at: interfaces by name and how each gets its addresses. Deliberately absent:
//! whether a program that has configuration is also the one that runs.

pub(crate) mod ifcfg;
pub(crate) mod ifupdown;
pub(crate) mod keyfile;
pub(crate) mod netplan;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::gap::{Gaps, Part};
use crate::tree::Root;

/// An interface's configuration in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Which interface it is for.
    pub name: InterfaceName,
    /// How it gets IPv4 addresses.
    pub ipv4: Addressing,
    /// How it gets IPv6 addresses.
    pub ipv6: Addressing,
    /// The program that reads it.
    pub configurator: Configurator,
    /// The file it stands in.
    pub path: String,
}

/// Which interface a configuration is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceName {
    /// This one.
    Exact(String),
    /// Those whose names fit a pattern with `*` and `?`.
    Pattern(String),
    /// The one with this hardware address.
    HardwareAddress(String),
    /// Every one.
    Any,
}

/// How an interface gets its addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addressing {
    /// Nothing is said.
    #[default]
    Unset,
    /// By DHCP or router advertisements.
    Automatic,
    /// They stand in the file.
    Static,
}

/// A program that configures interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Configurator {
    Ifupdown,
    NetworkScripts,
    Netplan,
    NetworkManager,
    SystemdNetworkd,
}

impl InterfaceName {
    /// Whether an interface with this name can be meant.
    pub fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Pattern(pattern) => fits(pattern.as_bytes(), name.as_bytes()),
            Self::HardwareAddress(_) => false,
            Self::Any => true,
        }
    }
}

/// Files of one configurator that are read.
const FILES_MAX: usize = 256;
/// Interfaces that are listed.
const INTERFACES_MAX: usize = 512;

/// Reads every configuration; the loopback interface is left out.
pub(crate) fn read(root: &Root, gaps: &mut Gaps) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    for read in
        [ifupdown::read, ifcfg::read, netplan::read, keyfile::read_network_manager, keyfile::read_networkd]
    {
        found.extend(gaps.keep(Part::Network, read(root))?);
    }
    found.retain(|interface| interface.name != InterfaceName::Exact("lo".to_owned()));
    found.truncate(INTERFACES_MAX);
    Ok(found)
}

/// Whether a name fits a pattern of `*`, `?` and literal bytes; in time that grows with their product.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether a name is a pattern, an ordinary name, or everything.
fn name_of(text: &str) -> InterfaceName {
    match text {
        "*" => InterfaceName::Any,
        pattern if pattern.contains(['*', '?', '[']) => InterfaceName::Pattern(pattern.to_owned()),
        exact => InterfaceName::Exact(exact.to_owned()),
    }
}

/// The text files of a directory whose names end with a suffix, with their paths.
fn files(root: &Root, directory: &str, fits: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for name in root.list(directory)?.iter().filter(|name| fits(name)).take(FILES_MAX) {
        let path = format!("{directory}/{name}");
        if let Some(text) = root.text(&path)? {
            found.push((path, text));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    /// What `read` finds, in a form that is easy to compare: name, IPv4, IPv6.
    fn found(files: &[(&str, &str)]) -> Vec<(String, Addressing, Addressing)> {
        let mut gaps = Gaps::default();
        let interfaces = read(&root(files), &mut gaps).expect("readable");
        assert_eq!(gaps.found, []);
        let text = |name| match name {
            InterfaceName::Exact(text) | InterfaceName::Pattern(text) => text,
            InterfaceName::HardwareAddress(text) => format!("mac {text}"),
            InterfaceName::Any => "any".to_owned(),
        };
        interfaces.into_iter().map(|one| (text(one.name), one.ipv4, one.ipv6)).collect()
    }

    fn check(files: &[(&str, &str)], expected: &[(&str, Addressing, Addressing)]) {
        let expected: Vec<_> = expected.iter().map(|(name, v4, v6)| ((*name).to_owned(), *v4, *v6)).collect();
        assert_eq!(found(files), expected);
    }

    use Addressing::{Automatic, Static, Unset};

    #[test]
    fn ifupdown() {
        check(
            &[
                (
                    "/etc/network/interfaces",
                    "source /etc/network/interfaces.d/*\nauto lo eth0\niface lo inet loopback\n\
                     iface eth0 inet \\\n dhcp\niface eth0 inet6 static\n  address 2001:db8::1/64\n",
                ),
                ("/etc/network/interfaces.d/50-other", "iface ens3 inet static\n address 10.0.0.2/24\n"),
            ],
            &[("ens3", Static, Unset), ("eth0", Automatic, Unset), ("eth0", Unset, Static)],
        );
        let loops = ("/etc/network/interfaces", "source /etc/network/interfaces\niface eth0 inet dhcp");
        assert!(found(&[loops]).len() < 20, "a file that includes itself ends");
    }

    #[test]
    fn network_scripts() {
        let directory = "/etc/sysconfig/network-scripts";
        check(
            &[
                (&format!("{directory}/ifcfg-eth0"), "DEVICE=eth0\nBOOTPROTO=\"dhcp\"\nIPV6INIT=yes\n"),
                (
                    &format!("{directory}/ifcfg-eth1"),
                    "BOOTPROTO=none\nIPADDR=10.0.0.1\nIPV6ADDR=2001:db8::2\n",
                ),
                (&format!("{directory}/ifcfg-lo"), "DEVICE=lo\nIPADDR=127.0.0.1\n"),
                (&format!("{directory}/ifcfg-eth2.bak"), "DEVICE=eth2\n"),
                (
                    "/etc/sysconfig/network/ifcfg-eth3",
                    "BOOTPROTO='static'\nIPADDR='10.1.1.1/24'\nSTARTMODE='auto'\n",
                ),
            ],
            &[("eth0", Automatic, Automatic), ("eth1", Static, Static), ("eth3", Static, Unset)],
        );
    }

    #[test]
    fn netplan() {
        check(
            &[(
                "/etc/netplan/50-cloud-init.yaml",
                "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n    any:\n      match: {name: 'en*'}\n      \
                 addresses: [10.0.0.1/24, '2001:db8::1/64']\n    card:\n      match: {macaddress: '52:54:00:00:00:01'}\n      \
                 dhcp4: yes\n      dhcp6: on\n  bonds:\n    bond0: {interfaces: [eth0]}\n",
            )],
            &[
                ("eth0", Automatic, Unset),
                ("en*", Static, Static),
                ("mac 52:54:00:00:00:01", Automatic, Automatic),
                ("bond0", Unset, Unset),
            ],
        );
    }

    #[test]
    fn network_manager() {
        let directory = "/etc/NetworkManager/system-connections";
        check(
            &[
                (
                    &format!("{directory}/a.nmconnection"),
                    "[connection]\nid=a\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=auto\n",
                ),
                (
                    &format!("{directory}/b"),
                    "[connection]\ntype=ethernet\n[ipv4]\nmethod=manual\n[ipv6]\nmethod=ignore\n",
                ),
            ],
            &[("eth0", Automatic, Automatic), ("any", Static, Unset)],
        );
    }

    #[test]
    fn networkd() {
        check(
            &[
                ("/etc/systemd/network/10-a.network", "[Match]\nName=eth0 en*\n[Network]\nDHCP=yes\n"),
                (
                    "/etc/systemd/network/20-b.network",
                    "[Match]\nType=ether\n[Network]\nDHCP=ipv4\nAddress=2001:db8::1/64\n",
                ),
                (
                    "/etc/systemd/network/30-c.network",
                    "[Match]\nMACAddress=52:54:00:00:00:01\n[Address]\nAddress=10.0.0.1/24\n",
                ),
                ("/etc/systemd/network/mask.network", "-> /dev/null"),
            ],
            &[
                ("eth0", Automatic, Automatic),
                ("en*", Automatic, Automatic),
                ("any", Automatic, Static),
                ("mac 52:54:00:00:00:01", Static, Unset),
            ],
        );
    }

    #[test]
    fn patterns_fit_as_globs_do() {
        for (pattern, name, expected) in [
            ("en*", "ens3", true),
            ("e*0", "eth0", true),
            ("e*0", "eth1", false),
            ("eth?", "eth0", true),
            ("eth?", "eth10", false),
            ("**a**a**a**b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
