//! A refusal in S3's form: its code, with the status that goes with it.

use axum::http::StatusCode;
use kiln_object_signature::Error as SignatureError;
use kiln_service::{Refusal, RefusalKind};
use s3s::{S3Error, S3ErrorCode};

/// The error that a client gets for a refusal.
pub(crate) fn s3_error(refusal: Refusal) -> S3Error {
    let code = S3ErrorCode::from_bytes(refusal.code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let status = code.status_code().unwrap_or(match refusal.kind {
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::Invalid => StatusCode::BAD_REQUEST,
        RefusalKind::Denied | RefusalKind::Quota => StatusCode::FORBIDDEN,
        RefusalKind::Unavailable => StatusCode::INSUFFICIENT_STORAGE,
        RefusalKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    });
    let mut error = S3Error::with_message(code, refusal.message);
    error.set_status_code(status);
    error
}

/// The error that a client gets for a signature that does not hold.
pub(crate) fn signature_error(error: SignatureError) -> S3Error {
    match error {
        SignatureError::Malformed(_) => {
            S3Error::with_message(S3ErrorCode::InvalidArgument, error.to_string())
        }
        SignatureError::Expired => {
            refused(S3ErrorCode::AccessDenied, "Request has expired. Check the clocks, or sign again.")
        }
        SignatureError::Mismatch => refused(
            S3ErrorCode::SignatureDoesNotMatch,
            "The signature is not the one that the key makes for this request. Check the SecretKey.",
        ),
    }
}

/// A refusal of the adapter's own.
pub(crate) fn refused(code: S3ErrorCode, sentence: &'static str) -> S3Error {
    S3Error::with_message(code, sentence)
}
