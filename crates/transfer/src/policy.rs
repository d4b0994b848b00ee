//! What the operator decides about fetching: ranges, trust, waits and retries. Only values; nothing is read here.

use std::time::Duration;

use ipnet::IpNet;

/// What a [`Fetcher`](crate::Fetcher) may do and how long it waits.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Address ranges that may be fetched from although they are not global.
    pub allow_private: Vec<IpNet>,
    /// Certificates (PEM) that sign for https servers, besides those that the system trusts.
    pub extra_roots_pem: Vec<Vec<u8>>,
    /// The longest waits, and the slowest rate.
    pub timeouts: Timeouts,
    /// How often and when something that may pass is tried again.
    pub retry: Retry,
}

/// The longest waits of a fetch. A fetch as a whole has no limit of its own: length and slowest rate bound it.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Looking up the name, connecting and the TLS handshake, together.
    pub connect: Duration,
    /// From sending a request to the end of the answer's header.
    pub response_head: Duration,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// The slowest rate that is put up with, averaged over `rate_window`.
    pub min_bytes_per_second: u64,
    /// The time of waiting for the network after which the rate is judged. Waiting for the own disk does not count.
    pub rate_window: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            min_bytes_per_second: 10 * 1024,
            rate_window: Duration::from_secs(60),
        }
    }
}

/// How a fetch tries again. Pauses double from `first_pause` to `longest_pause`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts in a row that brought the fetch no nearer to its end, the first one included.
    pub attempts: u32,
    /// The pause before the second attempt.
    pub first_pause: Duration,
    /// The longest pause between two attempts.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(15) }
    }
}

/// New bytes after which a fetch counts as getting on, so that attempts are counted from one again. Together with
/// the length limit it bounds the attempts of a whole fetch.
pub(crate) const RETRY_PROGRESS_BYTES: u64 = 16 * 1024 * 1024;

/// Attempts under way for one fetch, and the pause before the next.
pub(crate) struct Attempts<'a> {
    retry: &'a Retry,
    failed: u32,
    furthest_bytes: u64,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(retry: &'a Retry) -> Self {
        Self { retry, failed: 0, furthest_bytes: 0 }
    }

    /// Counts a failure that came when `received_bytes` had been received; the pause before the next attempt, or
    /// none where it was the last.
    pub(crate) fn failed(&mut self, received_bytes: u64) -> Option<Duration> {
        if received_bytes >= self.furthest_bytes.saturating_add(RETRY_PROGRESS_BYTES) {
            self.furthest_bytes = received_bytes;
            self.failed = 0;
        }
        self.failed += 1;
        if self.failed >= self.retry.attempts {
            return None;
        }
        let doubled = self.retry.first_pause.saturating_mul(1 << (self.failed - 1).min(16));
        Some(doubled.min(self.retry.longest_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_attempts_end() {
        let retry =
            Retry { attempts: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(5) };
        let mut attempts = Attempts::new(&retry);
        let pauses: Vec<_> = (0..5).map(|_| attempts.failed(0).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(5), None]);
    }

    #[test]
    fn only_new_ground_counts_as_progress() {
        let retry = Retry { attempts: 2, ..Retry::default() };
        let mut attempts = Attempts::new(&retry);
        assert!(attempts.failed(RETRY_PROGRESS_BYTES).is_some());
        assert!(attempts.failed(2 * RETRY_PROGRESS_BYTES).is_some());
        assert!(attempts.failed(2 * RETRY_PROGRESS_BYTES).is_none());
    }
}
