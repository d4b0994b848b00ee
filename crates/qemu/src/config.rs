//! What a machine is made from: plain data, checked once by [`MachineConfig::check`] before any process starts.
//!
//! Deliberately absent: where the values come from. Addresses, ports and accounts are the caller's business.
//! Invariant: a checked configuration renders to a command line in which no value can add an option.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use uuid::Uuid;

use crate::accelerator::Accelerator;
use crate::error::{Error, Result};
use crate::layout::DiskName;

/// The most virtual processors of a machine (the `pc` machine type takes 255).
pub const MAX_VCPUS: u32 = 255;
/// The least memory of a machine, in bytes.
pub const MIN_MEMORY_BYTES: u64 = 16 << 20;
/// The most memory of a machine, in bytes.
pub const MAX_MEMORY_BYTES: u64 = 4 << 40;
/// The longest export name, in bytes (the NBD protocol's limit for strings).
pub const MAX_EXPORT_NAME_BYTES: usize = 4096;
/// The longest machine name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest disk serial number, in bytes (virtio-blk's field).
pub const MAX_SERIAL_BYTES: usize = 20;
/// The most data disks of a machine.
pub const MAX_DATA_DISKS: u8 = 20;
/// The most forwarded ports of a machine.
pub const MAX_FORWARDS: usize = 64;

/// Everything QEMU is told about one machine. All files are those of [`crate::layout`], inside `dir`.
#[derive(Debug, Clone)]
pub struct MachineConfig {
    /// The instance directory. It must exist; for a machine with an `identity` it becomes unwritable for QEMU.
    pub dir: PathBuf,
    /// The machine's name as shown by `ps`: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The machine's SMBIOS identity, which guests see as the system UUID.
    pub uuid: Uuid,
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Memory in bytes, a multiple of 1 MiB.
    pub memory_bytes: u64,
    /// How guest code runs.
    pub accelerator: Accelerator,
    /// The NBD export on `base.sock` that the root overlay is backed by.
    pub base_export: String,
    /// The root disk's serial number, which guests see under `/dev/disk/by-id/virtio-…`.
    pub root_serial: String,
    /// The disks beside the root disk, each in a slot of its own.
    pub data_disks: Vec<DataDisk>,
    /// The network card's address.
    pub mac: MacAddress,
    /// What the network card is connected to.
    pub network: Network,
    /// The unprivileged user QEMU runs as; needs Kiln to be root. `None` keeps Kiln's own.
    pub identity: Option<Identity>,
}

/// A disk beside the root disk. Its overlay is [`crate::layout::data_disk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDisk {
    /// Its serial number, which guests see under `/dev/disk/by-id/virtio-…`; no two disks of a machine share one.
    pub serial: String,
    /// Its place, below [`MAX_DATA_DISKS`]. At a start, guests name disks in the order of their places.
    pub slot: u8,
    /// The NBD export on `base.sock` that its overlay is backed by; one without is zeros where it holds nothing.
    pub base_export: Option<String>,
}

impl DataDisk {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// [`Error::Config`] with the first value that cannot be used.
    pub fn check(&self) -> Result<()> {
        check_word("serial", &self.serial, MAX_SERIAL_BYTES)?;
        if self.slot >= MAX_DATA_DISKS {
            return Err(Error::Config(format!("slot {} is not below {MAX_DATA_DISKS}", self.slot)));
        }
        self.base_export.as_deref().map_or(Ok(()), check_export)
    }
}

/// What a machine's network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// QEMU's user-mode network: needs no privilege, each machine alone in its own.
    User(UserNetwork),
    /// A bridge of the host. Kiln makes a tap device for the machine; needs root and `ip` (iproute2).
    Bridge {
        /// The bridge's interface name.
        bridge: String,
    },
}

/// A private network that holds one machine, its gateway and its name server, made by QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserNetwork {
    /// The machine's address, also what DHCP gives it.
    pub address: Ipv4Addr,
    /// Length of the network prefix, 8 to 29.
    pub prefix: u8,
    /// The gateway's address in the same network.
    pub gateway: Ipv4Addr,
    /// The name server's address in the same network, other than the gateway's.
    pub dns: Ipv4Addr,
    /// Ports of 127.0.0.1 that lead into the machine.
    pub forwards: Vec<PortForward>,
    /// Where the machine's own connections may go.
    pub egress: Egress,
}

/// Where connections out of a user-mode network may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Egress {
    /// Nowhere. The default, because QEMU translates the gateway's address to the *host's loopback*: a guest
    /// that may connect outwards can use every service that trusts 127.0.0.1 (Kiln's own included).
    #[default]
    Isolated,
    /// Wherever the host can connect to, including the host's loopback (as the gateway's address).
    Outbound,
}

/// One TCP port of the host's loopback address that leads to a port of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortForward {
    /// Port on 127.0.0.1.
    pub host_port: u16,
    /// Port on the machine.
    pub guest_port: u16,
}

/// An unprivileged user of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// User id, not 0.
    pub uid: u32,
    /// Group id, not 0.
    pub gid: u32,
}

/// An Ethernet address, unicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Takes a unicast address; `None` for a group address or all zeroes.
    pub fn new(octets: [u8; 6]) -> Option<Self> {
        (octets[0] & 1 == 0 && octets != [0; 6]).then_some(Self(octets))
    }

    /// The six octets.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::Config(format!("{text:?} is no unicast Ethernet address"));
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        Self::new(octets).ok_or_else(bad)
    }
}

