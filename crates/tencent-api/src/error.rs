//! Why a request gets an error instead of an answer, by cause, and the public error code of each cause.
//!
//! Rules are not here: what the service refuses arrives as a finished [`Refusal`]. Invariant: no message repeats a
//! parameter's value beyond [`MAX_ECHO_CHARS`], and none repeats a value that may be secret.

use kiln_model::ParseIdError;
use kiln_service::Refusal;

/// How many characters of a caller's own text an error message repeats.
const MAX_ECHO_CHARS: usize = 64;

/// Why a request gets no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// There is no signature, or not in a form that can be checked.
    #[error("The request's authorization cannot be read: {0}.")]
    InvalidAuthorization(&'static str),
    /// No such key.
    #[error("The SecretId does not exist. Check that it belongs to this service and was not deleted.")]
    SecretIdNotFound,
    /// The key exists and signed, but is switched off.
    #[error("The key is disabled. Enable it, or use another one.")]
    SecretIdDisabled,
    /// Signed with something else, or changed on its way.
    #[error(
        "The signature does not fit the request. Check the SecretKey, and that host, content-type and body \
         are signed exactly as they are sent."
    )]
    SignatureFailure,
    /// Signed too long ago, or in the future.
    #[error(
        "The request's timestamp is {seconds_off} seconds off the server's clock, at most {allowed} are allowed. \
         Set the client's clock, and sign each request anew."
    )]
    SignatureExpired {
        /// By how much the two clocks differ.
        seconds_off: u64,
        /// By how much they may.
        allowed: u64,
    },
    /// Strict replay protection is on, and this signature was used.
    #[error("A changing request with this very signature was seen before. Sign it again, a second later.")]
    Replayed,
    /// The operator does not allow requests whose body is not signed.
    #[error("The body is not signed (UNSIGNED-PAYLOAD), which this server does not allow. Sign it.")]
    UnsignedPayload,
    /// Temporary credentials come with a token, and there are none here.
    #[error("Temporary credentials are not known here: sign with a permanent key, and send no token.")]
    TokenUnsupported,
    /// The account sends too fast.
    #[error("More than {per_second} requests per second. Slow down, and try again in a second.")]
    RateLimited {
        /// The limit.
        per_second: u32,
    },
    /// So many changing requests are remembered that no more can be told from repeated ones.
    #[error(
        "More than {limit} changing requests in ten minutes, which strict replay protection cannot remember."
    )]
    ReplayMemoryFull {
        /// How many are remembered for each account.
        limit: usize,
    },
    /// No service of that name.
    #[error("There is no service {0}.")]
    NoSuchProduct(String),
    /// The service has no action of that name.
    #[error("The service {service} has no action {action}.")]
    InvalidAction {
        /// The service that was addressed.
        service: String,
        /// The action that was asked for.
        action: String,
    },
    /// The service has no such version.
    #[error("The service {service} has no version {version}; it has {known}.")]
    NoSuchVersion {
        /// The service that was addressed.
        service: String,
        /// The version that was asked for.
        version: String,
        /// The version there is.
        known: &'static str,
    },
    /// No region of that name.
    #[error("There is no region {region}. There are: {known}.")]
    UnsupportedRegion {
        /// The region that was addressed.
        region: String,
        /// The regions there are.
        known: String,
    },
    /// A parameter that must be there is not.
    #[error("The parameter `{0}` is missing.")]
    MissingParameter(String),
    /// A parameter of another type.
    #[error("The parameter `{path}` must be {expected}, but is {found}.")]
    MistypedParameter {
        /// Where it is.
        path: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A parameter that the action does not have.
    #[error("The action has no parameter `{0}`.")]
    UnknownParameter(String),
    /// A parameter whose value this service does not have.
    #[error("The parameter `{path}` can only be {allowed} here{reason}.")]
    UnsupportedValue {
        /// Where it is.
        path: String,
        /// What it can be.
        allowed: String,
        /// Why nothing else, beginning with a colon, or empty.
        reason: String,
    },
    /// A parameter that this service does not act on, though its user would rely on it.
    #[error("The parameter `{path}` cannot be used here: {reason}.")]
    UnsupportedParameter {
        /// Where it is.
        path: String,
        /// The public error code.
        code: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A parameter's value that cannot be.
    #[error("The parameter `{path}` is wrong: {reason}.")]
    InvalidValue {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A resource identifier of the wrong form.
    #[error("The parameter `{path}` names {text:?}; expected {expected}.")]
    MalformedId {
        /// The public error code.
        code: &'static str,
        /// Where it is.
        path: String,
        /// What it is, shortened.
        text: String,
        /// The form that it must have.
        expected: &'static str,
    },
    /// A resource's full name of the wrong form.
    #[error("{name:?} names no resource that carries tags; expected {expected}.")]
    InvalidResource {
        /// The name, shortened.
        name: String,
        /// The form that it must have.
        expected: &'static str,
    },
    /// Two parameters that exclude each other.
    #[error("The parameters `{0}` and `{1}` exclude each other.")]
    ParameterCombination(&'static str, &'static str),
    /// Neither the address nor the signature says which action is meant, or a header is not text.
    #[error("The request cannot be read: {0}.")]
    InvalidRequest(String),
    /// A body larger than the limit.
    #[error("The request's body is larger than {limit_bytes} bytes.")]
    RequestSizeLimitExceeded {
        /// The limit.
        limit_bytes: usize,
    },
    /// Neither GET nor POST.
    #[error("Only GET and POST are spoken here.")]
    UnsupportedProtocol,
    /// The service refuses.
    #[error("{}", .0.message)]
    Refused(#[from] Refusal),
    /// The service answered something that the action cannot show: a fault of Kiln.
    #[error("The answer cannot be shown. What was asked for may have been done; look before you try again.")]
    UnexpectedAnswer,
}

impl Error {
    /// The error code of the public API.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidAuthorization(_) => "AuthFailure.InvalidAuthorization",
            Self::SecretIdNotFound | Self::SecretIdDisabled => "AuthFailure.SecretIdNotFound",
            Self::SignatureFailure | Self::Replayed | Self::UnsignedPayload => "AuthFailure.SignatureFailure",
            Self::SignatureExpired { .. } => "AuthFailure.SignatureExpire",
            Self::TokenUnsupported => "AuthFailure.TokenFailure",
            Self::RateLimited { .. } | Self::ReplayMemoryFull { .. } => "RequestLimitExceeded",
            Self::NoSuchProduct(_) => "NoSuchProduct",
            Self::InvalidAction { .. } => "InvalidAction",
            Self::NoSuchVersion { .. } => "NoSuchVersion",
            Self::UnsupportedRegion { .. } => "UnsupportedRegion",
            Self::MissingParameter(_) => "MissingParameter",
            Self::MistypedParameter { .. } => "InvalidParameter",
            Self::UnknownParameter(_) => "UnknownParameter",
            Self::UnsupportedValue { .. } | Self::InvalidValue { .. } => "InvalidParameterValue",
            Self::UnsupportedParameter { code, .. } | Self::MalformedId { code, .. } => code,
            Self::InvalidResource { .. } => "InvalidParameterValue.ResourceDescriptionError",
            Self::ParameterCombination(..) => "InvalidParameterCombination",
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::RequestSizeLimitExceeded { .. } => "RequestSizeLimitExceeded",
            Self::UnsupportedProtocol => "UnsupportedProtocol",
            Self::Refused(refusal) => refusal.code,
            Self::UnexpectedAnswer => "InternalError",
        }
    }

    /// The error for an identifier that does not parse.
    pub(crate) fn malformed_id(code: &'static str, path: &str, error: &ParseIdError) -> Self {
        Self::MalformedId {
            code,
            path: path.to_owned(),
            text: shortened(&error.text),
            expected: error.expected,
        }
    }
}

/// The beginning of a caller's own text, for a message.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_repeat_only_the_beginning_of_what_came() {
        let long = "ä".repeat(5_000);
        assert_eq!(shortened(&long).chars().count(), MAX_ECHO_CHARS + 1);
        assert_eq!(shortened("img-1"), "img-1");
    }
}
