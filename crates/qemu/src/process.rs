//! One QEMU process: which it is, whether it lives, its end.
//!
//! A process is held by a pidfd, so a signal can never reach another process that got the same number. The pid
//! file adds the start time and the boot to the number, so that taking a process up again cannot err either.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::error::Result;
use crate::layout::{InstanceDir, PID_FILE};
use crate::spawn::watch;

/// How long a killed process may take to end (it may be writing to a slow disk).
pub const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the pid file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub(crate) pid: i32,
    /// Clock ticks from boot to the process's start, from `/proc/<pid>/stat`.
    pub(crate) start_ticks: u64,
    /// The kernel's id of this boot.
    pub(crate) boot_id: String,
    /// The tap device to remove when the process has ended.
    pub(crate) tap: Option<String>,
}

impl ProcessRecord {
    /// Describes a living process.
    pub(crate) fn of(pid: Pid, tap: Option<String>) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        Ok(Self { pid, start_ticks: start_ticks(pid)?, boot_id: boot_id()?, tap })
    }

    pub(crate) fn write(&self, dir: &InstanceDir) -> Result<()> {
        let temporary = "qemu.pid.new";
        let text = serde_json::to_string(self).expect("strings and numbers are always JSON");
        fs::write(dir.entry(temporary), text).map_err(dir.failed("write", temporary))?;
        fs::rename(dir.entry(temporary), dir.entry(PID_FILE)).map_err(dir.failed("write", PID_FILE))
    }

    /// The record in the directory. A missing one or one that makes no sense (Kiln was killed while writing) is none.
    pub(crate) fn read(dir: &InstanceDir) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.entry(PID_FILE)).ok()?).ok()
    }
}

/// A handle on a process of ours, running or ended.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

/// How a process ended, as far as its parent can know; unknown for a process taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    Killed(i32),
    Unknown,
}

impl Process {
    /// Takes hold of a child that was just started and not waited for.
    pub(crate) fn of_child(pid: Pid) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd: watch(pidfd)? })
    }

    /// Takes hold of the recorded process, if it is still the same one and lives.
    pub(crate) fn of_record(record: &ProcessRecord) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(record.pid) else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            other => other?,
        };
        // Looked at after the pidfd is held: from here on the number cannot change its meaning unnoticed.
        let same = boot_id()? == record.boot_id && start_ticks(record.pid).ok() == Some(record.start_ticks);
        let process = Self { pid, pidfd: watch(pidfd)? };
        Ok((same && process.is_alive()).then_some(process))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Signal 0 reaches zombies too, hence the look at readiness: a pidfd is readable once the process ended.
    fn is_alive(&self) -> bool {
        let mut polled = [rustix::event::PollFd::new(self.pidfd.get_ref(), rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(0))
    }

    /// Waits for the end, and frees the child's entry in the process table where it is our child.
    pub(crate) async fn ended(&self) -> Ending {
        if self.pidfd.readable().await.is_err() {
            return Ending::Unknown;
        }
        let fd = std::os::fd::AsFd::as_fd(self.pidfd.get_ref());
        match rustix::process::waitid(WaitId::PidFd(fd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, Some(signal)) => Ending::Killed(signal),
                (None, None) => Ending::Unknown,
            },
            // Not our child, or already waited for.
            Ok(None) | Err(_) => Ending::Unknown,
        }
    }

    /// Ends the process without asking it. A process that has ended already is fine.
    pub(crate) fn kill(&self) {
        if let Err(errno) = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL)
            && errno != Errno::SRCH
        {
            tracing::error!(pid = self.pid(), %errno, "killing QEMU failed");
        }
    }
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| io::Error::other("the process status has another form"))
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)). The name, field 2, may hold spaces and parentheses: count from its end.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_process_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 100 200";
        assert_eq!(parse_start_ticks(stat), Some(98765));
        assert_eq!(parse_start_ticks("42 nonsense"), None);
    }

    #[tokio::test]
    async fn a_recycled_number_is_not_the_recorded_process() {
        let pid = Pid::from_raw(std::process::id().cast_signed()).expect("a process id is not 0");
        let own = ProcessRecord::of(pid, None).expect("own process");
        assert!(Process::of_record(&own).expect("looked").is_some());
        let earlier = ProcessRecord { start_ticks: own.start_ticks - 1, ..own.clone() };
        assert!(Process::of_record(&earlier).expect("looked").is_none());
        let other_boot = ProcessRecord { boot_id: "before".into(), ..own };
        assert!(Process::of_record(&other_boot).expect("looked").is_none());
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "`ended` waits for it")]
    async fn an_ended_child_is_not_taken_for_alive() {
        let child = std::process::Command::new("true").spawn().expect("true starts");
        let record =
            ProcessRecord::of(Pid::from_child(&child), None).expect("a child has a status until waited for");
        let process = Process::of_child(Pid::from_child(&child)).expect("a child");
        assert_eq!(process.ended().await, Ending::Exited(0));
        assert!(Process::of_record(&record).expect("looked").is_none());
    }
}
