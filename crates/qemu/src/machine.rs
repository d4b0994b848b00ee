//! A running machine: start it, take it up again, ask things of it, see it end.
//!
//! ```text
//!             launch                       guest powers off, force_off, crash
//! (nothing) ─────────► running ───────────────────────────────────────────────► ended (files removed)
//!                       │  ▲   adopt, by a later Kiln: any of these states
//!          freeze_disks │  │ merge_back
//!                       ▼  │
//!                     frozen    the overlays are stable; the guest goes on in the live layers
//!                       │
//!                       │ ends while frozen: all files stay; `launch` stacks them and is frozen again,
//!                       ▼                    `settle_disks` merges them without running the guest
//!                 ended, two layers
//! ```
//! Why no crash loses or revives a write of a disk: its live layer is durable before the first write goes to it. A merge only
//! copies downwards, so until its end both layers together are right. At its end the guest is paused; then both
//! layers together and root.qcow2 alone are the same disk, live.qcow2 is removed, and the guest goes on. So
//! whenever live.qcow2 exists on a stopped machine, it belongs on top. Kiln pauses a guest at no other time, and
//! one that finds a paused guest finishes this.
//!
//! A handle's requests go to one task (`supervisor`), which owns the connection to QEMU. Dropping every handle ends
//! the task and leaves the machine running. Deliberately absent: when to do any of this.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::config::{DataDisk, MachineConfig};
use crate::emulator::Qemu;
use crate::error::{Error, Result};
use crate::launch;
use crate::layout::{DiskName, InstanceDir};
use crate::process::{KILL_TIMEOUT, Process};
use crate::supervisor::{Reply, Request, Supervisor};

/// The most requests that wait for a machine's task.
pub const MAX_WAITING_REQUESTS: usize = 32;
/// How many events a slow subscriber may be behind before it loses some.
pub const EVENT_BACKLOG: usize = 256;
/// How long QEMU may take to quit before it is killed. It flushes the disk first.
pub const QUIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the power button is pressed while a guest does not react: one that is still booting misses it.
pub const POWER_BUTTON_INTERVAL: Duration = Duration::from_secs(10);

/// What a machine is doing, as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// Whether its processors run.
    pub run: RunState,
    /// Whether overlays are stable and live layers take the writes.
    pub frozen: bool,
    /// Whether the live layers are being merged back (implies `frozen`).
    pub merging: bool,
    /// Set once, when it has ended.
    pub exit: Option<Exit>,
}

/// Whether a machine's processors run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// They do.
    Running,
    /// Not for a moment, while a merge ends or before the first instruction.
    Paused,
    /// QEMU stopped them because the host had no room for a write; [`Machine::resume`] tries again.
    OutOfSpace,
    /// The guest's kernel gave up, or QEMU cannot go on with it.
    Failed,
    /// QEMU does not answer. It may still run, and can be forced off.
    Unknown,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The kind of end.
    pub cause: ExitCause,
    /// For people: what QEMU said or how its process ended.
    pub detail: String,
}

/// The kind of a machine's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCause {
    /// The guest powered itself off, by itself or because its power button was pressed.
    GuestShutdown,
    /// It was forced off through its handle.
    Forced,
    /// Somebody on the host, or its kernel for want of memory, ended QEMU with a signal.
    HostSignal,
    /// QEMU died.
    Failed,
}

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// It is powering off.
    Shutdown {
        /// The guest did it.
        by_guest: bool,
    },
    /// It restarts.
    Reset {
        /// The guest did it.
        by_guest: bool,
    },
    /// Its processors stopped.
    Paused,
    /// Its processors go on.
    Resumed,
    /// The root disk failed a request.
    DiskError {
        /// "read" or "write".
        operation: String,
        /// The host had no room, and the machine waits for it.
        out_of_space: bool,
    },
    /// The guest's kernel gave up.
    Panicked,
}

/// A handle on a running machine. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Machine {
    dir: Arc<InstanceDir>,
    process: Arc<Process>,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<MachineState>,
    events: broadcast::Sender<MachineEvent>,
}

