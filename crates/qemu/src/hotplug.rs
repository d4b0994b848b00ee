//! Data disks that come and go while the guest runs.
//!
//! A disk comes at once. It goes when the guest has let go of it: QEMU asks the guest, as the eject button of a server's
//! slot does, and tells when it was done. A guest that never answers keeps its disk. After a request that was answered
//! by nobody, what QEMU has is looked at: the tick of the machine's task catches what no event told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::DataDisk;
use crate::disk::{DEVICES, node_names};
use crate::error::{Error, Result};
use crate::layout::DiskName;
use crate::qmp::Qmp;
use crate::supervisor::{Reply, Supervisor, answer, blocking};

/// How long a guest may take to give a disk back.
pub const DETACH_TIMEOUT: Duration = Duration::from_secs(60);

/// A disk that the guest was asked to give back, and who waits for it.
pub(crate) struct Detaching {
    name: DiskName,
    deadline: Instant,
    pub(crate) reply: Reply<()>,
}

impl Supervisor {
    pub(crate) async fn attach(&mut self, disk: &DataDisk) -> Result<()> {
        let (dir, file) = (self.dir.clone(), disk.name().file());
        blocking(move || dir.give_as_root_overlay(&file)).await?;
        let outcome = add(self.qmp()?, disk).await;
        if matches!(&outcome, Err(error) if error.is_refusal()) {
            // Whatever was made before the refusal; what was not is refused, which is fine.
            forget_nodes(self.qmp()?, &disk.name()).await?;
        }
        self.settled(outcome)
    }

    /// Asks for a disk; the answer follows when the guest has given it back.
    pub(crate) async fn detach(&mut self, name: DiskName, reply: Reply<()>) {
        match self.ask_for(&name).await {
            Ok(true) => answer(reply, Ok(())),
            Ok(false) => {
                self.detaching.push(Detaching { name, deadline: Instant::now() + DETACH_TIMEOUT, reply })
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Whether the disk is gone already.
    async fn ask_for(&mut self, name: &DiskName) -> Result<bool> {
        let outcome = ask_for(self.qmp()?, name).await;
        self.settled(outcome)
    }

    /// Takes note of a device that is gone, one that the guest gave back late included.
    pub(crate) async fn device_deleted(&mut self, device: &str) {
        let Some(name @ DiskName::Data(_)) = DiskName::of_device(device) else { return };
        let forgotten = match self.qmp() {
            Ok(qmp) => forget_nodes(qmp, &name).await,
            Err(error) => Err(error),
        };
        if let Err(error) = self.settled(forgotten) {
            // Looked at again with the next tick.
            tracing::warn!(%name, %error, "a detached disk's nodes are left");
            return;
        }
        let (gone, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.detaching).into_iter().partition(|it| it.name == name);
        self.detaching = waiting;
        for waiter in gone {
            answer(waiter.reply, Ok(()));
        }
    }

    /// Finds disks that are gone without an event that was heard, and gives up those that never go.
    pub(crate) async fn look_after_detachments(&mut self) {
        let names: Vec<DiskName> = self.detaching.iter().map(|it| it.name.clone()).collect();
        for name in names {
            let Ok(qmp) = self.qmp() else { break };
            let there = is_there(qmp, &name).await;
            if let Ok(false) = self.settled(there) {
                self.device_deleted(&name.device()).await;
            }
        }
        let now = Instant::now();
        let (late, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.detaching).into_iter().partition(|it| it.deadline <= now);
        self.detaching = waiting;
        for Detaching { name, reply, .. } in late {
            answer(reply, Err(Error::DiskInUse { disk: name.to_string(), limit: DETACH_TIMEOUT }));
        }
    }
}

async fn add(qmp: &mut Qmp, disk: &DataDisk) -> Result<()> {
    let name = disk.name();
    if is_there(qmp, &name).await? {
        return Ok(());
    }
    // What an attempt left whose Kiln was gone before its end.
    forget_nodes(qmp, &name).await?;
    for node in disk.nodes() {
        qmp.execute("blockdev-add", node).await?;
    }
    qmp.execute("device_add", disk.device(&name.node())).await.map(drop)
}

/// Presses the eject button of the disk's slot; whether there is no such disk.
async fn ask_for(qmp: &mut Qmp, name: &DiskName) -> Result<bool> {
    if !is_there(qmp, name).await? {
        forget_nodes(qmp, name).await?;
        return Ok(true);
    }
    match qmp.execute("device_del", json!({ "id": name.device() })).await {
        // It was asked for already, or went between the two commands: the next look tells.
        Err(error) if error.is_refusal() => tracing::debug!(%name, %error, "a disk is on its way"),
        outcome => drop(outcome?),
    }
    Ok(false)
}

async fn is_there(qmp: &mut Qmp, name: &DiskName) -> Result<bool> {
    let devices = qmp.execute("qom-list", json!({ "path": DEVICES })).await?;
    let devices = devices.as_array().ok_or_else(|| Error::Monitor("no list of devices".into()))?;
    Ok(devices.iter().any(|device| device["name"] == Value::String(name.device())))
}

/// Closes a disk's files, those that are open.
async fn forget_nodes(qmp: &mut Qmp, name: &DiskName) -> Result<()> {
    let nodes = node_names(qmp).await?;
    for node in [name.node(), name.base_node()] {
        if nodes.contains(&node) {
            qmp.execute("blockdev-del", json!({ "node-name": node })).await?;
        }
    }
    Ok(())
}
