//! What one inspection may use: bytes read, bytes decompressed, names looked at, time.
//!
//! Every read of the disk and every step of a loop that the disk's content drives is charged here, so hostile
//! content ends as a finding, never as a hang. Invariant: once something is used up, every later charge fails too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How much an inspection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read from the disk, counted again where they are read again.
    pub read_bytes: u64,
    /// Bytes that compressed files may grow to, together.
    pub decompressed_bytes: u64,
    /// Directory entries, registry cells, cpio members and the like, together.
    pub steps: u64,
    /// Time from the budget's creation.
    pub time: Duration,
}

impl Default for Limits {
    /// Several times what an ordinary server image needs.
    fn default() -> Self {
        Self {
            read_bytes: 1 << 30,
            decompressed_bytes: 512 << 20,
            steps: 2_000_000,
            time: Duration::from_secs(60),
        }
    }
}

/// What was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Exhausted {
    /// [`Limits::read_bytes`].
    #[error("the inspection read as many bytes as it may")]
    ReadBytes,
    /// [`Limits::decompressed_bytes`].
    #[error("the inspection decompressed as many bytes as it may")]
    DecompressedBytes,
    /// [`Limits::steps`].
    #[error("the inspection looked at as many entries as it may")]
    Steps,
    /// [`Limits::time`].
    #[error("the inspection took as long as it may")]
    Time,
}

/// A running account against [`Limits`]; clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    limits: Limits,
    deadline: Option<Instant>,
    read_bytes: AtomicU64,
    decompressed_bytes: AtomicU64,
    steps: AtomicU64,
    exhausted: OnceLock<Exhausted>,
}

impl Budget {
    /// Starts an account; its time runs from now.
    pub fn new(limits: Limits) -> Self {
        let account = Account {
            limits,
            deadline: Instant::now().checked_add(limits.time),
            read_bytes: AtomicU64::new(0),
            decompressed_bytes: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            exhausted: OnceLock::new(),
        };
        Self { account: Arc::new(account) }
    }

    /// What was used up, if anything was.
    pub fn exhausted(&self) -> Option<Exhausted> {
        self.account.exhausted.get().copied()
    }

    /// How many bytes of the disk were read so far.
    pub fn read_bytes(&self) -> u64 {
        self.account.read_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn charge_read(&self, bytes: u64) -> Result<(), Exhausted> {
        let account = &self.account;
        self.charge(&account.read_bytes, bytes, account.limits.read_bytes, Exhausted::ReadBytes)
    }

    pub(crate) fn charge_decompressed(&self, bytes: u64) -> Result<(), Exhausted> {
        let account = &self.account;
        let limit = account.limits.decompressed_bytes;
        self.charge(&account.decompressed_bytes, bytes, limit, Exhausted::DecompressedBytes)
    }

    pub(crate) fn charge_step(&self) -> Result<(), Exhausted> {
        let account = &self.account;
        self.charge(&account.steps, 1, account.limits.steps, Exhausted::Steps)
    }

    fn charge(&self, used: &AtomicU64, amount: u64, limit: u64, what: Exhausted) -> Result<(), Exhausted> {
        if let Some(earlier) = self.exhausted() {
            return Err(earlier);
        }
        let total = used.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
        let late = self.account.deadline.is_some_and(|deadline| Instant::now() > deadline);
        let failure = match (total > limit, late) {
            (true, _) => what,
            (false, true) => Exhausted::Time,
            (false, false) => return Ok(()),
        };
        Err(*self.account.exhausted.get_or_init(|| failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_stays_used_up() {
        let budget = Budget::new(Limits { read_bytes: 10, ..Limits::default() });
        assert_eq!(budget.charge_read(10), Ok(()));
        assert_eq!(budget.charge_read(1), Err(Exhausted::ReadBytes));
        assert_eq!(budget.charge_step(), Err(Exhausted::ReadBytes), "nothing goes on after that");
        assert_eq!(budget.exhausted(), Some(Exhausted::ReadBytes));
    }

    #[test]
    fn time_is_looked_at_with_every_charge() {
        let budget = Budget::new(Limits { time: Duration::ZERO, ..Limits::default() });
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(budget.charge_step(), Err(Exhausted::Time));
    }
}
