//! Every bound of the server, in one place: what the protocol fixes, and what the operator may choose.
//!
//! Invariant: the memory that clients can make the server hold is at most `max_server_bytes` plus, for each
//! connection, [`RESERVE_BYTES`] and small change (headers, a read buffer, block status answers within the budget).

use std::time::Duration;

use crate::{Error, Result};

/// Longest READ in bytes, announced as the maximum block size, and longest payload that is read past and refused.
pub const MAX_REQUEST_BYTES: u32 = 32 << 20;

/// Announced as the preferred block size: the length of a chunk in Kiln's store.
pub const PREFERRED_BLOCK_BYTES: u32 = 64 << 10;

/// Announced as the minimum block size.
pub(crate) const MIN_BLOCK_BYTES: u32 = 1;

/// Longer structured reads are cut at multiples of this, and the pieces read in parallel.
pub(crate) const PIECE_BYTES: u32 = 256 << 10;

/// Bytes that every connection may hold whatever the others do, so that none can be starved.
pub(crate) const RESERVE_BYTES: u32 = PIECE_BYTES;

/// A shorter run of zeros between data is sent as data: another chunk would cost more than its bytes.
pub(crate) const MIN_HOLE_BYTES: u64 = 16 << 10;

/// Longest payload of an option.
pub(crate) const MAX_OPTION_BYTES: u32 = 32 << 10;

/// Longest export name, and longest string at all; the bound is the protocol's.
pub(crate) const MAX_NAME_BYTES: usize = 4096;

/// Options of one handshake. `qemu-nbd --list` sends two for each export.
pub(crate) const MAX_OPTIONS: usize = 16 << 10;

/// Names that do not resolve in one handshake, after which the client is taken for one that guesses.
pub(crate) const MAX_UNKNOWN_NAMES: usize = 16;

/// Extents in one block status answer; the client asks again from where it ended.
pub(crate) const MAX_STATUS_EXTENTS: usize = 4096;

/// Questions put to the device for one block status answer.
pub(crate) const MAX_STATUS_STEPS: usize = 64 << 10;

/// Replies that one system call writes.
pub(crate) const MAX_BATCH_FRAMES: usize = 64;

/// Room for requests that arrive together, in bytes.
pub(crate) const READ_BUFFER_BYTES: usize = 8 << 10;

/// Send buffer asked of the kernel for a connection, in bytes; it gives what its own limits allow.
pub(crate) const SEND_BUFFER_BYTES: usize = 2 << 20;

/// Connections of one listener, where its owner says nothing else.
pub(crate) const DEFAULT_LISTENER_CONNECTIONS: usize = 16;

/// Within this time after a logged device error of a connection, further ones are only counted.
pub(crate) const ERROR_BURST: Duration = Duration::from_secs(10);

/// Pause after `accept` failed, which happens when the process is out of file descriptors.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a [`crate::Server`] may use; shared by all its listeners unless a field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub max_connections: usize,
    /// Requests in flight on one connection; further ones wait in the socket.
    pub max_requests_in_flight: usize,
    /// Bytes of replies under way on one connection, at least [`MAX_REQUEST_BYTES`].
    pub max_connection_bytes: usize,
    /// Bytes of replies under way on all connections, at least [`MAX_REQUEST_BYTES`].
    pub max_server_bytes: usize,
    /// Threads that read devices for one connection.
    pub max_connection_readers: usize,
    /// Threads that read devices for all connections, beyond the one that every connection may always have.
    pub max_server_readers: usize,
    /// From `accept` to the end of the negotiation.
    pub handshake_timeout: Duration,
    /// A client that takes no byte of a waiting reply for this long is disconnected.
    pub reply_stall_timeout: Duration,
    /// What requests in flight get to end after shutdown was asked for.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_requests_in_flight: 128,
            max_connection_bytes: 32 << 20,
            max_server_bytes: 256 << 20,
            max_connection_readers: 16,
            max_server_readers: 64,
            handshake_timeout: Duration::from_secs(30),
            reply_stall_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    pub(crate) fn check(&self) -> Result<()> {
        let least = MAX_REQUEST_BYTES as usize;
        if self.max_connection_bytes < least || self.max_server_bytes < least {
            return Err(Error::Limits("a byte limit is below the longest request"));
        }
        let counts = [self.max_connections, self.max_requests_in_flight, self.max_connection_readers];
        if counts.contains(&0) {
            return Err(Error::Limits("a count is zero"));
        }
        if self.max_server_bytes.max(self.max_connection_bytes) > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(Error::Limits("a byte limit is beyond what can be counted"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_no_request_could_meet_are_refused() {
        assert!(Limits::default().check().is_ok());
        assert!(Limits { max_server_bytes: 1 << 20, ..Limits::default() }.check().is_err());
        assert!(Limits { max_requests_in_flight: 0, ..Limits::default() }.check().is_err());
    }
}
