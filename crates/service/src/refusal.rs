//! Refusals: why a request is not carried out. One small kind for callers, one code and sentence for people.

use std::fmt;

/// What sort of refusal it is; adapters derive their own status from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// What was named does not exist, or not for this caller.
    NotFound,
    /// The present state does not allow it.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// The caller may not.
    Denied,
    /// A limit is reached.
    Quota,
    /// This machine lacks something that is needed.
    Unavailable,
    /// A fault of the service; the request may be right.
    Internal,
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What sort of refusal it is.
    pub kind: RefusalKind,
    /// The error code of the public API.
    pub code: &'static str,
    /// What was wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal of a kind. The functions below name the kinds.
    pub fn new(kind: RefusalKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into() }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, code, message)
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, code, message)
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, code, message)
    }

    pub(crate) fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Denied, code, message)
    }

    pub(crate) fn quota(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Quota, code, message)
    }

    /// A fault of the service. The cause goes to the log here, where it is handled; the caller learns only that.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside the service");
        Self::new(
            RefusalKind::Internal,
            "InternalError",
            "The service failed inside. Nothing was changed. Try again; if it goes on, the server's log says why.",
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<kiln_catalog::Error> for Refusal {
    fn from(error: kiln_catalog::Error) -> Self {
        Self::internal(error)
    }
}
