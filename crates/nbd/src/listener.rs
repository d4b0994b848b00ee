//! Sockets to listen on. Whoever can connect to a unix socket is decided by its mode and its directory.
//!
//! Invariants: a unix socket's path leads, at every moment, to the old socket or to the new one with its final mode
//! and owner; a file that is no socket is never replaced.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::limits::{DEFAULT_LISTENER_CONNECTIONS, SEND_BUFFER_BYTES};
use crate::{Error, Result};

/// Connections that the kernel keeps waiting.
const BACKLOG: i32 = 128;

/// Who may connect to a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// User and group to give the socket to; `None` leaves it with the process's own.
    pub owner: Option<(u32, u32)>,
}

impl SocketAccess {
    /// Only the user that the process runs as.
    pub fn private() -> Self {
        Self { mode: 0o600, owner: None }
    }
}

/// A bound socket, for [`crate::Server::serve`].
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    pub(crate) max_connections: usize,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// A client's connection.
pub(crate) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Listens at `path`, of whatever length, in place of any socket there. To be called within a runtime.
    ///
    /// # Errors
    /// [`Error::NotASocket`] where something else is there, [`Error::Bind`] where the system refuses.
    pub fn unix(path: &Path, access: SocketAccess) -> Result<Self> {
        let (listener, file) = bind_unix(path, access)?;
        Ok(Self { socket: Socket::Unix(listener, file), max_connections: DEFAULT_LISTENER_CONNECTIONS })
    }

    /// Listens at `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// [`Error::Bind`] where the system refuses.
    pub async fn tcp(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Bind { address: address.to_string(), source })?;
        Ok(Self { socket: Socket::Tcp(listener), max_connections: DEFAULT_LISTENER_CONNECTIONS })
    }

    /// Where a TCP listener listens, the port chosen by the system included.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Sets how many clients are served at once here; 16 unless set.
    #[must_use]
    pub fn with_max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// What the log calls this listener.
    pub(crate) fn name(&self) -> String {
        match &self.socket {
            Socket::Unix(_, file) => file.path.display().to_string(),
            Socket::Tcp(listener) => listener.local_addr().map_or("tcp".to_owned(), |a| a.to_string()),
        }
    }

    /// The next client, and what the log calls it.
    pub(crate) async fn accept(&self) -> io::Result<(Connection, Arc<str>)> {
        match &self.socket {
            Socket::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                // A larger buffer is a matter of speed only.
                let _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
                Ok((Connection::Unix(stream), file.path.display().to_string().into()))
            }
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // A peer that vanished must not keep its place for ever.
                sockopt::set_socket_keepalive(&stream, true)?;
                Ok((Connection::Tcp(stream), peer.to_string().into()))
            }
        }
    }
}

fn bind_unix(path: &Path, access: SocketAccess) -> Result<(UnixListener, SocketFile)> {
    let refused = |source: io::Error| Error::Bind { address: path.display().to_string(), source };
    let name = path.file_name().ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| refused(errno.into()))?;
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Socket => {
            return Err(Error::NotASocket(path.to_owned()));
        }
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(refused(errno.into())),
    }
    let draft = draft_name();
    let bound = bind_draft(&dir, &draft, access).and_then(|socket| {
        rustix::fs::renameat(&dir, draft.as_str(), &dir, name)?;
        Ok(socket)
    });
    let socket = bound.map_err(|errno| {
        let _ = rustix::fs::unlinkat(&dir, draft.as_str(), AtFlags::empty());
        refused(errno.into())
    })?;
    let identity = identity_at(&dir, Path::new(name)).map_err(|errno| refused(errno.into()))?;
    let listener = UnixListener::from_std(socket.into()).map_err(refused)?;
    Ok((listener, SocketFile { path: path.to_owned(), dir, identity }))
}

/// A name that no other listener uses while it gets its mode; short, because a socket address holds 107 bytes.
fn draft_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".nbd-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Binds a socket in `dir`; nobody can connect before its mode and owner are set, for it does not listen before.
fn bind_draft(dir: &OwnedFd, draft: &str, access: SocketAccess) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::unlinkat(dir, draft, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{draft}", dir.as_raw_fd()))?;
    rustix::net::bind(&socket, &address)?;
    if let Some((user, group)) = access.owner {
        let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
        rustix::fs::chownat(dir, draft, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmodat(dir, draft, Mode::from_raw_mode(access.mode), AtFlags::empty())?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn identity_at(dir: &OwnedFd, name: &Path) -> rustix::io::Result<(u64, u64)> {
    let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((found.st_dev, found.st_ino))
}

/// The file of a unix socket; removed when dropped, unless somebody else's is there by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    dir: OwnedFd,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(name) = self.path.file_name() else { return };
        if identity_at(&self.dir, Path::new(name)) == Ok(self.identity) {
            let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[tokio::test]
    async fn a_socket_gets_its_mode_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("d".repeat(100)).join("s".repeat(200));
        std::fs::create_dir(path.parent().expect("it has one")).expect("directory");
        let first = Listener::unix(&path, SocketAccess::private()).expect("a path far beyond 108 bytes");
        let old = std::fs::metadata(&path).expect("it is there");
        assert_eq!(old.permissions().mode() & 0o7777, 0o600);
        let second = Listener::unix(&path, SocketAccess { mode: 0o666, owner: None }).expect("replaced");
        let new = std::fs::metadata(&path).expect("it is there");
        assert_eq!(new.permissions().mode() & 0o7777, 0o666);
        assert_ne!(old.ino(), new.ino());
        drop(first);
        assert!(path.exists(), "the first one does not remove what is the second one's");
        drop(second);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(path.parent().expect("it has one")).expect("readable").count(), 0);
    }

    #[tokio::test]
    async fn a_file_is_not_replaced() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("precious");
        std::fs::write(&path, "data").expect("written");
        assert!(matches!(Listener::unix(&path, SocketAccess::private()), Err(Error::NotASocket(_))));
        assert_eq!(std::fs::read(&path).expect("readable"), b"data");
    }
}
