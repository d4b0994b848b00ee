//! Placing the network file into an image without cloud-init, in a process of its own that can be killed.
//!
//! The process reads a file system that a tenant made, so it gets nothing: no file, no network, no user that anything
//! belongs to, bounded memory and time. The base disk's bytes come to it over the one socket that it has, and what
//! it wants to change goes back over it. Here the answers are bounded and checked; that changed bytes make sense is
//! between the tenant and its own disk.

mod child;
mod protocol;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_block::{BlockDevice, check_bounds};
use kiln_guest::place::{CHANGED_BYTES_MAX, Changes, NetworkFacts};

pub use child::place_file_for_service;
use protocol::{self as wire, Job};

/// How the program is told to be the child.
const ARGUMENT: &str = "place-file";
/// Time from the process's start to its answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// What one child may read of the base disk, in requests and in bytes.
const READS_MAX: u32 = 200_000;
const READ_BYTES_TOTAL_MAX: u64 = 512 << 20;
/// Runs of changed bytes.
const RUNS_MAX: u32 = 4096;

/// Why there is no answer that can be used.
#[derive(Debug)]
enum Trouble {
    /// The child said why the file cannot be placed.
    Refused(String),
    /// The child's socket ended, or its time.
    Io(io::Error),
    /// The child says what it was not asked.
    Nonsense(&'static str),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Lets a child place the network file on `base`, and returns what that changes; `uid` is whom the child becomes,
/// where this process is root.
///
/// # Errors
/// Why the file will be missing, as the end of a sentence.
pub(crate) async fn prepared_blocks(
    program: &Path,
    base: Arc<dyn BlockDevice>,
    facts: NetworkFacts,
    uid: Option<u32>,
) -> Result<Changes, String> {
    let mut command = Command::new(program);
    command.arg(ARGUMENT).env_clear();
    let job = Job { size_bytes: base.size_bytes(), uid, facts };
    let work = tokio::task::spawn_blocking(move || run(command, base.as_ref(), &job, DEADLINE));
    work.await.unwrap_or_else(|error| Err(format!("placing it failed: {error}")))
}

/// Starts the child and serves it until it answers, ends or its time is up. It is gone afterwards.
fn run(mut command: Command, base: &dyn BlockDevice, job: &Job, time: Duration) -> Result<Changes, String> {
    let deadline = Instant::now() + time;
    let started = UnixStream::pair().and_then(|(ours, theirs)| {
        command.current_dir("/").stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Running(command.spawn()?);
        // The command holds the child's end; the end of its talk is seen only when nobody does.
        drop(command);
        Ok((ours, child))
    });
    let (socket, mut child) =
        started.map_err(|error| format!("no process could be started for it: {error}"))?;
    match converse(Timed { socket, deadline }, base, job) {
        Ok(changes) => Ok(changes),
        Err(Trouble::Refused(reason)) => Err(reason),
        Err(Trouble::Nonsense(what)) => Err(format!("the process that was to write it {what}")),
        Err(Trouble::Io(error)) => Err(match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                format!("its file system could not be written within {} seconds", time.as_secs())
            }
            _ => match child.end() {
                Ok(status) => format!("its file system could not be written within bounds ({status})"),
                Err(error) => format!("the process that was to write it was lost: {error}"),
            },
        }),
    }
}

/// Gives the child its job, answers its reads, and takes its result.
fn converse(mut child: Timed, base: &dyn BlockDevice, job: &Job) -> Result<Changes, Trouble> {
    wire::write_job(&mut child, job)?;
    let mut read_bytes = 0;
    for _ in 0..READS_MAX {
        match wire::read_u8(&mut child)? {
            wire::READ => {
                let (offset, len) = (wire::read_u64(&mut child)?, wire::read_u32(&mut child)?);
                read_bytes += u64::from(len);
                if len as usize > wire::READ_BYTES_MAX || read_bytes > READ_BYTES_TOTAL_MAX {
                    return Err(Trouble::Nonsense("read more than a file system needs"));
                }
                let mut answer = vec![wire::ANSWERED; 1 + len as usize];
                if let Err(error) = base.read_exact_at(&mut answer[1..], offset) {
                    tracing::warn!(%error, offset, len, "a base disk could not be read for its network file");
                    answer = vec![wire::FAILED];
                }
                child.write_all(&answer)?;
            }
            wire::DONE => return changes(&mut child, base.size_bytes()),
            wire::REFUSED => {
                let len = wire::read_u32(&mut child)? as usize;
                if len > wire::REASON_BYTES_MAX {
                    return Err(Trouble::Nonsense("gave no reason"));
                }
                let text = wire::read_bytes(&mut child, len)?;
                let text = String::from_utf8_lossy(&text);
                return Err(Trouble::Refused(text.chars().filter(|letter| !letter.is_control()).collect()));
            }
            _ => return Err(Trouble::Nonsense("answered with nonsense")),
        }
    }
    Err(Trouble::Nonsense("read more than a file system needs"))
}

/// Takes the changed bytes: bounded, on the disk, ascending.
fn changes(child: &mut Timed, size_bytes: u64) -> Result<Changes, Trouble> {
    const NONSENSE: Trouble = Trouble::Nonsense("changed more than a file needs");
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
