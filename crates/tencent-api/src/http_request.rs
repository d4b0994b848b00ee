//! An HTTP request whose body was read, within a size and a time. Not here: what any of it means.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;

use crate::error::Error;

/// The largest body that is read, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 10 << 20;
/// The largest query that is read, in bytes.
const MAX_QUERY_BYTES: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A request, whole.
#[derive(Clone)]
pub(crate) struct HttpRequest {
    /// GET or POST.
    pub(crate) method: Method,
    /// The `Host` header as it came.
    pub(crate) host: String,
    /// The path as it came.
    pub(crate) path: String,
    /// The query as it came, without the question mark; empty where there is none.
    pub(crate) query: String,
    /// All headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

/// Bodies longer than this are large, in bytes: few requests have them, and few are read at once.
const SMALL_BODY_BYTES: u64 = 128 << 10;

/// Whether a request's body may be large, by what its header announces.
pub(crate) fn has_large_body(request: &Request<Body>) -> bool {
    let announced = axum::body::HttpBody::size_hint(request.body());
    announced.upper().is_none_or(|most| most > SMALL_BODY_BYTES)
}

impl HttpRequest {
    /// Reads a request to its end.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::GET && parts.method != Method::POST {
            return Err(Error::UnsupportedProtocol);
        }
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY_BYTES {
            return Err(Error::RequestSizeLimitExceeded { limit_bytes: MAX_QUERY_BYTES });
        }
        // One that is announced as too large is not waited for.
        if axum::body::HttpBody::size_hint(&body).lower() > MAX_BODY_BYTES as u64 {
            return Err(Error::RequestSizeLimitExceeded { limit_bytes: MAX_BODY_BYTES });
        }
        let body = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) if is_too_large(&error) => {
                return Err(Error::RequestSizeLimitExceeded { limit_bytes: MAX_BODY_BYTES });
            }
            Ok(Err(_)) => return Err(Error::InvalidRequest("its body ended early".to_owned())),
            Err(_) => return Err(Error::InvalidRequest("its body took too long to arrive".to_owned())),
        };
        let mut read = Self {
            method: parts.method,
            host: String::new(),
            path: parts.uri.path().to_owned(),
            query: query.to_owned(),
            headers: parts.headers,
            body,
        };
        read.host = read.header("host")?.unwrap_or_default().to_owned();
        Ok(read)
    }

    /// The value of a header that may be there once.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] where it is there more than once, or is not text.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::InvalidRequest(format!("the header {name} is there more than once")));
        }
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(Error::InvalidRequest(format!("the header {name} is not text"))),
        }
    }

    /// The content type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> Result<String, Error> {
        let content_type = self.header("content-type")?.unwrap_or_default();
        Ok(content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.to_string() == "length limit exceeded" {
            return true;
        }
        cause = inner.source();
    }
    false
}
