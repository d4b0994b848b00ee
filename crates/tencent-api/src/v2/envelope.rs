//! The envelope of the legacy API: `{"code": 0, "message": "", "codeDesc": "Success", …}`, and its numbers for errors.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use kiln_service::RefusalKind;
use serde_json::{Value, json};

use crate::envelope::Object;
use crate::error::Error;

/// The answer to a request, or the error that it gets.
pub(crate) fn response(outcome: Result<Object, Error>) -> Response<Body> {
    let mut members = status(outcome.as_ref().err());
    members.extend(outcome.unwrap_or_default());
    let mut response = Response::new(Body::from(Value::Object(members).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// How something went: the three members that every answer has.
pub(super) fn status(error: Option<&Error>) -> Object {
    let shape = match error {
        None => [("code", json!(0)), ("message", json!("")), ("codeDesc", json!("Success"))],
        Some(error) => {
            let code = code(error);
            [("code", code.into()), ("message", error.to_string().into()), ("codeDesc", error.code().into())]
        }
    };
    shape.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The legacy API's number for an error. Source: its public list of common error codes.
fn code(error: &Error) -> u32 {
    match error {
        Error::InvalidAuthorization(_)
        | Error::SignatureFailure
        | Error::UnsignedPayload
        | Error::SecretIdDisabled => 4100,
        Error::SecretIdNotFound => 4104,
        Error::TokenUnsupported => 4110,
        Error::SignatureExpired { .. } => 4200,
        Error::RateLimited { .. } | Error::ReplayMemoryFull { .. } => 4400,
        Error::Replayed => 4500,
        Error::UnsupportedProtocol => 4600,
        Error::UnexpectedAnswer => 6000,
        Error::Refused(refusal) => match refusal.kind {
            RefusalKind::NotFound => 5000,
            RefusalKind::Conflict => 5100,
            RefusalKind::Invalid => 4000,
            RefusalKind::Denied => 4102,
            RefusalKind::Quota => 4400,
            RefusalKind::Unavailable => 6200,
            RefusalKind::Internal => 6000,
        },
        _ => 4000,
    }
}
