//! From a [`MachineConfig`] to QEMU's arguments. Pure: the same configuration gives the same line.
//!
//! The disk is a graph of named nodes, the top one being what the guest's disk is connected to:
//! ```text
//! disk ── root (qcow2, root.qcow2) ── base (nbd, base.sock, read-only)
//! disk ── live (qcow2, live.qcow2) ── root ── base           after a stop in the frozen state
//! data-S ── data-S (qcow2, data-S.qcow2) ── base-S (nbd)     each data disk, by its serial number S
//! ```
//! Backing nodes are always named here, so what an image's header says about its backing file is never followed.
//! The PCI slots are fixed and in the order in which guests name disks: the root disk is the first, data disks
//! follow, the seed is the last. Reasons for single options stand at the option. Source: QEMU 7.2's manual page and QAPI schema.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::accelerator::Accelerator;
use crate::config::{DataDisk, Egress, MachineConfig, Network, UserNetwork};
use crate::layout::{self, DiskName};

/// How long the guest's reads wait for a lost NBD server before they fail, in seconds. Waiting is what keeps
/// a guest whole while Kiln is restarted or repaired, and no guest notices, so this is long.
pub const RECONNECT_DELAY_SECONDS: u32 = 24 * 60 * 60;
/// The translation cache of one machine without KVM, in MiB (QEMU's own default is up to 1 GiB).
const TCG_CACHE_MIB: u32 = 256;
/// The memory of a screen, in MiB: enough for 1920 by 1080 points.
const SCREEN_MIB: u32 = 16;

/// QEMU's system call filter, with everything denied that can be.
pub(crate) const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
/// The PCI slot of the first data disk; the others follow.
const FIRST_DATA_SLOT: u8 = 0x6;
/// The seed's block node.
const SEED_NODE: &str = "seed";

/// What the launch found or made, beyond the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// Descriptor of the bound monitor socket in QEMU's process.
    pub(crate) qmp_fd: RawFd,
    /// Descriptor of the bound console socket in QEMU's process.
    pub(crate) console_fd: RawFd,
    /// The disks whose live layers exist and go on top.
    pub(crate) layered: Vec<DiskName>,
    /// The firmware's code, where the machine starts by UEFI.
    pub(crate) uefi: Option<PathBuf>,
    /// `seed.iso` exists.
    pub(crate) seed: bool,
    /// The tap device of a bridged network.
    pub(crate) tap: Option<String>,
    /// The guest's processors do not run, and it has no network card.
    pub(crate) paused: bool,
}

/// QEMU's arguments, without its own name.
pub(crate) fn arguments(config: &MachineConfig, start: &Start) -> Vec<String> {
    let mut line = Line::default();
    line.pair("-name", format!("guest={}", escaped(&config.name)));
    line.pair("-uuid", config.uuid.to_string());
    line.machine(config, start);
    line.isolation();
    line.sockets(start);
    line.disks(config, start);
    if !start.paused {
        line.network(config, start);
    }
    line.pair("-object", "rng-builtin,id=entropy".into());
    line.pair("-device", "virtio-rng-pci,rng=entropy,addr=0x5".into());
    if start.paused {
        line.flag("-S");
    }
    line.0
}