impl Machine {
    /// Starts a machine from its directory and waits until QEMU answers. `base.sock` must be served already.
    /// A live layer left by a machine that ended while frozen is put on top, and the machine is frozen again.
    ///
    /// # Errors
    /// [`Error::StartFailed`] with what QEMU printed; [`Error::AlreadyRunning`]; [`Error::Config`]; [`Error::Io`].
    /// Also when the call is cancelled, no process and no socket is left.
    pub async fn launch(qemu: &Qemu, config: &MachineConfig) -> Result<Self> {
        launch::launch(qemu, config, false).await
    }

    /// Takes up the machine that runs from a directory, whoever launched it; `None` when none does (what an ended one
    /// left is removed then). A QEMU that does not answer is taken up too, in [`RunState::Unknown`].
    ///
    /// # Errors
    /// [`Error::Io`] when the directory or the process table cannot be read.
    pub async fn adopt(dir: &Path) -> Result<Option<Self>> {
        launch::adopt(dir).await
    }

    /// Wraps a process whose supervisor is about to run.
    pub(crate) fn supervised(supervisor: Supervisor, start: watch::Receiver<MachineState>) -> Self {
        let (requests, inbox) = mpsc::channel(MAX_WAITING_REQUESTS);
        let machine = Self {
            dir: supervisor.dir.clone(),
            process: supervisor.process.clone(),
            requests,
            state: start,
            events: supervisor.events.clone(),
        };
        tokio::spawn(supervisor.run(inbox));
        machine
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The instance directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the machine is doing, as last heard; never waits.
    pub fn state(&self) -> MachineState {
        self.state.borrow().clone()
    }

    /// What happens from now on. A subscriber that falls [`EVENT_BACKLOG`] behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.events.subscribe()
    }

    /// Waits until the machine has ended and its sockets and pid file are removed.
    pub async fn wait_exited(&self) -> Exit {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.exit.is_some()).await;
        ended.ok().and_then(|state| state.exit.clone()).unwrap_or_else(|| Exit {
            cause: ExitCause::Failed,
            detail: "the machine's task was stopped with Kiln".into(),
        })
    }

    /// Presses the power button until the guest powers off, for at most `grace`; then, if `force`, forces it off.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the guest did not power off and force was not asked for.
    pub async fn power_down(&self, grace: Duration, force: bool) -> Result<Exit> {
        let deadline = Instant::now() + grace;
        loop {
            let pressed = self.ask(|reply| Request::PowerButton { reply }).await;
            if let Err(error) = pressed
                && self.state().exit.is_none()
            {
                tracing::warn!(pid = self.pid(), %error, "the power button could not be pressed");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(exit) = timeout(left.min(POWER_BUTTON_INTERVAL), self.wait_exited()).await {
                return Ok(exit);
            }
            if left <= POWER_BUTTON_INTERVAL {
                break;
            }
        }
        if force {
            return self.force_off().await;
        }
        Err(Error::Timeout { what: "the guest's power-off".into(), limit: grace })
    }

    /// Ends the machine without asking the guest: QEMU quits, or is killed when it does not within
    /// [`QUIT_TIMEOUT`]. The disk keeps everything the guest had flushed.
    ///
    /// # Errors
    /// [`Error::Timeout`] when even the killed process does not end (its host's storage hangs).
    pub async fn force_off(&self) -> Result<Exit> {
        let asked = async {
            if self.ask(|reply| Request::Quit { reply }).await.is_ok() {
                self.wait_exited().await;
            }
        };
        let _ = timeout(QUIT_TIMEOUT, asked).await;
        if self.state().exit.is_none() {
            self.process.kill();
        }
        let ended = timeout(KILL_TIMEOUT, self.wait_exited()).await;
        ended.map_err(|_| Error::Timeout { what: "the end of a killed QEMU".into(), limit: KILL_TIMEOUT })
    }

    /// Restarts the machine as its reset button does.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Monitor`].
    pub async fn reset(&self) -> Result<()> {
        self.ask(|reply| Request::Reset { reply }).await
    }

    /// Lets a machine go on that ran out of host disk space.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Monitor`].
    pub async fn resume(&self) -> Result<()> {
        self.ask(|reply| Request::Resume { reply }).await
    }

    /// A new connection to the machine's screen, keyboard and mouse, which speaks RFB from the server's side. As many as
    /// are open see the same.
    ///
    /// # Errors
    /// [`Error::Refused`] where an earlier Kiln started the machine without a screen; [`Error::NotRunning`],
    /// [`Error::Monitor`].
    pub async fn open_screen(&self) -> Result<UnixStream> {
        self.ask(|reply| Request::Screen { reply }).await
    }

    /// Gives the guest a disk more while it runs. Its overlay is in the instance directory, and its base is served.
    /// A disk that is there already is fine.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Refused`] (the slot is taken, the overlay is unsuitable) leave the machine as it was;
    /// [`Error::NotRunning`], [`Error::Monitor`].
    pub async fn attach_disk(&self, disk: DataDisk) -> Result<()> {
        disk.check()?;
        self.ask(|reply| Request::Attach { disk, reply }).await
    }

    /// Asks the guest for a data disk back, and takes it when the guest has let go. All that the guest wrote is in the
    /// overlay then. A disk that is not there is fine.
    ///
    /// # Errors
    /// [`Error::DiskInUse`] where the guest does not give it back in time; it may do so later, and then the disk is gone
    /// from the machine. [`Error::NotRunning`], [`Error::Monitor`].
    pub async fn detach_disk(&self, serial: &str) -> Result<()> {
        let serial = serial.to_owned();
        self.ask(|reply| Request::Detach { disk: DiskName::Data(serial), reply }).await
    }

    /// Freezes disks, all at one moment: their overlays change no more until [`FrozenDisks::merge_back`]. Takes the empty
    /// overlay at [`DiskName::new_live_file`] of each (qcow2, the disk's size, no backing file), which is gone
    /// afterwards in any case. The disks are as after a power cut: consistent as a crash is.
    ///
    /// # Errors
    /// [`Error::AlreadyFrozen`], also where other disks are; [`Error::Refused`] (an unsuitable overlay, a disk that the
    /// guest has not) leaves the machine as it was.
    pub async fn freeze_disks(&self, disks: &[DiskName]) -> Result<FrozenDisks> {
        let disks = disks.to_vec();
        self.ask(|reply| Request::Freeze { disks, reply }).await?;
        Ok(FrozenDisks { machine: self.clone() })
    }

    /// The frozen disks, where the machine was adopted or launched with some.
    pub fn frozen_disks(&self) -> Option<FrozenDisks> {
        self.state().frozen.then(|| FrozenDisks { machine: self.clone() })
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Error::NotRunning)?;
        answer.await.map_err(|_| Error::NotRunning)?
    }
}

