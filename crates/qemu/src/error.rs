//! The crate's one error type, shaped by cause. It holds no advice for people beyond the one thing only this
//! crate knows: which package brings QEMU.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What this crate's fallible functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something about a virtual machine could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No UEFI firmware is installed.
    #[error("UEFI firmware is not installed: OVMF was not found; install it with `apt-get install ovmf`")]
    FirmwareMissing,
    /// QEMU is not installed.
    #[error("QEMU is not installed: {program} was not found; install it with `apt-get install {package}`")]
    Missing {
        /// The program looked for.
        program: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// QEMU is there but does not answer as QEMU does.
    #[error("{} cannot be used: {reason}", path.display())]
    Unusable {
        /// The program tried.
        path: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// A configuration that no machine can be made from.
    #[error("machine configuration: {0}")]
    Config(String),
    /// The instance directory already has a living QEMU.
    #[error("a machine is already running from this directory (process {pid})")]
    AlreadyRunning {
        /// Its process id.
        pid: u32,
    },
    /// QEMU ended, or did not answer, while starting. Nothing of it is left.
    #[error("QEMU did not start: {reason}")]
    StartFailed {
        /// The last lines QEMU printed, or what was waited for in vain.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb ("open").
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The QMP connection failed or its peer broke the protocol.
    #[error("QMP connection: {0}")]
    Monitor(String),
    /// QEMU understood a QMP command and refused it.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The QMP command.
        command: String,
        /// QEMU's `desc`.
        reason: String,
    },
    /// Something did not happen in its time.
    #[error("{what} took longer than {} s", limit.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// The machine's process has ended.
    #[error("the machine is not running")]
    NotRunning,
    /// A disk is already frozen (or still being merged).
    #[error("the machine's disks are already frozen")]
    AlreadyFrozen,
    /// There is nothing to merge.
    #[error("the machine's disks are not frozen")]
    NotFrozen,
    /// The live layer could not be merged; the disks are still frozen and nothing is lost.
    #[error("merging the live layer back failed: {0}")]
    MergeFailed(String),
    /// The guest keeps using a data disk that it was asked to give back.
    #[error("the guest did not give {disk} back within {} s", limit.as_secs())]
    DiskInUse {
        /// The disk.
        disk: String,
        /// For how long it was waited for.
        limit: Duration,
    },
    /// A seed document or file that a seed image cannot hold.
    #[error("seed: {0}")]
    Seed(String),
}

impl Error {
    /// Wraps an operating system error; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }

    /// Whether QEMU itself said no, so that the command certainly had no effect.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Error::Refused { .. })
    }
}
