//! The task that owns one machine: its QMP connection, its logs, its end.
//!
//! Everything that changes a machine goes through here one after the other, so no request meets a half-done other
//! one. A merge is the exception in length, not in order: the task advances it between requests. When the connection
//! is lost, or a command's outcome is unknown, the task connects again and looks at what is, before anything else.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::config::DataDisk;
use crate::error::{Error, Result};
use crate::freezing::Freeze;
use crate::hotplug::Detaching;
use crate::launch::{GREETING_TIMEOUT, connect, remove_traces};
use crate::layout::{DiskName, InstanceDir};
use crate::log::{LOG_CHECK_INTERVAL, bound_logs, qemu_log_since};
use crate::machine::{EVENT_BACKLOG, Exit, ExitCause, MachineEvent, MachineState, QUIT_TIMEOUT, RunState};
use crate::process::{Ending, Process};
use crate::qmp::{MAX_QUEUED_EVENTS, Qmp, QmpEvent};
use crate::screen;

/// How often a merge is looked at and a lost connection tried again, if no event calls earlier.
const TICK: Duration = Duration::from_secs(1);
/// How long the last events of an ended QEMU may take to be read.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a handle asks of its machine.
#[derive(Debug)]
pub(crate) enum Request {
    PowerButton { reply: Reply<()> },
    Quit { reply: Reply<()> },
    Reset { reply: Reply<()> },
    Resume { reply: Reply<()> },
    Freeze { disks: Vec<DiskName>, reply: Reply<()> },
    Merge { reply: Reply<()> },
    Screen { reply: Reply<UnixStream> },
    Attach { disk: DataDisk, reply: Reply<()> },
    Detach { disk: DiskName, reply: Reply<()> },
}

/// See the module's text.
pub(crate) struct Supervisor {
    pub(crate) dir: Arc<InstanceDir>,
    pub(crate) process: Arc<Process>,
    pub(crate) events: broadcast::Sender<MachineEvent>,
    tap: Option<String>,
    state: watch::Sender<MachineState>,
    qmp: Option<Qmp>,
    pub(crate) freeze: Freeze,
    /// Who waits for the merge under way.
    pub(crate) merge_waiters: Vec<Reply<()>>,
    /// Disks that the guest was asked to give back.
    pub(crate) detaching: Vec<Detaching>,
    /// The reason in QEMU's SHUTDOWN event.
    shutdown: Option<String>,
    quit_asked: bool,
    /// Where this process's lines begin in qemu.log.
    log_start: u64,
}

enum Step {
    Ended(Ending),
    Asked(Request),
    Released,
    Event(Result<QmpEvent>),
    Tick,
    CheckLogs,
}

impl Supervisor {
    pub(crate) fn new(
        dir: Arc<InstanceDir>,
        process: Arc<Process>,
        tap: Option<String>,
        log_start: u64,
    ) -> (Self, watch::Receiver<MachineState>) {
        let unknown = MachineState { run: RunState::Unknown, frozen: false, merging: false, exit: None };
        let (state, receiver) = watch::channel(unknown);
        let supervisor = Self {
            dir,
            process,
            events: broadcast::channel(EVENT_BACKLOG).0,
            tap,
            state,
            qmp: None,
            freeze: Freeze::default(),
            merge_waiters: Vec::new(),
            detaching: Vec::new(),
            shutdown: None,
            quit_asked: false,
            log_start,
        };
        (supervisor, receiver)
    }

