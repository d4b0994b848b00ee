//! Work on strangers' file systems, in a process of its own that can be killed: looking at what is on a disk, and
//! placing the network file into an image without cloud-init.
//!
//! The process reads a file system that a tenant made, so it gets little: no file, no network, no new process, bounded
//! memory and time, few system calls; where Kiln is root, a user that no instance has (inspections share it among
//! themselves), else Kiln's own. The disk's bytes come to it over the one socket that it has, and its result
//! goes back over it. Here the answers are bounded and checked; whether changed bytes make sense is between the tenant
//! and its own disk, and an inspection that was talked into a lie is one of the liar's own image.

mod child;
mod filter;
mod protocol;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln_block::{BlockDevice, check_bounds};
use kiln_guest::Inspection;
use kiln_guest::place::{CHANGED_BYTES_MAX, Changes, NetworkFacts};

pub use child::work_confined;
use protocol::{self as wire, Bounds, Job, Work};

/// How the program is told to be the child.
const ARGUMENT: &str = "confined";
/// Runs of changed bytes.
const RUNS_MAX: u32 = 4096;

/// Why there is no result. Every text completes "this was not done because".
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The child's program did not start.
    #[error("no process could be started for it: {0}")]
    NotStarted(io::Error),
    /// The child says why it cannot be done.
    #[error("{0}")]
    Refused(String),
    /// It was not done in time.
    #[error("the work on its file systems was not done within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// The child ended without a result: it broke its bounds, or an assumption of its own.
    #[error("the work on its file systems broke off, out of bounds ({0})")]
    Ended(ExitStatus),
    /// The child says what it was not asked.
    #[error("the process that was to work on its file systems {0}")]
    Nonsense(&'static str),
    /// The child's end of the talk was lost.
    #[error("the process that was to work on its file systems was lost: {0}")]
    Lost(#[from] io::Error),
}

impl Unfinished {
    /// Whether it says nothing about the disk: the process did not come to look at it.
    pub(crate) fn is_this_hosts_fault(&self) -> bool {
        match self {
            Self::NotStarted(_) | Self::Lost(_) => true,
            // A process that breaks a bound is ended by a signal; one that cannot confine itself ends by itself.
            Self::Ended(status) => status.code().is_some(),
            Self::Refused(_) | Self::TimedOut(_) | Self::Nonsense(_) => false,
        }
    }
}

/// The program that becomes the confined process, and whom it becomes.
#[derive(Debug, Clone)]
pub struct Confined {
    program: PathBuf,
    uid: Option<u32>,
}

impl Confined {
    /// Children run `program`, which must call [`work_confined`] where its argument is `confined`; where this process
    /// is root, they become the user `uid`, which should be nobody else's.
    pub fn new(program: PathBuf, uid: u32) -> Self {
        Self { program, uid: rustix::process::geteuid().is_root().then_some(uid) }
    }

    /// Looks at what is on a disk. Blocks.
    ///
    /// # Errors
    /// [`Unfinished`] where nothing can be said.
    pub(crate) fn inspect(&self, disk: &dyn BlockDevice) -> Result<Inspection, Unfinished> {
        run(self.command(), disk, &self.job(disk, Work::Inspect), inspection)
    }

    /// Places the network file on `base`, and returns what that changes. Blocks.
    ///
    /// # Errors
    /// [`Unfinished`] says why the file will be missing.
    pub(crate) fn place_network_file(
        &self,
        base: &dyn BlockDevice,
        facts: NetworkFacts,
    ) -> Result<Changes, Unfinished> {
        let take = |child: &mut Timed| changes(child, base.size_bytes());
        run(self.command(), base, &self.job(base, Work::PlaceNetworkFile(facts)), take)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(ARGUMENT).env_clear();
        command
    }

    fn job(&self, disk: &dyn BlockDevice, work: Work) -> Job {
        Job { size_bytes: disk.size_bytes(), uid: self.uid, work }
    }
}

/// Starts the child and serves it until it answers, ends or its time is up. It is gone afterwards.
fn run<T>(
    command: Command,
    disk: &dyn BlockDevice,
    job: &Job,
    take_result: impl FnOnce(&mut Timed) -> Result<T, Unfinished>,
) -> Result<T, Unfinished> {
    run_within(job.work.bounds(), command, disk, job, take_result)
}

fn run_within<T>(
    bounds: Bounds,
    mut command: Command,
    disk: &dyn BlockDevice,
    job: &Job,
    take_result: impl FnOnce(&mut Timed) -> Result<T, Unfinished>,
) -> Result<T, Unfinished> {
    let deadline = Instant::now() + bounds.time;
    let started = UnixStream::pair().and_then(|(ours, theirs)| {
        command.current_dir("/").stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Running(command.spawn()?);
        // The command holds the child's end; the end of its talk is seen only when nobody does.
        drop(command);
        Ok((ours, child))
    });
    let (socket, mut child) = started.map_err(Unfinished::NotStarted)?;
    let mut talk = Timed { socket, deadline };
    let outcome = serve(&mut talk, disk, job, bounds).and_then(|()| take_result(&mut talk));
    outcome.map_err(|error| match error {
        Unfinished::Lost(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Unfinished::TimedOut(bounds.time),
            _ => child.end().map_or_else(Unfinished::Lost, Unfinished::Ended),
        },
        other => other,
    })
}

/// Gives the child its job, and answers its reads until it is done.
fn serve(child: &mut Timed, disk: &dyn BlockDevice, job: &Job, bounds: Bounds) -> Result<(), Unfinished> {
    const TOO_MUCH: Unfinished = Unfinished::Nonsense("read more than that needs");
    wire::write_job(child, job)?;
    let mut read_bytes = 0;
    for _ in 0..bounds.reads {
        match wire::read_u8(child)? {
            wire::READ => {
                let (offset, len) = (wire::read_u64(child)?, wire::read_u32(child)?);
                read_bytes += u64::from(len);
                if len as usize > wire::READ_BYTES_MAX || read_bytes > bounds.read_bytes {
                    return Err(TOO_MUCH);
                }
                let mut answer = vec![wire::ANSWERED; 1 + len as usize];
                if let Err(error) = disk.read_exact_at(&mut answer[1..], offset) {
                    tracing::warn!(%error, offset, len, "a disk could not be read for its confined process");
                    answer = vec![wire::FAILED];
                }
                child.write_all(&answer)?;
            }
            wire::DONE => return Ok(()),
            wire::REFUSED => {
                let text = wire::read_block(child, wire::REASON_BYTES_MAX)?;
                let text = text.ok_or(Unfinished::Nonsense("gave no reason"))?;
                let text = String::from_utf8_lossy(&text);
                return Err(Unfinished::Refused(
                    text.chars().filter(|letter| !letter.is_control()).collect(),
                ));
            }
            _ => return Err(Unfinished::Nonsense("answered with nonsense")),
        }
    }
    Err(TOO_MUCH)
}

/// Takes an inspection: bounded, and of the form of one.
fn inspection(child: &mut Timed) -> Result<Inspection, Unfinished> {
    let text = wire::read_block(child, wire::INSPECTION_BYTES_MAX)?;
    let text = text.ok_or(Unfinished::Nonsense("found more than a disk can hold"))?;
    serde_json::from_slice(&text).map_err(|_| Unfinished::Nonsense("answered with nonsense"))
}

/// Takes the changed bytes: bounded, on the disk, ascending.
fn changes(child: &mut Timed, size_bytes: u64) -> Result<Changes, Unfinished> {
    const NONSENSE: Unfinished = Unfinished::Nonsense("changed more than a file needs");
    let runs = wire::read_u32(child)?;
    if runs > RUNS_MAX {
        return Err(NONSENSE);
    }
    let (mut changes, mut total, mut end) = (Changes::new(), 0, 0);
    for _ in 0..runs {
        let (offset, len) = (wire::read_u64(child)?, wire::read_u32(child)? as usize);
        total += len;
        if total > CHANGED_BYTES_MAX || offset < end || check_bounds(offset, len as u64, size_bytes).is_err()
        {
            return Err(NONSENSE);
        }
        end = offset + len as u64;
        changes.push((offset, wire::read_bytes(child, len)?));
    }
    Ok(changes)
}

/// A process that does not outlive this value.
struct Running(Child);

impl Running {
    /// Kills it, if it still runs, and says how it ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // One that closed its socket is about to end by itself, and how tells more than that it was killed.
        for _ in 0..20 {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A socket whose reads and writes end at a deadline, however slowly the bytes drip.
struct Timed {
    socket: UnixStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
