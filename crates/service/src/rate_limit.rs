//! The request rate of each account: a token bucket. Not here: limits on anything but requests.
//!
//! There is a bucket for every account that sent a properly signed request, and for nobody else, so their number is
//! that of the accounts.

use std::collections::HashMap;
use std::sync::Mutex;

use kiln_model::{Timestamp, Uin};

/// How many seconds' worth of requests may come at once.
const BURST_SECONDS: u32 = 2;

/// Counts requests, account by account.
#[derive(Default)]
pub struct RateLimit {
    buckets: Mutex<HashMap<Uin, Bucket>>,
}

struct Bucket {
    /// What is left, in thousandths of a request.
    millis_left: u64,
    filled_at: Timestamp,
}

impl RateLimit {
    /// Counts one request of an account that may send so many per second; whether it is not one too many.
    #[must_use]
    pub fn admit(&self, account: Uin, per_second: u32, now: Timestamp) -> bool {
        let capacity = u64::from(per_second) * u64::from(BURST_SECONDS) * 1000;
        let mut buckets = self.buckets.lock().expect("nothing panics while it is locked");
        let bucket = buckets.entry(account).or_insert(Bucket { millis_left: capacity, filled_at: now });
        // A clock that was set back fills nothing for that moment, then counts from its new time.
        let elapsed_millis = u64::try_from(now.0.saturating_sub(bucket.filled_at.0)).unwrap_or(0);
        let refill = elapsed_millis.saturating_mul(u64::from(per_second));
        bucket.millis_left = bucket.millis_left.saturating_add(refill).min(capacity);
        bucket.filled_at = now;
        let left = bucket.millis_left.checked_sub(1000);
        bucket.millis_left = left.unwrap_or(bucket.millis_left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_for_each_account_alone() {
        let (limit, uin, start) = (RateLimit::default(), Uin(100_000_000_001), Timestamp(1_700_000_000_000));
        let admitted = |uin, now| (0..100).filter(|_| limit.admit(uin, 10, now)).count();
        assert_eq!(admitted(uin, start), 20);
        assert_eq!(admitted(uin, start.plus_millis(500)), 5);
        assert_eq!(admitted(Uin(100_000_000_002), start), 20);
        assert_eq!(admitted(uin, start.plus_millis(3_600_000)), 20);
    }

    #[test]
    fn a_clock_that_is_set_back_breaks_nothing() {
        let (limit, uin, start) = (RateLimit::default(), Uin(100_000_000_001), Timestamp(1_700_000_000_000));
        assert!(limit.admit(uin, 1, start));
        assert!(limit.admit(uin, 1, Timestamp(0)));
        assert!(!limit.admit(uin, 1, Timestamp(0)));
        assert!(limit.admit(uin, 1, Timestamp(1000)));
    }
}