    /// Serves the machine until it has ended or no handle is left.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut tick = tokio::time::interval(TICK);
        let mut log_check = tokio::time::interval(LOG_CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        log_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                ending = self.process.ended() => Step::Ended(ending),
                request = inbox.recv() => request.map_or(Step::Released, Step::Asked),
                event = next_event(&mut self.qmp) => Step::Event(event),
                _ = tick.tick() => Step::Tick,
                _ = log_check.tick() => Step::CheckLogs,
            };
            match step {
                Step::Ended(ending) => return self.finish(ending).await,
                Step::Released => return,
                Step::Asked(request) => self.serve(request).await,
                Step::Event(Ok(event)) => self.hear(event).await,
                Step::Event(Err(error)) => self.lose(&error),
                Step::Tick => self.tick().await,
                Step::CheckLogs => self.check_logs().await,
            }
        }
    }

    /// Tries to get a connection, and takes the machine's state from it.
    pub(crate) async fn reconnect(&mut self) {
        match connect(&self.dir, GREETING_TIMEOUT).await {
            Ok(qmp) => {
                if let Err(error) = self.connected(qmp).await {
                    self.lose(&error);
                }
            }
            Err(error) => tracing::debug!(pid = self.process.pid(), %error, "no connection to QEMU yet"),
        }
    }

    /// Takes over a fresh connection: finds out what the machine is doing and ends what another Kiln left half done.
    pub(crate) async fn connected(&mut self, mut qmp: Qmp) -> Result<()> {
        let run = run_state(&mut qmp).await?;
        self.find_frozen(&mut qmp).await?;
        self.qmp = Some(qmp);
        self.change_state(|state| state.run = run);
        self.publish_freeze();
        if self.state().merging {
            return self.advance_merge().await;
        }
        self.unpause().await?;
        let lost = if self.state().frozen { Err("QEMU lost the job".to_owned()) } else { Ok(()) };
        self.give_up_merge(&lost)
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::PowerButton { reply } => answer(reply, self.command("system_powerdown").await),
            Request::Reset { reply } => answer(reply, self.command("system_reset").await),
            Request::Resume { reply } => answer(reply, self.command("cont").await),
            Request::Quit { reply } => answer(reply, self.quit().await),
            Request::Screen { reply } => answer(reply, self.screen().await),
            Request::Freeze { disks, reply } => answer(reply, self.freeze(disks).await),
            Request::Attach { disk, reply } => answer(reply, self.attach(&disk).await),
            Request::Detach { disk, reply } => self.detach(disk, reply).await,
            Request::Merge { reply } => match self.start_merge().await {
                Ok(()) => self.merge_waiters.push(reply),
                Err(error) => answer(reply, Err(error)),
            },
        }
    }

    async fn command(&mut self, name: &str) -> Result<()> {
        let outcome = self.qmp()?.execute(name, json!({})).await;
        self.settled(outcome).map(drop)
    }

    async fn quit(&mut self) -> Result<()> {
        self.quit_asked = true;
        let outcome = self.qmp()?.execute_within("quit", json!({}), QUIT_TIMEOUT).await;
        self.settled(outcome).map(drop)
    }

    async fn screen(&mut self) -> Result<UnixStream> {
        let opened = screen::open(self.qmp()?).await;
        self.settled(opened)
    }

    pub(crate) fn state(&self) -> MachineState {
        self.state.borrow().clone()
    }

    pub(crate) fn change_state(&self, change: impl FnOnce(&mut MachineState)) {
        self.state.send_modify(change);
    }

    pub(crate) fn qmp(&mut self) -> Result<&mut Qmp> {
        self.qmp.as_mut().ok_or_else(|| Error::Monitor("QEMU does not answer".into()))
    }

    /// Gives the connection up after a command whose effect is unknown.
    pub(crate) fn settled<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && !error.is_refusal()
        {
            self.lose(error);
        }
        outcome
    }

    pub(crate) fn lose(&mut self, error: &Error) {
        tracing::debug!(pid = self.process.pid(), %error, "connection to QEMU lost");
        self.qmp = None;
        self.state.send_modify(|state| state.run = RunState::Unknown);
    }

    async fn hear(&mut self, event: QmpEvent) {
        let by_guest = event.data["guest"].as_bool().unwrap_or(false);
        let heard = match event.name.as_str() {
            "SHUTDOWN" => {
                self.shutdown = event.data["reason"].as_str().map(str::to_owned);
                Some(MachineEvent::Shutdown { by_guest })
            }
            "RESET" => Some(MachineEvent::Reset { by_guest }),
            "STOP" => Some(MachineEvent::Paused),
            "RESUME" => Some(MachineEvent::Resumed),
            "GUEST_PANICKED" => Some(MachineEvent::Panicked),
            "BLOCK_IO_ERROR" => Some(MachineEvent::DiskError {
                operation: event.data["operation"].as_str().unwrap_or("unknown").chars().take(16).collect(),
                out_of_space: event.data["nospace"].as_bool().unwrap_or(false),
            }),
            _ => None,
        };
        if matches!(heard, Some(MachineEvent::Paused | MachineEvent::Resumed | MachineEvent::Panicked)) {
            self.refresh_run_state().await;
        }
        if let Some(heard) = heard {
            // No subscriber is fine.
            let _ = self.events.send(heard);
        }
        if event.name == "DEVICE_DELETED" {
            self.device_deleted(event.data["device"].as_str().unwrap_or_default()).await;
        }
        if event.name == "JOB_STATUS_CHANGE" && self.state.borrow().merging {
            self.advance_merge_or_lose().await;
        }
    }

    async fn refresh_run_state(&mut self) {
        if let Some(qmp) = &mut self.qmp {
            let outcome = run_state(qmp).await;
            if let Ok(run) = self.settled(outcome) {
                self.state.send_modify(|state| state.run = run);
            }
        }
    }

    async fn tick(&mut self) {
        if self.qmp.is_none() {
            self.reconnect().await;
        } else if self.state.borrow().merging {
            self.advance_merge_or_lose().await;
        }
        self.look_after_detachments().await;
    }

    async fn check_logs(&self) {
        let dir = self.dir.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || bound_logs(&dir)).await {
            tracing::warn!(%error, "a machine's log could not be bounded");
        }
    }

    /// Publishes the end, after everything of the machine but its disk and logs is removed.
    async fn finish(mut self, ending: Ending) {
        let mut left = MAX_QUEUED_EVENTS;
        let last_words = async {
            while let Ok(event) = next_event(&mut self.qmp).await {
                if event.name == "SHUTDOWN" {
                    self.shutdown = event.data["reason"].as_str().map(str::to_owned);
                }
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        };
        if tokio::time::timeout(LAST_EVENTS_TIMEOUT, last_words).await.is_err() {
            tracing::debug!("an ended QEMU's connection stayed open");
        }
        remove_traces(&self.dir, self.tap.as_deref()).await;
        let exit = self.exit(ending);
        self.state.send_modify(|state| state.exit = Some(exit));
        for waiter in self.merge_waiters.drain(..).chain(self.detaching.drain(..).map(|it| it.reply)) {
            answer(waiter, Err(Error::NotRunning));
        }
    }

    fn exit(&self, ending: Ending) -> Exit {
        let shutdown = self.shutdown.as_deref();
        let cause = match (shutdown, ending) {
            (Some("guest-shutdown"), _) => ExitCause::GuestShutdown,
            (_, Ending::Killed(_) | Ending::Unknown) if self.quit_asked => ExitCause::Forced,
            (Some("host-qmp-quit"), _) => ExitCause::Forced,
            (Some("host-signal"), _) | (None, Ending::Killed(libc::SIGKILL)) => ExitCause::HostSignal,
            _ => ExitCause::Failed,
        };
        let mut detail = match ending {
            Ending::Exited(code) => format!("QEMU exited with status {code}"),
            Ending::Killed(signal) => format!("QEMU was ended by signal {signal}"),
            Ending::Unknown => "QEMU ended".to_owned(),
        };
        if let Some(reason) = shutdown {
            detail.push_str(&format!(", {reason:.40}"));
        }
        if cause == ExitCause::Failed {
            detail.push_str(&format!(": {}", qemu_log_since(&self.dir, self.log_start)));
        }
        Exit { cause, detail }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::NotRunning))
}

async fn next_event(qmp: &mut Option<Qmp>) -> Result<QmpEvent> {
    match qmp {
        Some(qmp) => qmp.next_event().await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn run_state(qmp: &mut Qmp) -> Result<RunState> {
    let status = qmp.execute("query-status", json!({})).await?;
    Ok(match &status["status"] {
        Value::String(status) => match status.as_str() {
            "running" => RunState::Running,
            "io-error" => RunState::OutOfSpace,
            "guest-panicked" | "internal-error" => RunState::Failed,
            _ => RunState::Paused,
        },
        _ => return Err(Error::Monitor("a status without a state".into())),
    })
}

/// A handle that stopped waiting needs no answer.
pub(crate) fn answer<T>(reply: Reply<T>, outcome: Result<T>) {
    let _ = reply.send(outcome);
}