/// Doubles commas: inside an option's value a comma ends the value otherwise.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn pair(&mut self, option: &str, value: String) {
        self.0.push(option.to_owned());
        self.0.push(value);
    }

    fn node(&mut self, node: &Value) {
        self.pair("-blockdev", node.to_string());
    }

    fn machine(&mut self, config: &MachineConfig, start: &Start) {
        // graphics=off: firmware and boot loader talk to the serial console, and so into console.log.
        let mut machine = "pc,usb=off,vmport=off,graphics=off,dump-guest-core=off".to_owned();
        if let Some(code) = &start.uefi {
            self.node(
                &json!({ "driver": "file", "node-name": "uefi-code", "filename": code, "read-only": true }),
            );
            self.node(
                &json!({ "driver": "file", "node-name": "uefi-vars", "filename": layout::UEFI_VARIABLES }),
            );
            machine.push_str(",pflash0=uefi-code,pflash1=uefi-vars");
        }
        self.pair("-machine", machine);
        for (option, value) in accelerator_options(config.accelerator) {
            self.pair(option, value);
        }
        let vcpus = config.vcpus;
        self.pair("-smp", format!("cpus={vcpus},sockets=1,cores={vcpus},threads=1"));
        self.pair("-m", format!("size={}M", config.memory_bytes >> 20));
        self.pair("-rtc", "base=utc".into());
        self.screen(start);
    }

    /// A screen that is shown to nobody but the viewers that are handed in later (see `screen`).
    fn screen(&mut self, start: &Start) {
        self.pair("-vga", "none".into());
        if start.paused {
            return self.pair("-display", "none".into());
        }
        self.pair("-vnc", "none".into());
        self.pair("-device", format!("VGA,id=screen,vgamem_mb={SCREEN_MIB},addr=0x2"));
    }

    fn isolation(&mut self) {
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        self.pair("-sandbox", SANDBOX.into());
        self.pair("-msg", "timestamp=on".into());
    }

    fn sockets(&mut self, start: &Start) {
        let Start { qmp_fd, console_fd, .. } = start;
        self.pair("-chardev", format!("socket,id=qmp,fd={qmp_fd},server=on,wait=off"));
        self.pair("-mon", "chardev=qmp,mode=control".into());
        let log = layout::CONSOLE_LOG;
        self.pair(
            "-chardev",
            format!("socket,id=console,fd={console_fd},server=on,wait=off,logfile={log},logappend=on"),
        );
        self.pair("-serial", "chardev:console".into());
    }

    fn disks(&mut self, config: &MachineConfig, start: &Start) {
        let root = DiskName::Root;
        self.node(&base(&root.base_node(), &config.base_export));
        self.node(&overlay(&root.node(), layout::ROOT, json!(root.base_node())));
        let (device, top) = (root.device(), self.top(&root, start));
        let serial = escaped(&config.root_serial);
        // A full host disk stops the guest until there is room again; any other error is the guest's to handle.
        self.pair(
            "-device",
            format!(
                "virtio-blk-pci,id={device},drive={top},serial={serial},bootindex=0,addr=0x4,\
                 werror=enospc,rerror=report"
            ),
        );
        for disk in &config.data_disks {
            self.data_disk(disk, start);
        }
        if start.seed {
            // A virtio disk, because the root disk proves that the guest has that driver.
            self.node(&json!({
                "driver": "raw",
                "node-name": SEED_NODE,
                "read-only": true,
                "file": { "driver": "file", "filename": layout::SEED },
            }));
            self.pair("-device", format!("virtio-blk-pci,drive={SEED_NODE},serial=seed,addr=0x1e"));
        }
    }

    fn data_disk(&mut self, disk: &DataDisk, start: &Start) {
        for node in disk.nodes() {
            self.node(&node);
        }
        let top = self.top(&disk.name(), start);
        self.pair("-device", disk.device(&top).to_string());
    }

    /// The node that the guest's side of a disk is connected to.
    fn top(&mut self, disk: &DiskName, start: &Start) -> String {
        if !start.layered.contains(disk) {
            return disk.node();
        }
        self.node(&overlay(&disk.live_node(), &disk.live_file(), json!(disk.node())));
        disk.live_node()
    }

    fn network(&mut self, config: &MachineConfig, start: &Start) {
        let backend = match (&config.network, &start.tap) {
            (Network::User(network), _) => user_network(network),
            (Network::Bridge { .. }, tap) => {
                let tap = tap.as_deref().unwrap_or_default();
                format!("tap,id=net,ifname={},script=no,downscript=no", escaped(tap))
            }
        };
        self.pair("-netdev", backend);
        // Without a ROM there is no network boot to wait for.
        self.pair("-device", format!("virtio-net-pci,netdev=net,mac={},romfile=,addr=0x3", config.mac));
    }
}

