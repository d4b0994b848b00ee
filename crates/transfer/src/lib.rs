//! Fetching a source URL into a local file: bounded, resumable, and only from addresses that may be asked.
//!
//! ```text
//! SourceUrl ─► Request (redirects, headers) ─► CheckedResolver ─► body ─► Writer (own thread) ─► file + sidecar
//! ```
//!
//! A URL comes from a user, the network behind this process is the operator's: whatever the URL, its redirects or
//! the name server say, a connection is opened only to an address that was checked, and to that very address.
//! Everything is bounded: length, redirects, every wait, the slowest rate, retries, memory.
//!
//! Deliberately absent: proxies from the environment, compressed bodies, credentials in URLs, caching, and any
//! knowledge of images.

#![deny(unsafe_code)]

mod address;
mod error;
mod fetcher;
mod partial_file;
mod policy;
mod receive;
mod request;
mod resolver;
mod response;
mod resume;
mod source_url;
mod sparse;
mod writer;

pub use error::Error;
pub use fetcher::{FetchOptions, Fetched, Fetcher, Probe, Progress};
pub use partial_file::discard;
pub use policy::{Policy, Retry, Timeouts};
pub use resolver::Lookup;
pub use response::Validator;
pub use source_url::SourceUrl;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
