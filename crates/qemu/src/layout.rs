//! The instance directory: the name of every file in it, and a handle that reaches them however long or
//! untraversable the path to it is.
//!
//! ```text
//! root.qcow2       the overlay QEMU owns, backed by the export on base.sock       made by the caller
//! live….qcow2      the layer above a disk's overlay while the disk is frozen      ours
//! live….qcow2.new  an empty overlay for the next freeze, without a backing file   made by the caller
//! data-….qcow2     the overlay of a data disk, by its serial number               made by the caller
//! base.sock        NBD server of the bases of its disks                          bound by the caller
//! uefi-vars.fd     UEFI variables, where the machine starts by UEFI               made by the caller, QEMU writes
//! seed.iso         cloud-init seed, optional                                      made by the caller
//! qmp.sock         QEMU's monitor                                                 ours
//! console.sock     the serial console, for one client at a time                   ours
//! console.log(.1)  what the guest printed, bounded                                QEMU writes, we rotate
//! qemu.log(.1)     what QEMU printed, bounded                                     QEMU writes, we rotate
//! qemu.pid         which process it is                                            ours
//! ```
//! Invariant: where QEMU has its own identity it can write to the files it needs and not to the directory, so
//! that a guest that broke out of QEMU cannot put a symbolic link where Kiln looks for a file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use crate::config::Identity;
use crate::error::{Error, Result};

/// The root disk's overlay.
pub const ROOT: &str = "root.qcow2";
/// The layer that takes the guest's writes while the root overlay is frozen.
pub const LIVE: &str = "live.qcow2";
/// Where the caller puts a fresh, empty overlay for [`crate::Machine::freeze_disks`] to take for the root disk.
pub const NEW_LIVE: &str = "live.qcow2.new";
/// The socket of the NBD server of the overlays' bases.
pub const BASE_SOCKET: &str = "base.sock";
/// The machine's UEFI variables; it starts by UEFI where they are there, else by BIOS.
pub const UEFI_VARIABLES: &str = "uefi-vars.fd";
/// The cloud-init seed.
pub const SEED: &str = "seed.iso";
/// QEMU's monitor socket.
pub const QMP_SOCKET: &str = "qmp.sock";
/// The serial console's socket.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// What the guest printed on its serial console.
pub const CONSOLE_LOG: &str = "console.log";
/// What QEMU printed.
pub const QEMU_LOG: &str = "qemu.log";
/// Which process runs the machine.
pub const PID_FILE: &str = "qemu.pid";

/// The overlay of the data disk with that serial number.
pub fn data_disk(serial: &str) -> String {
    format!("data-{serial}.qcow2")
}

/// A disk of a machine, and the names of its files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DiskName {
    /// The disk that the machine starts from.
    Root,
    /// A data disk, by its serial number.
    Data(String),
}

impl DiskName {
    /// Its overlay.
    pub fn file(&self) -> String {
        match self {
            Self::Root => ROOT.to_owned(),
            Self::Data(serial) => data_disk(serial),
        }
    }

    /// The layer that takes the guest's writes while it is frozen.
    pub fn live_file(&self) -> String {
        match self {
            Self::Root => LIVE.to_owned(),
            Self::Data(serial) => format!("live-{serial}.qcow2"),
        }
    }

    /// Where the caller puts a fresh, empty overlay for [`crate::Machine::freeze_disks`] to take.
    pub fn new_live_file(&self) -> String {
        format!("{}.new", self.live_file())
    }

    /// The files in a machine's directory that make up the disk above its base, top first: what a start stacks.
    ///
    /// More than the overlay alone means that the machine ended while the disk was frozen.
    pub fn layers(&self, dir: &Path) -> Vec<PathBuf> {
        let live = dir.join(self.live_file());
        let layered = fs::symlink_metadata(&live).is_ok();
        layered.then_some(live).into_iter().chain([dir.join(self.file())]).collect()
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root disk"),
            Self::Data(serial) => write!(f, "data disk {serial}"),
        }
    }
}

