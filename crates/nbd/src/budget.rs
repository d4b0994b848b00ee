//! Who may hold how much memory and how many threads. Deliberately no queue of its own: a request without room
//! waits here, the connection's reader with it, and the client in its socket.
//!
//! Lock order (waiting while holding): request slot, then the connection's bytes, then the server's. The server's
//! bytes come last and are given back by writing a reply, which needs none of the others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::RESERVE_BYTES;
use crate::{Limits, Result};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct ServerBudget {
    pub(crate) limits: Limits,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) readers: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl ServerBudget {
    pub(crate) fn new(limits: Limits) -> Result<Self> {
        limits.check()?;
        Ok(Self {
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            readers: Arc::new(Semaphore::new(limits.max_server_readers)),
            bytes: Arc::new(Semaphore::new(limits.max_server_bytes)),
            limits,
        })
    }
}

/// What one connection has.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    server_bytes: Arc<Semaphore>,
}

/// One request in flight; given back once its last reply was written.
#[derive(Debug)]
pub(crate) struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Bytes of a reply; given back once they were written.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
pub(crate) struct ReplyBytes {
    connection: OwnedSemaphorePermit,
    backing: OwnedSemaphorePermit,
}

impl ConnectionBudget {
    pub(crate) fn new(server: &ServerBudget) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(server.limits.max_requests_in_flight)),
            bytes: Arc::new(Semaphore::new(server.limits.max_connection_bytes)),
            reserve: Arc::new(Semaphore::new(RESERVE_BYTES as usize)),
            server_bytes: Arc::clone(&server.bytes),
        }
    }

    pub(crate) async fn slot(&self) -> Slot {
        Slot(take(&self.slots, 1).await)
    }

    /// Waits for room for `len` bytes, at most [`crate::MAX_REQUEST_BYTES`].
    pub(crate) async fn reply_bytes(&self, len: u32) -> ReplyBytes {
        let connection = take(&self.bytes, len).await;
        let backing = if len > RESERVE_BYTES {
            take(&self.server_bytes, len).await
        } else {
            tokio::select! {
                biased;
                permit = take(&self.reserve, len) => permit,
                permit = take(&self.server_bytes, len) => permit,
            }
        };
        ReplyBytes { connection, backing }
    }
}

async fn take(semaphore: &Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_many_owned(count).await.expect("no budget is ever closed")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::limits::MAX_REQUEST_BYTES;

    #[tokio::test]
    async fn a_starved_connection_still_has_its_reserve() {
        let limits = Limits { max_server_bytes: MAX_REQUEST_BYTES as usize, ..Limits::default() };
        let server = ServerBudget::new(limits).expect("good limits");
        let (greedy, modest) = (ConnectionBudget::new(&server), ConnectionBudget::new(&server));
        let _all = greedy.reply_bytes(MAX_REQUEST_BYTES).await;
        assert!(
            greedy.reply_bytes(RESERVE_BYTES).now_or_never().is_none(),
            "beyond the connection's own limit"
        );
        let reserve = modest.reply_bytes(RESERVE_BYTES).now_or_never().expect("the reserve");
        assert!(modest.reply_bytes(1).now_or_never().is_none(), "everything is taken");
        drop(reserve);
        assert!(modest.reply_bytes(1).now_or_never().is_some());
    }
}
