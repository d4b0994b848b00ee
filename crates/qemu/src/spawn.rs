//! Starting QEMU's process, apart from Kiln and with as little as it needs.
//!
//! The process has its own session and no parent-death signal, so it outlives Kiln; no environment; no open file
//! but stdio and the sockets meant for it; no core dumps (they would hold guest memory); and, where asked for,
//! an unprivileged user without supplementary groups that cannot gain privileges again.
//!
//! This is the crate's only unsafe code. `setpriv` and `setsid` would do most of it, but could not close the
//! descriptors that Kiln itself inherited, and their failures look like QEMU's.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::FdFlags;
use rustix::process::{Pid, Resource, Rlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Identity;
use crate::error::{Error, Result};

/// A process to be started.
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    /// The working directory, entered before privileges are dropped.
    pub(crate) directory: &'a Path,
    /// Takes standard output and standard error.
    pub(crate) log: File,
    /// Open in the new process under the same numbers as here.
    pub(crate) sockets: &'a [UnixListener],
    pub(crate) identity: Option<Identity>,
    /// A group the process needs beside its identity's (for /dev/kvm).
    pub(crate) extra_group: Option<u32>,
}

impl Spawn<'_> {
    /// Starts the process.
    ///
    /// # Errors
    /// [`Error::Io`] when the program cannot be executed or a privilege not be dropped; no process is left then.
    pub(crate) fn start(self) -> Result<Pid> {
        let log_failed = Error::io("duplicate the log of", self.program);
        let error_log = self.log.try_clone().map_err(log_failed)?;
        let mut command = Command::new(self.program);
        command.args(self.arguments).current_dir(self.directory).env_clear();
        command.stdin(Stdio::null()).stdout(self.log).stderr(error_log);
        let confinement = Confinement {
            kept: self.sockets.iter().map(AsRawFd::as_raw_fd).collect(),
            identity: self.identity,
            groups: self.extra_group.map(Gid::from_raw).into_iter().collect(),
        };
        // SAFETY: the closure runs in the forked child before exec. It makes system calls on values prepared
        // here, and neither allocates nor takes locks, so the state of other threads at the fork is irrelevant.
        unsafe { command.pre_exec(move || confinement.enter()) };
        let child = command.spawn().map_err(Error::io("execute", self.program))?;
        Ok(Pid::from_child(&child))
    }
}

struct Confinement {
    kept: Vec<RawFd>,
    identity: Option<Identity>,
    groups: Vec<Gid>,
}

impl Confinement {
    fn enter(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        close_all_on_exec()?;
        for fd in &self.kept {
            // SAFETY: the listeners outlive the spawn call, so the numbers are open descriptors in the child.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        if let Some(Identity { uid, gid }) = self.identity {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::thread::set_thread_groups(&self.groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        rustix::thread::set_no_new_privs(true)?;
        Ok(())
    }
}

/// Lets tokio tell when a descriptor becomes readable; a pidfd does at its process's end.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and the result owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Marks everything above stdio close-on-exec, also what this process inherited without knowing.
fn close_all_on_exec() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call takes numbers only and touches no memory of this process.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
