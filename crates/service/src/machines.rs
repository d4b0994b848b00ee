//! The machines that run on this host, and what each needs beside it: the bases of its disks served, its configuration.
//!
//! A machine outlives the service's process. After a restart [`Machines::adopt`] serves the base again, which the
//! machine's reconnect delay bridges, and takes the machine up. Each base is served on a socket of its own, inside
//! the instance's directory: a guest that broke out of QEMU would find its own disk there and nobody else's.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_guest::place::NetworkFacts;
use kiln_model::{Disk, Instance, InstanceEvent, InstanceId, InstanceState, Timestamp};
use kiln_nbd::Server;
use kiln_qemu::{
    Accelerator, AcceleratorChoice, Detection, Identity, MacAddress, Machine, MachineConfig, Network,
    PortForward, Qemu, RunState, UserNetwork,
};
use tokio::sync::OnceCell;

use crate::Service;
use crate::config::{InstanceConfig, InstanceNetwork};
use crate::jobs::JobError;
use crate::machine_disks::{Bases, data_disk, data_disks_of};
use crate::usage;

/// The network that user-mode instances have their addresses in: each sees only itself there.
const USER_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
const USER_NETWORK_PREFIX: u8 = 10;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 127, 255, 253);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 127, 255, 254);
const SSH_PORT: u16 = 22;
/// How often a machine that was taken up is looked at until it answers.
const ANSWER_POLL: Duration = Duration::from_millis(50);
/// The locally administered prefix of instances' network cards; the ordinal follows.
const MAC_PREFIX: [u8; 2] = [0x52, 0x54];

/// All machines of this host.
pub(crate) struct Machines {
    dir: PathBuf,
    disks_dir: PathBuf,
    config: InstanceConfig,
    nbd: Server,
    running: Mutex<HashMap<InstanceId, Machine>>,
    bases: Mutex<HashMap<InstanceId, Arc<Bases>>>,
    qemu: OnceCell<Qemu>,
    /// Held while a guest is tried, so that the first launches of a server do not all try one at once.
    detection: tokio::sync::Mutex<Option<Detection>>,
}

/// The address that an instance has on its own network.
pub(crate) fn private_address(ordinal: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(USER_NETWORK) + 256 + ordinal)
}

/// The address of an instance's network card.
pub(crate) fn mac_address(ordinal: u32) -> MacAddress {
    let [a, b, c, d] = ordinal.to_be_bytes();
    MacAddress::new([MAC_PREFIX[0], MAC_PREFIX[1], a, b, c, d]).expect("the prefix is a unicast address's")
}

impl Machines {
    /// Keeps instances in one directory and data disks in another, of one file system.
    pub(crate) fn new(dir: PathBuf, disks_dir: PathBuf, config: InstanceConfig, nbd: Server) -> Self {
        Self {
            dir,
            disks_dir,
            config,
            nbd,
            running: Mutex::default(),
            bases: Mutex::default(),
            qemu: OnceCell::new(),
            detection: tokio::sync::Mutex::default(),
        }
    }

    /// Where an instance's files are.
    pub(crate) fn dir(&self, instance: &InstanceId) -> PathBuf {
        self.dir.join(instance.as_str())
    }

    pub(crate) fn disks_dir(&self) -> &Path {
        &self.disks_dir
    }

    pub(crate) fn nbd(&self) -> &Server {
        &self.nbd
    }

    /// The machine of an instance, if one runs.
    pub(crate) fn get(&self, instance: &InstanceId) -> Option<Machine> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    /// QEMU, looked for until it is found once.
    ///
    /// # Errors
    /// Names the package to install.
    pub(crate) async fn qemu(&self) -> Result<&Qemu, kiln_qemu::Error> {
        self.qemu.get_or_try_init(|| kiln_qemu::find_qemu(&self.config.search_path)).await
    }

    /// How guests are executed, tried once.
    async fn accelerator(&self) -> Result<Accelerator, JobError> {
        let mut known = self.detection.lock().await;
        if let Some(detection) = known.as_ref() {
            return Ok(detection.accelerator);
        }
        let qemu = self.qemu().await?;
        let detection = kiln_qemu::detect(self.config.accelerator, qemu, self.identity(0), &self.dir).await?;
        tracing::info!(accelerator = ?detection.accelerator, reason = %detection.reason, "accelerator chosen");
        Ok(known.insert(detection).accelerator)
    }

    /// Whom an instance's QEMU runs as: where the service is root, a user that nothing else has.
    pub(crate) fn identity(&self, ordinal: u32) -> Option<Identity> {
        let id = self.uid_of(ordinal);
        rustix::process::geteuid().is_root().then_some(Identity { uid: id, gid: id })
    }