/// An open instance directory.
#[derive(Debug)]
pub(crate) struct InstanceDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl InstanceDir {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io("open directory", path)(errno.into()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The directory's own path, for messages and callers.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path to the directory that is short (socket addresses end at 108 bytes) and needs no permission on
    /// its parents. Valid in this process and, until it executes, in its forked child.
    pub(crate) fn short_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// A short path to a file of the directory.
    pub(crate) fn entry(&self, name: &str) -> PathBuf {
        self.short_path().join(name)
    }

    /// Wraps an error on one of the directory's files with its real path; for `map_err`.
    pub(crate) fn failed<'a>(
        &'a self,
        action: &'static str,
        name: &'a str,
    ) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io { action, path: self.path.join(name), source }
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        fs::symlink_metadata(self.entry(name)).is_ok()
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.entry(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", name)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.entry(from), self.entry(to)).map_err(self.failed("rename", from))
    }

    /// Makes a file's content durable.
    pub(crate) fn sync_file(&self, name: &str) -> Result<()> {
        File::open(self.entry(name)).and_then(|file| file.sync_all()).map_err(self.failed("sync", name))
    }

    /// Opens a log for appending, making it if needed. Never follows a link.
    pub(crate) fn open_log(&self, name: &str) -> Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.entry(name))
            .map_err(self.failed("open", name))
    }

    /// Makes the directory's entries durable.
    pub(crate) fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|errno| self.failed("sync", ".")(errno.into()))
    }

    /// Gives a file to the user that QEMU runs as, readable and writable for nobody else.
    pub(crate) fn give(&self, name: &str, identity: Identity) -> Result<()> {
        self.set_owner(name, Some(identity.uid), identity.gid)?;
        self.set_mode(name, 0o600)
    }

    /// Lets QEMU read a file that stays Kiln's.
    pub(crate) fn show(&self, name: &str, identity: Identity) -> Result<()> {
        self.set_owner(name, None, identity.gid)?;
        self.set_mode(name, 0o640)
    }

    /// Lets QEMU pass through the directory, and nothing else.
    pub(crate) fn let_through(&self, identity: Identity) -> Result<()> {
        let changed = rustix::fs::fchown(self.fd.as_fd(), None, Some(Gid::from_raw(identity.gid)))
            .and_then(|()| rustix::fs::fchmod(self.fd.as_fd(), Mode::from_raw_mode(0o710)));
        changed.map_err(|errno| self.failed("change the owner of", ".")(errno.into()))
    }

    /// Gives a file to whoever owns the root overlay: the user the running machine has.
    pub(crate) fn give_as_root_overlay(&self, name: &str) -> Result<()> {
        let meta = fs::symlink_metadata(self.entry(ROOT)).map_err(self.failed("look at", ROOT))?;
        let own = fs::symlink_metadata(self.entry(name)).map_err(self.failed("look at", name))?;
        if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
            self.set_owner(name, Some(meta.uid()), meta.gid())?;
        }
        self.set_mode(name, 0o600)
    }

    fn set_owner(&self, name: &str, uid: Option<u32>, gid: u32) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.failed("change the owner of", name)(errno.into()))
    }

    fn set_mode(&self, name: &str, mode: u32) -> Result<()> {
        let meta = fs::symlink_metadata(self.entry(name)).map_err(self.failed("look at", name))?;
        if meta.is_symlink() {
            return Err(self.failed("use", name)(io::Error::other("it is a symbolic link")));
        }
        rustix::fs::chmodat(&self.fd, name, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(|errno| self.failed("change the mode of", name)(errno.into()))
    }
}

/// Lets the machine's QEMU connect to the base's NBD socket. To be called each time `base.sock` is bound anew,
/// because a new socket belongs to Kiln; without it a machine with an identity cannot reconnect.
///
/// # Errors
/// [`Error::Io`] when the socket is missing or Kiln may not change its owner.
pub fn share_base_socket(dir: &Path, identity: Option<Identity>) -> Result<()> {
    match identity {
        Some(identity) => InstanceDir::open(dir)?.give(BASE_SOCKET, identity),
        None => Ok(()),
    }
}
