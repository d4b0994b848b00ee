//! Tickets: names that cannot be guessed, each standing for something for a while. They are kept in memory only, so a
//! restart ends them all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;

/// The most tickets of one kind that are valid at once.
const MAX_TICKETS: usize = 10_000;

/// The tickets of one kind.
pub(crate) struct Tickets<T> {
    life: Duration,
    valid: Mutex<HashMap<String, (T, Instant)>>,
}

impl<T: Clone> Tickets<T> {
    /// Tickets that are valid for `life`.
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, valid: Mutex::default() }
    }

    /// A new ticket; `None` where there are too many at the moment.
    pub(crate) fn issue(&self, stands_for: T) -> Option<String> {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        valid.retain(|_, (_, issued)| issued.elapsed() < self.life);
        if valid.len() >= MAX_TICKETS {
            return None;
        }
        let ticket = hex::encode(rand::rng().random::<[u8; 24]>());
        valid.insert(ticket.clone(), (stands_for, Instant::now()));
        Some(ticket)
    }

    /// What a valid ticket stands for.
    pub(crate) fn read(&self, ticket: &str) -> Option<T> {
        let valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let found = valid.get(ticket).filter(|(_, issued)| issued.elapsed() < self.life);
        found.map(|(stands_for, _)| stands_for.clone())
    }

    /// What a valid ticket stands for; it is valid no more.
    pub(crate) fn take(&self, ticket: &str) -> Option<T> {
        let mut valid = self.valid.lock().unwrap_or_else(PoisonError::into_inner);
        let found = valid.remove(ticket).filter(|(_, issued)| issued.elapsed() < self.life);
        found.map(|(stands_for, _)| stands_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_once_and_read_often() {
        let tickets = Tickets::new(Duration::from_secs(60));
        let ticket = tickets.issue(7).expect("there is room");
        assert_eq!((tickets.read(&ticket), tickets.read(&ticket)), (Some(7), Some(7)));
        assert_eq!((tickets.take(&ticket), tickets.take(&ticket)), (Some(7), None));
        assert_eq!(tickets.read("another"), None);
    }

    #[test]
    fn a_ticket_ends_with_its_time() {
        let tickets = Tickets::new(Duration::ZERO);
        let ticket = tickets.issue(7).expect("there is room");
        assert_eq!((tickets.read(&ticket), tickets.take(&ticket)), (None, None));
    }
}