/// The options that choose how guest code runs.
pub(crate) fn accelerator_options(accelerator: Accelerator) -> [(&'static str, String); 2] {
    match accelerator {
        Accelerator::Kvm => [("-accel", "kvm".into()), ("-cpu", "host".into())],
        Accelerator::Tcg => {
            [("-accel", format!("tcg,thread=multi,tb-size={TCG_CACHE_MIB}")), ("-cpu", "max".into())]
        }
    }
}

/// A qcow2 node above `backing` (a node's name, or null for one that gets its place later). What the guest
/// discards or fills with zeroes takes no room, in the overlay and in an image made from it.
pub(crate) fn overlay(node: &str, file: &str, backing: Value) -> Value {
    json!({
        "driver": "qcow2",
        "node-name": node,
        "file": { "driver": "file", "filename": file },
        "backing": backing,
        "discard": "unmap",
        "detect-zeroes": "unmap",
    })
}

/// A read-only node that reads an export of `base.sock`.
pub(crate) fn base(node: &str, export: &str) -> Value {
    json!({
        "driver": "nbd",
        "node-name": node,
        "read-only": true,
        "server": { "type": "unix", "path": layout::BASE_SOCKET },
        "export": export,
        "reconnect-delay": RECONNECT_DELAY_SECONDS,
    })
}

impl DataDisk {
    pub(crate) fn name(&self) -> DiskName {
        DiskName::Data(self.serial.clone())
    }

    /// What makes up the disk: its base, where it has one, and its overlay.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        let name = self.name();
        let backing = self.base_export.as_ref().map(|_| name.base_node());
        let base = self.base_export.as_ref().map(|export| base(&name.base_node(), export));
        base.into_iter().chain([overlay(&name.node(), &name.file(), json!(backing))]).collect()
    }

    /// The guest's side of it, connected to a node.
    pub(crate) fn device(&self, top: &str) -> Value {
        json!({
            "driver": "virtio-blk-pci",
            "id": self.name().device(),
            "drive": top,
            "serial": self.serial,
            "addr": format!("0x{:x}", FIRST_DATA_SLOT + self.slot),
            "werror": "enospc",
            "rerror": "report",
        })
    }
}