    fn machine_config(&self, instance: &Instance, disks: &[Disk], accelerator: Accelerator) -> MachineConfig {
        MachineConfig {
            dir: self.dir(&instance.id),
            name: instance.id.to_string(),
            uuid: machine_uuid(&instance.id),
            vcpus: instance.instance_type.vcpus,
            memory_bytes: instance.instance_type.memory_bytes,
            accelerator,
            base_export: instance.base_manifest.to_string(),
            root_serial: instance.system_disk.to_string(),
            data_disks: disks.iter().map(data_disk).collect(),
            mac: mac_address(instance.ordinal),
            network: match &self.config.network {
                InstanceNetwork::Bridge(bridge) => Network::Bridge { bridge: bridge.clone() },
                InstanceNetwork::User(egress) => Network::User(UserNetwork {
                    address: instance.private_address,
                    prefix: USER_NETWORK_PREFIX,
                    gateway: GATEWAY,
                    dns: NAME_SERVER,
                    forwards: instance
                        .ssh_port
                        .map(|host_port| PortForward { host_port, guest_port: SSH_PORT })
                        .into_iter()
                        .collect(),
                    egress: *egress,
                }),
            },
            identity: self.identity(instance.ordinal),
        }
    }

    /// Whether instances reach their SSH through a forwarded port of this host.
    pub(crate) fn forwards_ssh(&self) -> bool {
        matches!(self.config.network, InstanceNetwork::User(_))
    }

    /// What an instance's network file says; `None` where not Kiln but the bridge's network gives it its address.
    pub(crate) fn network_facts(&self, instance: &Instance) -> Option<NetworkFacts> {
        self.forwards_ssh().then(|| NetworkFacts {
            ip: instance.private_address,
            prefix: USER_NETWORK_PREFIX,
            gateway: GATEWAY,
            dns: vec![NAME_SERVER],
            mac: mac_address(instance.ordinal).to_string(),
            hostname: instance.settings.hostname.clone(),
        })
    }

    /// The user that nothing else has, as which an instance's own processes run, where the service is root.
    pub(crate) fn uid(&self, instance: &Instance) -> u32 {
        self.uid_of(instance.ordinal)
    }

    fn uid_of(&self, ordinal: u32) -> u32 {
        self.config.first_uid.saturating_add(ordinal)
    }

