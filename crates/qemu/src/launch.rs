//! From a configuration, or from a running process, to a supervised [`Machine`].
//!
//! Invariant: a launch that fails or is cancelled leaves no process, socket, pid file or tap device.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use crate::accelerator::kvm_group;
use crate::bridge;
use crate::command_line::{self, Start};
use crate::config::{MachineConfig, Network};
use crate::emulator::Qemu;
use crate::error::{Error, Result};
use crate::firmware::find_firmware;
use crate::layout::{self, InstanceDir};
use crate::log::qemu_log_since;
use crate::machine::Machine;
use crate::process::{KILL_TIMEOUT, Process, ProcessRecord};
use crate::qmp::Qmp;
use crate::spawn::Spawn;
use crate::supervisor::Supervisor;

/// How long QEMU may take until it answers. It opens its disks before.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a running QEMU may take to greet a new client.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a machine; a `paused` one runs no instruction of the guest and is connected to no network.
pub(crate) async fn launch(qemu: &Qemu, config: &MachineConfig, paused: bool) -> Result<Machine> {
    config.check()?;
    let dir = Arc::new(InstanceDir::open(&config.dir)?);
    if let Some(process) = running(&dir).await? {
        return Err(Error::AlreadyRunning { pid: process.0.pid() });
    }
    hand_over_files(&dir, config)?;
    let mut attempt = Attempt { dir, process: None, tap: None, finished: false };
    let started = attempt.start(qemu, config, paused).await;
    match started {
        Ok((supervisor, state)) => {
            attempt.finished = true;
            Ok(Machine::supervised(supervisor, state))
        }
        Err(error) => {
            attempt.finished = true;
            undo(attempt.dir.clone(), attempt.process.take(), attempt.tap.take()).await;
            Err(error)
        }
    }
}

/// Takes up the directory's machine.
pub(crate) async fn adopt(path: &Path) -> Result<Option<Machine>> {
    let dir = Arc::new(InstanceDir::open(path)?);
    let Some((process, record)) = running(&dir).await? else { return Ok(None) };
    let (mut supervisor, state) = Supervisor::new(dir, Arc::new(process), record.tap, 0);
    supervisor.reconnect().await;
    Ok(Some(Machine::supervised(supervisor, state)))
}

/// The directory's living process. Removes what a dead one left.
async fn running(dir: &InstanceDir) -> Result<Option<(Process, ProcessRecord)>> {
    let record = ProcessRecord::read(dir);
    if let Some(record) = &record {
        let found =
            Process::of_record(record).map_err(dir.failed("look for the process of", layout::PID_FILE))?;
        if let Some(process) = found {
            return Ok(Some((process, record.clone())));
        }
    }
    remove_traces(dir, record.and_then(|record| record.tap).as_deref()).await;
    Ok(None)
}

/// Removes what belongs to a process that has ended. Failures are logged: the next start replaces the files.
pub(crate) async fn remove_traces(dir: &InstanceDir, tap: Option<&str>) {
    for name in [layout::QMP_SOCKET, layout::CONSOLE_SOCKET, layout::PID_FILE] {
        if let Err(error) = dir.remove(name) {
            tracing::warn!(%error, "an ended machine's file was left");
        }
    }
    if let Some(tap) = tap {
        bridge::remove_tap(tap).await;
    }
}

/// Connects to the directory's monitor socket.
pub(crate) async fn connect(dir: &InstanceDir, limit: Duration) -> Result<Qmp> {
    let stream = UnixStream::connect(dir.entry(layout::QMP_SOCKET)).await;
    Qmp::greet(stream.map_err(dir.failed("connect to", layout::QMP_SOCKET))?, limit).await
}

/// Makes QEMU's user the owner of the files it writes, and of nothing else.
fn hand_over_files(dir: &InstanceDir, config: &MachineConfig) -> Result<()> {
    drop(dir.open_log(layout::CONSOLE_LOG)?);
    let Some(identity) = config.identity else { return Ok(()) };
    dir.let_through(identity)?;
    for name in [layout::ROOT, layout::BASE_SOCKET, layout::CONSOLE_LOG] {
        dir.give(name, identity)?;
    }
    for disk in &config.data_disks {
        dir.give(&layout::data_disk(&disk.serial), identity)?;
    }
    for name in config.disks().map(|disk| disk.live_file()).chain([layout::UEFI_VARIABLES.to_owned()]) {
        if dir.exists(&name) {
            dir.give(&name, identity)?;
        }
    }
    if dir.exists(layout::SEED) {
        dir.show(layout::SEED, identity)?;
    }
    Ok(())
}

