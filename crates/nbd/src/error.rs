//! The error of this crate: why a listener could not be set up, and why a connection ended early.

use std::io;
use std::path::PathBuf;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limits contradict each other or the protocol.
    #[error("NBD limits: {0}")]
    Limits(&'static str),
    /// The listener could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Path or address, as given.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something other than a socket is at the path; it is left alone.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The client broke the protocol so that the stream cannot be followed any further.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// The negotiation did not end within its time.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// The client does not read its replies.
    #[error("the client takes no replies")]
    ReplyStalled,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;