    /// What is served to an instance's QEMU, where anything is.
    pub(crate) fn bases(&self, instance: &InstanceId) -> Option<Arc<Bases>> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    pub(crate) fn keep_bases(&self, instance: &InstanceId, bases: Arc<Bases>) {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.clone(), bases);
    }

    fn stop_bases(&self, instance: &InstanceId) {
        if let Some(bases) = self.bases.lock().unwrap_or_else(PoisonError::into_inner).remove(instance) {
            bases.stop();
        }
    }

    /// Switches an instance's machine on. Its directory holds its overlay and seed. A machine that runs is fine.
    pub(crate) async fn power_on(
        &self,
        service: &Arc<Service>,
        instance: &Instance,
    ) -> Result<Machine, JobError> {
        if let Some(machine) = self.answering(&instance.id).await? {
            return Ok(machine);
        }
        let disks = data_disks_of(service, &instance.id).await?;
        self.place_disks(&instance.id, &disks).await?;
        self.serve_bases(service, instance, &disks).await?;
        let qemu = self.qemu().await?;
        let accelerator = self.accelerator().await?;
        let launched = match Machine::launch(qemu, &self.machine_config(instance, &disks, accelerator)).await
        {
            Err(kiln_qemu::Error::StartFailed { reason }) if self.may_fall_back(accelerator) => {
                self.fall_back(&reason).await;
                Machine::launch(qemu, &self.machine_config(instance, &disks, Accelerator::Tcg)).await
            }
            launched => launched,
        };
        match launched {
            Ok(machine) => {
                self.watch(service, &instance.id, machine.clone());
                if let Some(frozen) = machine.frozen_disks() {
                    frozen.merge_back().await?;
                }
                Ok(machine)
            }
            Err(error) => {
                self.stop_bases(&instance.id);
                Err(error.into())
            }
        }
    }

    /// The instance's machine, once it is known to work; `None` where none runs.
    ///
    /// One that was taken up while QEMU was still starting may end yet: without a server for its base it cannot start.
    pub(crate) async fn answering(&self, id: &InstanceId) -> Result<Option<Machine>, JobError> {
        let deadline = Instant::now() + kiln_qemu::START_TIMEOUT;
        while let Some(machine) = self.get(id) {
            let state = machine.state();
            if state.exit.is_some() {
                self.forget(id, &machine);
            } else if state.run != RunState::Unknown {
                return Ok(Some(machine));
            } else if Instant::now() > deadline {
                return Err(kiln_qemu::Error::Monitor("QEMU does not answer".to_owned()).into());
            } else {
                tokio::time::sleep(ANSWER_POLL).await;
            }
        }
        Ok(None)
    }

    fn may_fall_back(&self, accelerator: Accelerator) -> bool {
        accelerator == Accelerator::Kvm && matches!(self.config.accelerator, AcceleratorChoice::Auto)
    }

    async fn fall_back(&self, reason: &str) {
        tracing::warn!(%reason, "a guest did not start on KVM; guests run on TCG from now on");
        let detection = Detection { accelerator: Accelerator::Tcg, reason: reason.to_owned() };
        *self.detection.lock().await = Some(detection);
    }

    /// Takes up the machine of an instance after the service's restart.
    ///
    /// Answers whether one runs.
    pub(crate) async fn adopt(&self, service: &Arc<Service>, instance: &Instance) -> Result<bool, JobError> {
        let dir = self.dir(&instance.id);
        if !dir.is_dir() {
            return Ok(false);
        }
        // First of all the bases: a guest may be waiting for its disk.
        let disks = data_disks_of(service, &instance.id).await?;
        self.serve_bases(service, instance, &disks).await?;
        let Some(machine) = Machine::adopt(&dir).await? else {
            self.stop_bases(&instance.id);
            return Ok(false);
        };
        self.watch(service, &instance.id, machine.clone());
        if let Some(frozen) = machine.frozen_disks() {
            frozen.merge_back().await?;
        }
        Ok(true)
    }

    /// Merges what a machine that ended while its disks were frozen left in two layers.
    pub(crate) async fn settle(&self, service: &Service, instance: &Instance) -> Result<(), JobError> {
        let disks = data_disks_of(service, &instance.id).await?;
        let config = self.machine_config(instance, &disks, Accelerator::Tcg);
        if config.disks().all(|disk| disk.layers(&config.dir).len() == 1) {
            return Ok(());
        }
        self.place_disks(&instance.id, &disks).await?;
        self.serve_bases(service, instance, &disks).await?;
        let settled = kiln_qemu::settle_disks(self.qemu().await?, &config).await;
        self.stop_bases(&instance.id);
        Ok(settled?)
    }

    fn watch(&self, service: &Arc<Service>, id: &InstanceId, machine: Machine) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), machine.clone());
        let (service, id) = (Arc::downgrade(service), id.clone());
        tokio::spawn(async move {
            let exit = machine.wait_exited().await;
            let Some(service) = service.upgrade().filter(|service| !service.shutdown.is_cancelled()) else {
                return;
            };
            tracing::info!(instance = %id, cause = ?exit.cause, detail = %exit.detail, "machine ended");
            if !service.machines.forget(&id, &machine) {
                return;
            }
            if let Err(error) = record_end(&service, &id).await {
                tracing::error!(instance = %id, %error, "the end of a machine could not be recorded");
            }
        });
    }

    /// Drops what is kept in memory about a machine that ended; whether that was still to be done. The instance's
    /// next machine, which may have been started already, is not meant.
    pub(crate) fn forget(&self, instance: &InstanceId, ended: &Machine) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(instance).is_some_and(|machine| machine.pid() == ended.pid());
        if known {
            running.remove(instance);
            self.stop_bases(instance);
        }
        known
    }
}

/// An instance whose machine ended by itself is stopped. One that an operation switched off is that task's business.
pub(crate) async fn record_end(service: &Service, id: &InstanceId) -> kiln_catalog::Result<()> {
    let mut tx = service.catalog.write().await?;
    let state = tx.instance(id).await?.map(|instance| instance.state);
    if state == Some(InstanceState::Running) {
        usage::transition(&mut tx, id, InstanceEvent::Stopped, Timestamp::now()).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// A port of the loopback address that nothing listens on now: the one that is wished for, or another.
pub(crate) fn free_port(wished: Option<u16>) -> std::io::Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr());
    let address = wished.and_then(|port| bind(port).ok()).map_or_else(|| bind(0), Ok)?;
    Ok(address.port())
}

/// The UUID that a guest sees: made from the instance's identifier, so that it stays.
pub(crate) fn machine_uuid(instance: &InstanceId) -> uuid::Uuid {
    let digest = kiln_block::Digest::of(instance.as_str().as_bytes());
    let bytes = std::array::from_fn(|index| digest.as_bytes()[index]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
