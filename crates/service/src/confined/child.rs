//! The child's side: gives up everything it does not need, then reads the stranger's disk.
//!
//! Invariant: the process has one thread. What it gives up, a second thread would keep.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_block::{BlockDevice, Error, Extent, ExtentKind, check_bounds};
use kiln_guest::place::{Changes, network_file};
use kiln_guest::{Budget, Limits};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};

use super::filter::forbid_the_rest;
use super::protocol::{self as wire, Job, Work};

/// Address space, in bytes: the program itself, and what reading a file system takes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Does one job of the service that is at the other end of standard input: `kiln confined`.
///
/// # Errors
/// Where standard input is no such service, or a right could not be given up.
pub fn work_confined() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let job = wire::read_job(&mut socket)?;
    confine(&job)?;
    work(Arc::new(socket), &job)
}

/// Does the work and reports. No descriptor can be opened or duplicated any more.
fn work(socket: Arc<UnixStream>, job: &Job) -> io::Result<()> {
    let served = ServedDisk { size_bytes: job.size_bytes, socket: Mutex::new(Arc::clone(&socket)) };
    let disk: Arc<dyn BlockDevice> = Arc::new(served);
    let mut socket = socket.as_ref();
    match &job.work {
        Work::Inspect => match kiln_guest::inspect(&disk, &Budget::new(Limits::default())) {
            Ok(inspection) => {
                let text = serde_json::to_vec(&inspection)?;
                socket.write_all(&[wire::DONE])?;
                wire::write_block(&mut socket, &text)
            }
            Err(error) => refuse(socket, &error.to_string()),
        },
        Work::PlaceNetworkFile(facts) => match network_file(disk, facts) {
            Ok(changes) => report(socket, &changes),
            Err(error) => refuse(socket, &error.to_string()),
        },
    }
}

fn refuse(mut socket: &UnixStream, reason: &str) -> io::Result<()> {
    socket.write_all(&[wire::REFUSED])?;
    wire::write_block(&mut socket, &reason.as_bytes()[..reason.floor_char_boundary(wire::REASON_BYTES_MAX)])
}

fn report(mut socket: &UnixStream, changes: &Changes) -> io::Result<()> {
    socket.write_all(&[wire::DONE])?;
    socket.write_all(&(changes.len() as u32).to_le_bytes())?;
    for (offset, bytes) in changes {
        socket.write_all(&offset.to_le_bytes())?;
        wire::write_block(&mut socket, bytes)?;
    }
    Ok(())
}

/// Leaves the process nothing but its socket, some memory and some time.
pub(super) fn confine(job: &Job) -> io::Result<()> {
    let limits = [
        (Resource::As, MEMORY_BYTES_MAX),
        (Resource::Cpu, job.work.bounds().cpu_seconds),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 0),
        (Resource::Nproc, 0),
    ];
    for (resource, most) in limits {
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    if let Some(id) = job.uid {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    rustix::thread::set_no_new_privs(true)?;
    // After the change of user, which takes it back: a service that is killed takes this process with it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    forbid_the_rest()
}

/// The disk, which the service reads.
struct ServedDisk {
    size_bytes: u64,
    /// Locked from a request to the end of its answer.
    socket: Mutex<Arc<UnixStream>>,
}

impl BlockDevice for ServedDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket: &UnixStream = &socket;
        let mut offset = offset;
        for part in buf.chunks_mut(wire::READ_BYTES_MAX) {
            let mut request = vec![wire::READ];
            request.extend(offset.to_le_bytes());
            request.extend((part.len() as u32).to_le_bytes());
            socket.write_all(&request)?;
            if wire::read_u8(&mut socket)? != wire::ANSWERED {
                return Err(io::Error::other("the disk could not be read").into());
            }
            io::Read::read_exact(&mut socket, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent, Error> {
        check_bounds(offset, len, self.size_bytes)?;
        Ok(Extent { offset, len, kind: ExtentKind::Data })
    }
}
