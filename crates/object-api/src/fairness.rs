//! What keeps one account's requests from keeping the others' waiting: a rate, and a number of requests at once.
//!
//! A request counts from the moment its signer is known until the last byte of its answer is sent, or its connection is
//! gone. An account's requests beyond its number wait for a while, as many again at most; what comes beyond these, or
//! faster than the rate, is told to slow down.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use kiln_model::{Timestamp, Uin};
use kiln_service::RateLimit;
use s3s::{S3ErrorCode, S3Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::refused;

/// Requests that are worked on at once; more wait.
const MAX_CONCURRENT_REQUESTS: usize = 512;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// What each account may ask for.
#[derive(Debug, Clone, Copy)]
pub struct AccountLimits {
    /// Requests per second; short bursts may have twice as many.
    pub requests_per_second: u32,
    /// Requests at once.
    pub requests_at_once: usize,
}

/// Counts requests, account by account.
pub(crate) struct Fairness {
    limits: AccountLimits,
    patience: Duration,
    rate: RateLimit,
    accounts: Mutex<HashMap<Uin, Arc<Turns>>>,
    all: Arc<Semaphore>,
}

/// The turns of one account.
struct Turns {
    /// For those that wait, too.
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

/// A request's turn, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "it is held")] [OwnedSemaphorePermit; 3]);

/// Where a request's turn lies once it has one: whoever finds out who asks puts it there.
pub(crate) type TurnSlot = Arc<OnceLock<Turn>>;

impl Fairness {
    pub(crate) fn new(limits: AccountLimits) -> Self {
        Self {
            limits,
            patience: TURN_TIMEOUT,
            rate: RateLimit::default(),
            accounts: Mutex::default(),
            all: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)),
        }
    }

    /// Waits for the turn of a request of that account.
    pub(crate) async fn admit(&self, account: Uin) -> S3Result<Turn> {
        let slow_down = |sentence| refused(S3ErrorCode::SlowDown, sentence);
        if !self.rate.admit(account, self.limits.requests_per_second, Timestamp::now()) {
            return Err(slow_down(
                "Your requests come faster than this server allows. Try again in a second.",
            ));
        }
        let turns = self.turns(account);
        let full = "You have too many requests under way. Wait until some have ended, then try again.";
        let place = Arc::clone(&turns.places).try_acquire_owned().map_err(|_| slow_down(full))?;
        let own = within(self.patience, &turns.working).await.ok_or_else(|| slow_down(full))?;
        let busy = "The server has too much to do at this moment. Try again.";
        let all = within(self.patience, &self.all).await.ok_or_else(|| slow_down(busy))?;
        Ok(Turn([place, own, all]))
    }

    fn turns(&self, account: Uin) -> Arc<Turns> {
        let at_once = self.limits.requests_at_once;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = accounts.entry(account).or_insert_with(|| {
            let semaphore = |permits| Arc::new(Semaphore::new(permits));
            Arc::new(Turns { places: semaphore(2 * at_once), working: semaphore(at_once) })
        });
        Arc::clone(turns)
    }
}

async fn within(time: Duration, turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(time, Arc::clone(turns).acquire_owned()).await.ok()?.ok()
}

/// The body of an answer, with the turn that ends when it was sent.
pub(crate) fn holding(body: Body, turn: TurnSlot) -> Body {
    Body::new(Held { body, _turn: turn })
}

struct Held {
    body: Body,
    _turn: TurnSlot,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Uin = Uin(100_000_000_001);
    const BOB: Uin = Uin(100_000_000_002);

    #[tokio::test]
    async fn an_account_waits_for_itself_and_for_nobody_else() {
        let limits = AccountLimits { requests_per_second: 1000, requests_at_once: 2 };
        let fairness = Arc::new(Fairness::new(limits));
        let first = fairness.admit(ALICE).await.expect("the first");
        let _second = fairness.admit(ALICE).await.expect("the second");
        let waiting = |fairness: &Arc<Fairness>| {
            let fairness = Arc::clone(fairness);
            tokio::spawn(async move { fairness.admit(ALICE).await })
        };
        let (third, fourth) = (waiting(&fairness), waiting(&fairness));
        while fairness.turns(ALICE).places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(fairness.admit(ALICE).await.is_err(), "as many wait as may");
        assert!(fairness.admit(BOB).await.is_ok());
        drop(first);
        assert!(third.await.expect("it ends").is_ok());
        // Its turn ended with it, so the fourth has one.
        assert!(fourth.await.expect("it ends").is_ok());
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told_so() {
        let limits = AccountLimits { requests_per_second: 1000, requests_at_once: 1 };
        let fairness = Fairness { patience: Duration::from_millis(20), ..Fairness::new(limits) };
        let _turn = fairness.admit(ALICE).await.expect("the first");
        let error = fairness.admit(ALICE).await.expect_err("the first goes on");
        assert_eq!(error.code().as_str(), "SlowDown");
    }
}
