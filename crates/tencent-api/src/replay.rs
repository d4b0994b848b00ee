//! Strict replay protection: remembers the signatures of changing requests while they can still be used.
//!
//! Off by default, since honest clients produce equal signatures within one second. The memory is this process's own
//! and bounded per account; when it is full, changing requests are refused rather than let through unremembered.

use std::collections::HashMap;
use std::sync::Mutex;

use kiln_model::{Timestamp, Uin};

use crate::authentication::MAX_CLOCK_SKEW_SECONDS;
use crate::error::Error;

/// How many signatures are remembered for each account.
pub(crate) const MAX_REMEMBERED: usize = 20_000;
/// How long: from the earliest moment at which a timestamp is accepted to the last.
const REMEMBERED_MILLIS: i64 = 2 * (MAX_CLOCK_SKEW_SECONDS as i64 + 1) * 1000;

/// The signatures of changing requests that were accepted.
#[derive(Default)]
pub(crate) struct ReplayMemory {
    until: Mutex<HashMap<Uin, HashMap<Vec<u8>, Timestamp>>>,
}

impl ReplayMemory {
    /// Remembers a signature.
    ///
    /// # Errors
    /// [`Error::Replayed`] where it is remembered already, [`Error::ReplayMemoryFull`] where there is no place.
    pub(crate) fn remember(&self, account: Uin, signature: &[u8], now: Timestamp) -> Result<(), Error> {
        let mut accounts = self.until.lock().expect("nothing panics while it is locked");
        let remembered = accounts.entry(account).or_default();
        if remembered.get(signature).is_some_and(|until| *until > now) {
            return Err(Error::Replayed);
        }
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, until| *until > now);
        }
        if remembered.len() >= MAX_REMEMBERED {
            return Err(Error::ReplayMemoryFull { limit: MAX_REMEMBERED });
        }
        remembered.insert(signature.to_vec(), now.plus_millis(REMEMBERED_MILLIS));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_refused_until_its_timestamp_has_expired() {
        let (memory, uin) = (ReplayMemory::default(), Uin(100_000_000_001));
        let start = Timestamp(1_700_000_000_000);
        assert_eq!(memory.remember(uin, b"one", start), Ok(()));
        assert_eq!(memory.remember(uin, b"one", start.plus_millis(600_000)), Err(Error::Replayed));
        assert_eq!(memory.remember(Uin(100_000_000_002), b"one", start), Ok(()));
        assert_eq!(memory.remember(uin, b"one", start.plus_millis(REMEMBERED_MILLIS)), Ok(()));
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_what_has_expired() {
        let (memory, uin) = (ReplayMemory::default(), Uin(100_000_000_001));
        let start = Timestamp(1_700_000_000_000);
        for number in 0..MAX_REMEMBERED {
            memory.remember(uin, &number.to_le_bytes(), start).expect("there is place");
        }
        let full = Err(Error::ReplayMemoryFull { limit: MAX_REMEMBERED });
        assert_eq!(memory.remember(uin, b"more", start), full);
        assert_eq!(memory.remember(uin, b"more", start.plus_millis(REMEMBERED_MILLIS)), Ok(()));
    }
}
