//! Logs failing devices without flooding the log: the first failure of a burst, then how many there were.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::ERROR_BURST;

/// The device failures of one connection.
pub(crate) struct DeviceErrors {
    export: Arc<str>,
    peer: Arc<str>,
    burst: Mutex<Option<Burst>>,
}

struct Burst {
    since: Instant,
    unlogged: u64,
}

impl DeviceErrors {
    pub(crate) fn new(export: Arc<str>, peer: Arc<str>) -> Self {
        Self { export, peer, burst: Mutex::new(None) }
    }

    /// Takes notice of a failure; logs it unless one of this connection was logged just before.
    pub(crate) fn note(&self, error: &dyn Display) {
        let mut burst = self.burst.lock().unwrap_or_else(PoisonError::into_inner);
        let unlogged = match burst.as_mut() {
            Some(burst) if burst.since.elapsed() < ERROR_BURST => {
                burst.unlogged += 1;
                return;
            }
            Some(burst) => burst.unlogged,
            None => 0,
        };
        *burst = Some(Burst { since: Instant::now(), unlogged: 0 });
        drop(burst);
        tracing::error!(export = %self.export, peer = %self.peer, unlogged, "device read failed: {error}");
    }
}

impl Drop for DeviceErrors {
    fn drop(&mut self) {
        let burst = self.burst.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Burst { unlogged: unlogged @ 1.., .. }) = burst {
            tracing::error!(export = %self.export, peer = %self.peer, unlogged, "device reads failed");
        }
    }
}