fn user_network(network: &UserNetwork) -> String {
    let restrict = match network.egress {
        Egress::Isolated => "on",
        Egress::Outbound => "off",
    };
    let UserNetwork { address, prefix, gateway, dns, forwards, .. } = network;
    let own = network.network_address();
    let mut backend = format!(
        "user,id=net,ipv6=off,restrict={restrict},net={own}/{prefix},host={gateway},dns={dns},dhcpstart={address}"
    );
    for forward in forwards {
        let (host, guest) = (forward.host_port, forward.guest_port);
        backend.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-{address}:{guest}"));
    }
    backend
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{MacAddress, PortForward};

    fn config() -> MachineConfig {
        MachineConfig {
            dir: PathBuf::from("/instances/ins-1"),
            name: "ins-1".into(),
            uuid: uuid::Uuid::from_u128(7),
            vcpus: 2,
            memory_bytes: 512 << 20,
            accelerator: Accelerator::Tcg,
            base_export: "img,with=comma\"".into(),
            root_serial: "disk-1".into(),
            data_disks: Vec::new(),
            mac: MacAddress::new([0x52, 0x54, 0, 1, 2, 3]).expect("a unicast address"),
            network: Network::User(UserNetwork {
                address: Ipv4Addr::new(10, 1, 2, 9),
                prefix: 24,
                gateway: Ipv4Addr::new(10, 1, 2, 1),
                dns: Ipv4Addr::new(10, 1, 2, 2),
                forwards: vec![PortForward { host_port: 2200, guest_port: 22 }],
                egress: Egress::Isolated,
            }),
            identity: None,
        }
    }

    fn start() -> Start {
        Start {
            qmp_fd: 7,
            console_fd: 8,
            layered: Vec::new(),
            uefi: None,
            seed: false,
            tap: None,
            paused: false,
        }
    }

    fn values(arguments: &[String], option: &str) -> Vec<String> {
        let pairs = arguments.iter().zip(arguments.iter().skip(1));
        pairs.filter(|(name, _)| *name == option).map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn an_export_name_stays_one_value_whatever_it_holds() {
        let arguments = arguments(&config(), &start());
        let base: Value = serde_json::from_str(&values(&arguments, "-blockdev")[0]).expect("JSON");
        assert_eq!(base["export"], "img,with=comma\"");
    }

    #[test]
    fn a_guest_is_isolated_unless_told_otherwise() {
        let mut config = config();
        let isolated = values(&arguments(&config, &start()), "-netdev").concat();
        assert!(isolated.contains("restrict=on,net=10.1.2.0/24,host=10.1.2.1"), "{isolated}");
        assert!(isolated.ends_with("hostfwd=tcp:127.0.0.1:2200-10.1.2.9:22"), "{isolated}");
        if let Network::User(network) = &mut config.network {
            network.egress = Egress::Outbound;
        }
        assert!(values(&arguments(&config, &start()), "-netdev").concat().contains("restrict=off"));
    }

    #[test]
    fn a_live_layer_left_by_a_crash_goes_on_top() {
        let arguments = arguments(&config(), &Start { layered: vec![DiskName::Root], ..start() });
        let nodes = values(&arguments, "-blockdev");
        let live: Value = serde_json::from_str(&nodes[2]).expect("JSON");
        assert_eq!((&live["node-name"], &live["backing"]), (&json!("live"), &json!("root")));
        assert!(values(&arguments, "-device").iter().any(|device| device.contains("drive=live,")));
    }

    #[test]
    fn a_data_disk_has_a_slot_of_its_own_and_a_base_where_it_was_made_of_something() {
        let disk = |serial: &str, slot, base: Option<&str>| DataDisk {
            serial: serial.into(),
            slot,
            base_export: base.map(str::to_owned),
        };
        let data_disks = vec![disk("disk-2", 0, None), disk("disk-3", 19, Some("export"))];
        let config = MachineConfig { data_disks, ..config() };
        config.check().expect("the slots differ");
        let arguments = arguments(&config, &start());
        let nodes = values(&arguments, "-blockdev");
        let node = |number: usize| serde_json::from_str::<Value>(&nodes[number]).expect("JSON");
        assert_eq!((&node(2)["node-name"], &node(2)["backing"]), (&json!("data-disk-2"), &Value::Null));
        assert_eq!((&node(3)["node-name"], &node(3)["export"]), (&json!("base-disk-3"), &json!("export")));
        assert_eq!(node(4)["backing"], "base-disk-3");
        let devices = values(&arguments, "-device").concat();
        assert!(devices.contains(r#""addr":"0x6""#) && devices.contains(r#""addr":"0x19""#), "{devices}");
        let twice = MachineConfig { data_disks: vec![disk("a", 1, None), disk("b", 1, None)], ..config };
        assert!(twice.check().is_err());
    }

    #[test]
    fn a_machine_with_firmware_starts_by_uefi() {
        let bios = arguments(&config(), &start());
        assert!(!values(&bios, "-machine").concat().contains("pflash"));
        let uefi = arguments(&config(), &Start { uefi: Some("/firmware.fd".into()), ..start() });
        assert!(values(&uefi, "-machine").concat().ends_with(",pflash0=uefi-code,pflash1=uefi-vars"));
        let code: Value = serde_json::from_str(&values(&uefi, "-blockdev")[0]).expect("JSON");
        assert_eq!((&code["filename"], &code["read-only"]), (&json!("/firmware.fd"), &json!(true)));
    }

    #[test]
    fn every_machine_is_sandboxed() {
        assert_eq!(values(&arguments(&config(), &start()), "-sandbox"), [SANDBOX]);
    }
}