/// A launch under way; dropped unfinished (a cancelled call) it undoes itself.
struct Attempt {
    dir: Arc<InstanceDir>,
    process: Option<Arc<Process>>,
    tap: Option<String>,
    finished: bool,
}

impl Attempt {
    async fn start(
        &mut self,
        qemu: &Qemu,
        config: &MachineConfig,
        paused: bool,
    ) -> Result<(Supervisor, tokio::sync::watch::Receiver<crate::machine::MachineState>)> {
        if let (Network::Bridge { bridge }, false) = (&config.network, paused) {
            let tap = self.tap.insert(bridge::tap_name(&config.dir));
            bridge::add_tap(tap, bridge, config.identity).await?;
        }
        let log = self.dir.open_log(layout::QEMU_LOG)?;
        let log_start = log.metadata().map_err(self.dir.failed("read", layout::QEMU_LOG))?.len();
        let process = self.spawn(qemu, config, paused, log)?;
        let connected = tokio::select! {
            connected = connect(&self.dir, START_TIMEOUT) => connected,
            ending = process.ended() => Err(Error::Monitor(format!("{ending:?}"))),
        };
        let qmp = match connected {
            Ok(qmp) => qmp,
            Err(error) => {
                process.kill();
                process.ended().await;
                let said = qemu_log_since(&self.dir, log_start);
                let reason = if said.is_empty() { error.to_string() } else { said };
                return Err(Error::StartFailed { reason });
            }
        };
        let (mut supervisor, state) = Supervisor::new(self.dir.clone(), process, self.tap.clone(), log_start);
        supervisor.connected(qmp).await?;
        Ok((supervisor, state))
    }

    fn spawn(
        &mut self,
        qemu: &Qemu,
        config: &MachineConfig,
        paused: bool,
        log: std::fs::File,
    ) -> Result<Arc<Process>> {
        let dir = self.dir.clone();
        let [qmp, console] = [bind(&dir, layout::QMP_SOCKET)?, bind(&dir, layout::CONSOLE_SOCKET)?];
        let start = Start {
            qmp_fd: std::os::fd::AsRawFd::as_raw_fd(&qmp),
            console_fd: std::os::fd::AsRawFd::as_raw_fd(&console),
            layered: config.disks().filter(|disk| dir.exists(&disk.live_file())).collect(),
            uefi: dir.exists(layout::UEFI_VARIABLES).then(find_firmware).transpose()?.map(|found| found.code),
            seed: dir.exists(layout::SEED),
            tap: self.tap.clone(),
            paused,
        };
        let spawn = Spawn {
            program: &qemu.path,
            arguments: &command_line::arguments(config, &start),
            directory: &dir.short_path(),
            log,
            sockets: &[qmp, console],
            identity: config.identity,
            extra_group: kvm_group(config.accelerator),
        };
        let pid = spawn.start()?;
        let process = Arc::new(Process::of_child(pid).map_err(dir.failed("watch the process of", "."))?);
        self.process = Some(process.clone());
        let record = ProcessRecord::of(pid, self.tap.clone());
        record.map_err(dir.failed("look at the process of", "."))?.write(&dir)?;
        Ok(process)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(process) = &self.process {
            process.kill();
        }
        // Without a runtime Kiln itself is ending; what is left then is removed by the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(undo(self.dir.clone(), self.process.take(), self.tap.take()));
        }
    }
}

async fn undo(dir: Arc<InstanceDir>, process: Option<Arc<Process>>, tap: Option<String>) {
    if let Some(process) = process {
        process.kill();
        if tokio::time::timeout(KILL_TIMEOUT, process.ended()).await.is_err() {
            tracing::error!(pid = process.pid(), "a QEMU that failed to start cannot be killed");
        }
    }
    remove_traces(&dir, tap.as_deref()).await;
}

/// Binds one of QEMU's sockets for it, so that it needs no right to make files, and clients may connect before it
/// is ready. Only Kiln may connect.
fn bind(dir: &InstanceDir, name: &str) -> Result<UnixListener> {
    dir.remove(name)?;
    let path = dir.entry(name);
    let listener = UnixListener::bind(&path).map_err(dir.failed("bind", name))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(dir.failed("change the mode of", name))?;
    Ok(listener)
}
