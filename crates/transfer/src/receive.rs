//! Taking a body off the network: length, waits, rate and cancellation are watched here.
//!
//! Invariant: no more than the limit of the caller and than the announced length ever reaches the writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Response;
use tokio_util::sync::CancellationToken;

use crate::fetcher::Progress;
use crate::writer::Writer;
use crate::{Error, Result, Timeouts};

/// What is handed to the writer at once, in bytes and pieces at most, and the longest that a piece waits for it.
const BATCH_BYTES: usize = 1024 * 1024;
const BATCH_PIECES: usize = 256;
const BATCH_AGE: Duration = Duration::from_secs(1);

/// One body on its way, and what is watched about it.
pub(crate) struct Reception<'a> {
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) max_bytes: u64,
    pub(crate) progress: &'a (dyn Fn(Progress) + Send + Sync),
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) host: &'a str,
    /// The length of the whole file, where known.
    pub(crate) total_bytes: Option<u64>,
    /// The position in the file that was reached; read by the fetch where this attempt fails.
    pub(crate) position: &'a AtomicU64,
}

impl Reception<'_> {
    /// Hands the body to the writer until its end; the position reached then.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::TooLarge`], [`Error::TimedOut`], [`Error::TooSlow`], [`Error::Cancelled`]. What
    /// came before is with the writer. Where the writer has failed, this returns without an error.
    pub(crate) async fn run(&self, mut response: Response, writer: &Writer) -> Result<u64> {
        let mut rate = Rate::new(self.timeouts);
        let mut batch = Batch::new();
        let ended = loop {
            match self.next_piece(&mut response, &mut rate).await {
                Ok(Some(piece)) => batch.push(piece),
                Ok(None) => break self.check_end(),
                Err(error) => break Err(error),
            }
            if batch.is_due() {
                if !writer.write(batch.take()).await {
                    return Ok(self.position());
                }
                self.report();
            }
        };
        writer.write(batch.take()).await;
        self.report();
        ended
    }

    async fn next_piece(&self, response: &mut Response, rate: &mut Rate<'_>) -> Result<Option<Bytes>> {
        let asked = Instant::now();
        let piece = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
            piece = tokio::time::timeout(self.timeouts.idle, response.chunk()) => piece,
        };
        let limit = self.timeouts.idle;
        let piece = piece.map_err(|_| Error::TimedOut {
            host: self.host.to_owned(),
            what: "go on sending",
            limit,
        })?;
        let Some(piece) = piece.map_err(|_| self.truncated())? else { return Ok(None) };
        let position = self.position().saturating_add(piece.len() as u64);
        if position > self.max_bytes {
            return Err(Error::TooLarge { limit_bytes: self.max_bytes, size_bytes: self.total_bytes });
        }
        if self.total_bytes.is_some_and(|total| position > total) {
            return Err(Error::BadAnswer { reason: "the body is longer than announced".to_owned() });
        }
        self.position.store(position, Ordering::Relaxed);
        rate.note(asked.elapsed(), piece.len() as u64)?;
        Ok(Some(piece))
    }

    fn check_end(&self) -> Result<u64> {
        match self.total_bytes {
            Some(total) if self.position() < total => Err(self.truncated()),
            _ => Ok(self.position()),
        }
    }

    fn truncated(&self) -> Error {
        Error::Truncated { received_bytes: self.position(), total_bytes: self.total_bytes }
    }

    fn report(&self) {
        (self.progress)(Progress { received_bytes: self.position(), total_bytes: self.total_bytes });
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }
}

/// Takes a body of exactly `len` bytes; the caller bounds `len`, and how long it waits for all of it.
///
/// # Errors
/// [`Error::Truncated`], [`Error::TimedOut`], [`Error::BadAnswer`] where more comes.
pub(crate) async fn receive_part(
    mut body: Response,
    len: u64,
    idle: Duration,
    host: &str,
) -> Result<Vec<u8>> {
    let mut part = Vec::new();
    loop {
        let truncated = Error::Truncated { received_bytes: part.len() as u64, total_bytes: Some(len) };
        let piece = tokio::time::timeout(idle, body.chunk()).await;
        let piece = piece.map_err(|_| Error::TimedOut {
            host: host.to_owned(),
            what: "go on sending",
            limit: idle,
        })?;
        match piece {
            Ok(Some(piece)) => part.extend_from_slice(&piece),
            Ok(None) if part.len() as u64 == len => return Ok(part),
            Ok(None) | Err(_) => return Err(truncated),
        }
        if part.len() as u64 > len {
            return Err(Error::BadAnswer { reason: "more came than the part that was asked for".to_owned() });
        }
    }
}

/// Pieces on their way to the writer.
struct Batch {
    pieces: Vec<Bytes>,
    len_bytes: usize,
    since: Instant,
}

impl Batch {
    fn new() -> Self {
        Self { pieces: Vec::new(), len_bytes: 0, since: Instant::now() }
    }

    fn push(&mut self, piece: Bytes) {
        self.len_bytes += piece.len();
        self.pieces.push(piece);
    }

    fn is_due(&self) -> bool {
        self.len_bytes >= BATCH_BYTES
            || self.pieces.len() >= BATCH_PIECES
            || self.since.elapsed() >= BATCH_AGE
    }

    fn take(&mut self) -> Vec<Bytes> {
        std::mem::replace(self, Self::new()).pieces
    }
}

/// The rate over a window of waiting for the network. Time in which the writer is waited for does not count: a slow
/// disk is not the server's fault.
struct Rate<'a> {
    timeouts: &'a Timeouts,
    waited: Duration,
    received_bytes: u64,
}

impl<'a> Rate<'a> {
    fn new(timeouts: &'a Timeouts) -> Self {
        Self { timeouts, waited: Duration::ZERO, received_bytes: 0 }
    }

    fn note(&mut self, waited: Duration, received_bytes: u64) -> Result<()> {
        self.waited += waited;
        self.received_bytes += received_bytes;
        if self.waited < self.timeouts.rate_window {
            return Ok(());
        }
        let millis = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes_per_second = self.received_bytes.saturating_mul(1000) / millis;
        let limit_bytes_per_second = self.timeouts.min_bytes_per_second;
        if bytes_per_second < limit_bytes_per_second {
            return Err(Error::TooSlow { bytes_per_second, limit_bytes_per_second });
        }
        *self = Self::new(self.timeouts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_judged_at_the_end_of_each_window() {
        let timeouts = Timeouts {
            min_bytes_per_second: 100,
            rate_window: Duration::from_secs(10),
            ..Timeouts::default()
        };
        let mut rate = Rate::new(&timeouts);
        let second = Duration::from_secs(1);
        for _ in 0..40 {
            rate.note(second, 100).expect("just fast enough");
        }
        for _ in 0..9 {
            rate.note(second, 99).expect("not judged yet");
        }
        let found = rate.note(second, 99);
        assert!(matches!(found, Err(Error::TooSlow { bytes_per_second: 99, .. })), "{found:?}");
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_pieces() {
        let mut batch = Batch::new();
        assert!(!batch.is_due());
        batch.push(Bytes::from(vec![0; BATCH_BYTES]));
        assert!(batch.is_due());
        assert_eq!(batch.take().len(), 1);
        for _ in 0..BATCH_PIECES {
            assert!(!batch.is_due());
            batch.push(Bytes::from_static(b"x"));
        }
        assert!(batch.is_due());
    }
}