impl MachineConfig {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// [`Error::Config`] with the first value that cannot be used.
    pub fn check(&self) -> Result<()> {
        let wrong = |reason: String| Err(Error::Config(reason));
        if !self.dir.is_absolute() {
            return wrong(format!("directory {} is not absolute", self.dir.display()));
        }
        check_word("name", &self.name, MAX_NAME_BYTES)?;
        check_word("root serial", &self.root_serial, MAX_SERIAL_BYTES)?;
        if !(1..=MAX_VCPUS).contains(&self.vcpus) {
            return wrong(format!("{} processors are not between 1 and {MAX_VCPUS}", self.vcpus));
        }
        if !(MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&self.memory_bytes) {
            return wrong(format!("{} bytes of memory are out of range", self.memory_bytes));
        }
        if !self.memory_bytes.is_multiple_of(1 << 20) {
            return wrong(format!("{} bytes of memory are no multiple of 1 MiB", self.memory_bytes));
        }
        check_export(&self.base_export)?;
        self.check_data_disks()?;
        if self.identity.is_some_and(|identity| identity.uid == 0 || identity.gid == 0) {
            return wrong("the identity must not be root's".to_owned());
        }
        match &self.network {
            Network::User(network) => network.check(),
            Network::Bridge { bridge } => check_word("bridge", bridge, crate::bridge::MAX_INTERFACE_BYTES),
        }
    }
}

impl MachineConfig {
    /// The machine's disks, the root disk first.
    pub fn disks(&self) -> impl Iterator<Item = DiskName> {
        let data_disks = self.data_disks.iter().map(|disk| DiskName::Data(disk.serial.clone()));
        std::iter::once(DiskName::Root).chain(data_disks)
    }

    fn check_data_disks(&self) -> Result<()> {
        for (position, disk) in self.data_disks.iter().enumerate() {
            disk.check()?;
            let taken = |other: &DataDisk| other.slot == disk.slot || other.serial == disk.serial;
            if self.data_disks[..position].iter().any(taken) {
                return Err(Error::Config(format!("disk {} or its slot is there twice", disk.serial)));
            }
        }
        Ok(())
    }
}

fn check_export(export: &str) -> Result<()> {
    if export.len() > MAX_EXPORT_NAME_BYTES || export.contains('\0') {
        return Err(Error::Config("the export's name is too long or holds a NUL".to_owned()));
    }
    Ok(())
}

impl UserNetwork {
    fn check(&self) -> Result<()> {
        let wrong = |reason: &str| Err(Error::Config(format!("user network: {reason}")));
        if !(8..=29).contains(&self.prefix) {
            return wrong("the prefix length is not between 8 and 29");
        }
        let hosts = [self.address, self.gateway, self.dns];
        let host_bits = !self.mask();
        for host in hosts {
            let inside = u32::from(host) & self.mask() == u32::from(self.network_address());
            let number = u32::from(host) & host_bits;
            if !inside || number == 0 || number == host_bits {
                return wrong("address, gateway and name server must be hosts of one network");
            }
        }
        if self.address == self.gateway || self.address == self.dns || self.gateway == self.dns {
            return wrong("address, gateway and name server must differ");
        }
        if self.forwards.len() > MAX_FORWARDS {
            return wrong("too many forwarded ports");
        }
        if self.forwards.iter().any(|forward| forward.host_port == 0 || forward.guest_port == 0) {
            return wrong("port 0 cannot be forwarded");
        }
        Ok(())
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// The network's own address (all host bits zero).
    pub fn network_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }
}

fn check_word(what: &str, word: &str, max_bytes: usize) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if word.is_empty() || word.len() > max_bytes || !word.bytes().all(allowed) || word.starts_with('-') {
        return Err(Error::Config(format!(
            "{what} {word:?} must be 1 to {max_bytes} letters, digits, '-', '_' or '.', and not begin with '-'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_read_and_shown_alike() {
        let mac: MacAddress = "52:54:00:0A:bc:01".parse().expect("a unicast address");
        assert_eq!(mac.to_string(), "52:54:00:0a:bc:01");
    }

    #[test]
    fn group_addresses_and_other_texts_are_no_machine_address() {
        for text in ["01:00:5e:00:00:01", "52:54:00:0a:bc", "52:54:00:0a:bc:01:02", "+2:54:00:0a:bc:01", ""] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_outside_the_network_are_refused() {
        let good = UserNetwork {
            address: Ipv4Addr::new(10, 0, 7, 5),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 7, 1),
            dns: Ipv4Addr::new(10, 0, 7, 2),
            forwards: vec![PortForward { host_port: 2222, guest_port: 22 }],
            egress: Egress::Isolated,
        };
        assert!(good.check().is_ok());
        let cases = [
            UserNetwork { gateway: Ipv4Addr::new(10, 0, 8, 1), ..good.clone() },
            UserNetwork { dns: good.gateway, ..good.clone() },
            UserNetwork { address: Ipv4Addr::new(10, 0, 7, 255), ..good.clone() },
            UserNetwork { prefix: 32, ..good.clone() },
            UserNetwork { forwards: vec![PortForward { host_port: 0, guest_port: 22 }], ..good.clone() },
        ];
        for case in cases {
            assert!(case.check().is_err(), "{case:?}");
        }
    }
}