/// A machine with overlays that are stable. Dropping it leaves the machine frozen.
#[derive(Debug)]
pub struct FrozenDisks {
    machine: Machine,
}

impl FrozenDisks {
    /// The stable overlay of a frozen disk. Its header was written by Kiln, its tables by QEMU: read it as untrusted.
    pub fn overlay(&self, disk: &DiskName) -> PathBuf {
        self.machine.dir().join(disk.file())
    }

    /// Copies the live layers into the overlays and removes them, one disk after the other, while the guest runs (it pauses
    /// for the last milliseconds of each). Takes as long as copying what the guest wrote meanwhile. Cancelling does not
    /// stop the merge.
    ///
    /// # Errors
    /// [`Error::MergeFailed`]: the machine is still frozen and whole; get the disks again by
    /// [`Machine::frozen_disks`]. [`Error::NotRunning`]: it ended first; its next start is frozen again.
    pub async fn merge_back(self) -> Result<()> {
        self.machine.ask(|reply| Request::Merge { reply }).await
    }
}

/// Merges the layers of a machine that ended while frozen, without running its guest. Its bases must be served.
/// Nothing happens where each disk has one layer.
///
/// # Errors
/// As [`Machine::launch`] and [`FrozenDisks::merge_back`]; the layers are whole in any case.
pub async fn settle_disks(qemu: &Qemu, config: &MachineConfig) -> Result<()> {
    if config.disks().all(|disk| disk.layers(&config.dir).len() == 1) {
        return Ok(());
    }
    let machine = launch::launch(qemu, config, true).await?;
    let merged = machine.ask(|reply| Request::Merge { reply }).await;
    machine.force_off().await?;
    merged
}
