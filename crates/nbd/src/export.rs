//! What is served under which name. Who may see what is decided by implementations of [`Exports`], not here.
//!
//! Invariant: a connection keeps the device that its export resolved to; later changes of the name do not touch it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kiln_block::BlockDevice;

/// A device to serve, read-only.
#[derive(Clone)]
pub struct Export {
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) description: Arc<str>,
}

impl Export {
    /// `description` is what people and the log call the export; clients that ask are told. It is never the
    /// export's name where that name is a capability.
    pub fn new(device: Arc<dyn BlockDevice>, description: impl Into<String>) -> Self {
        Self { device, description: description.into().into() }
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("description", &self.description).finish_non_exhaustive()
    }
}

/// Why there is no export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No export has this name.
    #[error("no such export")]
    Unknown,
    /// There may be one, but not for this client.
    #[error("not allowed")]
    Denied,
    /// It cannot be told or opened now. The implementation has logged why.
    #[error("not available now")]
    Unavailable,
}

/// The answer to a client that asks what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The names, in the order in which they are sent.
    Names(Vec<String>),
    /// Names are not told, for they are capabilities.
    Refused,
}

/// Resolves names to exports.
pub trait Exports: Send + Sync {
    /// The export called `name`: UTF-8, at most 4096 bytes, empty for the default export.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>>;

    /// The names to tell a client.
    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>>;
}

/// Exactly one export, which is also the default one: for a socket that belongs to one instance.
#[derive(Debug, Clone)]
pub struct SingleExport {
    name: String,
    export: Export,
}

impl SingleExport {
    /// Serves `export` as `name` and as the empty name.
    pub fn new(name: impl Into<String>, export: Export) -> Self {
        Self { name: name.into(), export }
    }
}

impl Exports for SingleExport {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>> {
        let known = name.is_empty() || name == self.name;
        let answer = if known { Ok(self.export.clone()) } else { Err(ResolveError::Unknown) };
        std::future::ready(answer).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        std::future::ready(Ok(Listing::Names(vec![self.name.clone()]))).boxed()
    }
}
