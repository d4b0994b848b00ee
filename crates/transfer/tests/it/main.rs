//! Fetching from servers on loopback that do what servers do, and what they should not. No test leaves the machine.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod addresses;
mod bounds;
mod disguises;
mod failures;
mod parts;
mod resuming;
mod server;
mod tls;
mod whole;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_transfer::{Error, FetchOptions, Fetched, Fetcher, Policy, Progress, Retry, SourceUrl, Timeouts};
use tokio_util::sync::CancellationToken;

/// Waits short enough for tests, and one attempt; loopback is allowed.
fn policy() -> Policy {
    Policy {
        allow_private: vec!["127.0.0.1/32".parse().unwrap()],
        extra_roots_pem: Vec::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            response_head: Duration::from_millis(300),
            idle: Duration::from_millis(300),
            min_bytes_per_second: 1,
            rate_window: Duration::from_secs(60),
        },
        retry: Retry {
            attempts: 1,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
        },
    }
}

/// The same with several attempts.
fn patient() -> Policy {
    let mut policy = policy();
    policy.retry.attempts = 4;
    policy
}

fn options() -> FetchOptions {
    FetchOptions { max_bytes: 1 << 30, expected_sha256: None }
}

/// A destination in a directory of its own.
struct Destination {
    dir: tempfile::TempDir,
}

impl Destination {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}

fn source(url: &str) -> SourceUrl {
    SourceUrl::parse(url).unwrap()
}

async fn fetch(policy: Policy, url: &str, destination: &Path) -> Result<Fetched, Error> {
    fetch_with(policy, url, destination, &options()).await
}

async fn fetch_with(
    policy: Policy,
    url: &str,
    destination: &Path,
    options: &FetchOptions,
) -> Result<Fetched, Error> {
    let fetcher = Fetcher::new(policy).unwrap();
    let ignore = |_: Progress| {};
    fetcher.fetch(&source(url), destination, options, &ignore, &CancellationToken::new()).await
}

/// Bytes that do not repeat in any period a mistake would have, without runs of zeros.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 | 1).collect()
}
