//! Why a fetch failed, by cause. Each sentence says what to do; none contains the query of a URL.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can go wrong while fetching a source URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no URL that could be fetched.
    #[error("the URL cannot be used: {reason}; give an http or https URL without user name and password")]
    InvalidUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The host, or the target of a redirect, is at an address that is not public and not allowed.
    #[error(
        "{host} is at {address}, which is no public address; \
         if it is meant to be fetched from, the operator adds it to allow_private under [transfer]"
    )]
    AddressRefused {
        /// The host as the URL names it.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The host's name has no address, or the name servers did not answer.
    #[error("the name {host} could not be looked up ({reason}); check the spelling and the name servers")]
    NameLookup {
        /// The host's name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// No connection could be opened.
    #[error(
        "{host} cannot be reached ({reason}); check that the server runs and that a firewall lets it through"
    )]
    Unreachable {
        /// The host.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// A connection was opened, but no trusted TLS session came of it.
    #[error(
        "no secure connection to {host} ({reason}); check the server's certificate and that it speaks https"
    )]
    Tls {
        /// The host.
        host: String,
        /// What the TLS library says.
        reason: String,
    },
    /// The server took the connection and gave no HTTP answer.
    #[error("{host} gave no proper HTTP answer ({reason}); check that the URL leads to a web server")]
    NoAnswer {
        /// The host.
        host: String,
        /// The HTTP library's words.
        reason: String,
    },
    /// A wait was longer than its limit.
    #[error("{host} did not {what} within {limit:?}; try again, or fetch from a faster server")]
    TimedOut {
        /// The host.
        host: String,
        /// What was waited for, as a verb.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The body came more slowly than the limit.
    #[error(
        "the server sends {bytes_per_second} bytes per second, under the limit of {limit_bytes_per_second}; \
         fetch from a faster server"
    )]
    TooSlow {
        /// The rate over the last window.
        bytes_per_second: u64,
        /// The slowest rate put up with.
        limit_bytes_per_second: u64,
    },
    /// The server refused, or failed.
    #[error("the server answers with status {status}{}", advice(*.status))]
    Status {
        /// The HTTP status code.
        status: u16,
    },
    /// A redirect leads where a fetch does not follow.
    #[error("the redirect from {from} is not followed: {reason}; give the final URL")]
    RedirectRefused {
        /// The URL that redirects, without its query.
        from: String,
        /// What is wrong with the target.
        reason: String,
    },
    /// More redirects in a row than are followed.
    #[error("the URL redirects more than {limit} times; give the final URL")]
    TooManyRedirects {
        /// The limit.
        limit: usize,
    },
    /// The body is encoded although an unencoded one was asked for.
    #[error("the server sends the file encoded ({encoding}); have it served as it is")]
    Encoded {
        /// The Content-Encoding or Transfer-Encoding.
        encoding: String,
    },
    /// Neither a length nor framing nor a digest: a file that was cut off could not be told from a whole one.
    #[error(
        "the server does not say how long the file is; use one that sends Content-Length, or give its SHA-256"
    )]
    LengthUnknown,
    /// The file is longer than the caller takes.
    #[error("the file is larger than the limit of {limit_bytes} bytes{}", found(*.size_bytes))]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
        /// The file's size where the server says it.
        size_bytes: Option<u64>,
    },
    /// The body ended, or the connection broke, before its end.
    #[error("the file broke off after {received_bytes} bytes{}; try again", found(*.total_bytes))]
    Truncated {
        /// Bytes there were, counted from the start of the file.
        received_bytes: u64,
        /// Bytes there should have been, where known.
        total_bytes: Option<u64>,
    },
    /// The rest of the file was asked for, and something else came. What was fetched before has been dropped.
    #[error(
        "the server does not continue the file that was begun ({reason}); it has to be fetched from its start"
    )]
    WrongRange {
        /// What came instead.
        reason: String,
    },
    /// A header that contradicts HTTP or the body.
    #[error("the server's answer makes no sense ({reason}); fetch from another server")]
    BadAnswer {
        /// What is wrong with it.
        reason: String,
    },
    /// The whole file was fetched, and it is not the one that was expected. It has been dropped.
    #[error("the file has SHA-256 {found}, not {expected}; check the digest and the URL")]
    ChecksumMismatch {
        /// In hexadecimal.
        expected: String,
        /// In hexadecimal.
        found: String,
    },
    /// No space is left for the file.
    #[error("no space left for {}; free some, then try again: the fetch goes on where it stopped", .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The local file cannot be opened, read or written.
    #[error("the file {} cannot be written: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another fetch is writing to the same file.
    #[error("another fetch is writing to {}; wait for it to end", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The caller cancelled. What was fetched is kept.
    #[error("the fetch was cancelled")]
    Cancelled,
    /// The HTTP client cannot be set up (unusable certificates).
    #[error(
        "the HTTP client cannot be set up: {reason}; check the certificates of the configuration and the system"
    )]
    Setup {
        /// The library's words.
        reason: String,
    },
}

impl Error {
    /// Whether the same fetch may succeed later without anybody changing anything. [`Fetcher::fetch`] has already
    /// tried as often as the policy says.
    ///
    /// [`Fetcher::fetch`]: crate::Fetcher::fetch
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NameLookup { .. }
            | Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::TimedOut { .. }
            | Self::TooSlow { .. }
            | Self::Truncated { .. }
            | Self::WrongRange { .. }
            | Self::InUse { .. } => true,
            Self::Status { status } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// The cause of a failure of the local file at `path`.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::File { path, source },
        }
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            ": it does not let this URL be read; check its permission, or whether its signature has expired"
        }
        404 | 410 => ": there is no such file; check the URL",
        429 => ": too many requests; try again later",
        500.. => ": the server has a problem; try again later",
        _ => "; check the URL",
    }
}

fn found(total_bytes: Option<u64>) -> String {
    total_bytes.map_or_else(String::new, |bytes| format!(" (it has {bytes} bytes)"))
}
