//! Answers to browsers that ask for a page of another origin: the preflight, and the headers of every other answer.
//!
//! Pages of the server's own host may use every bucket, whatever their port: the console's. So may those that the operator
//! names; others may do what a bucket's rules say. That gives nobody a key: requests must be signed all the same.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use kiln_model::{CORS_METHODS, CorsRule};
use kiln_object_signature::decode;
use kiln_service::{Service, names_of_host};
use s3s::{S3Error, S3ErrorCode, S3Result};
use url::{Host, Url};

use crate::error::refused;

/// What the console's scripts read of answers.
const EXPOSED: [&str; 9] = [
    "ETag",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Last-Modified",
    "Location",
    "x-amz-request-id",
    "x-cos-request-id",
    "x-cos-hash-crc64ecma",
];
/// How long browsers may remember what the console may do, in seconds.
const CONSOLE_MAX_AGE: u32 = 3600;

/// What a browser says of a request: where the page is from, and what it wants to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    origin: String,
    method: String,
    headers: Vec<String>,
    host: String,
    bucket: Option<String>,
}

impl Asked {
    /// What a browser says, if one does.
    pub(crate) fn of(request: &Parts, host: &str) -> Option<Self> {
        let header = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        let origin = header(ORIGIN)?.to_owned();
        let (method, headers) = match request.method {
            Method::OPTIONS => {
                let headers = header(ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
                let headers = headers.split(',').map(str::trim).filter(|name| !name.is_empty());
                (header(ACCESS_CONTROL_REQUEST_METHOD)?.to_owned(), headers.map(str::to_owned).collect())
            }
            _ => (request.method.to_string(), Vec::new()),
        };
        let in_path = || request.uri.path().split('/').nth(1).map(decode).filter(|name| !name.is_empty());
        let bucket = names_of_host(host).bucket.map(str::to_owned).or_else(in_path);
        Some(Self { origin, method, headers, host: host.to_owned(), bucket })
    }

    /// The rule that allows it, if one does.
    pub(crate) async fn rule(&self, service: &Service, origins: &[String]) -> Option<CorsRule> {
        if is_own(&self.origin, &self.host) || origins.contains(&self.origin) {
            return Some(self.console());
        }
        let rules = service.cors_rules_for_browsers(self.bucket.as_ref()?).await;
        let rules = rules.inspect_err(|refusal| tracing::error!(%refusal, "no CORS rules could be read"));
        let headers = || self.headers.iter().map(String::as_str);
        rules.ok()?.into_iter().find(|rule| rule.allows(&self.origin, &self.method, headers()))
    }

    /// What the console may do: all.
    fn console(&self) -> CorsRule {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsRule {
            id: None,
            origins: vec![self.origin.clone()],
            methods: list(&CORS_METHODS),
            headers: list(&["*"]),
            exposed_headers: list(&EXPOSED),
            max_age_seconds: Some(CONSOLE_MAX_AGE),
        }
    }

    /// The headers that tell the browser what is allowed.
    pub(crate) fn give(&self, rule: &CorsRule, headers: &mut HeaderMap) {
        let mut say = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value)
                && !value.is_empty()
            {
                headers.insert(name, value);
            }
        };
        let origin = if rule.is_for_all() { "*" } else { self.origin.as_str() };
        say(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        say(ACCESS_CONTROL_ALLOW_METHODS, &rule.methods.join(", "));
        say(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
        say(ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed_headers.join(", "));
        if let Some(seconds) = rule.max_age_seconds {
            say(ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        say(VARY, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    }
}

/// Whether a page comes from the very host, whatever its port; this machine has several names for itself.
fn is_own(origin: &str, host: &str) -> bool {
    let (Ok(page), Ok(own)) = (Url::parse(origin), Url::parse(&format!("http://{host}"))) else {
        return false;
    };
    let is_loopback = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    let is_same = page.host() == own.host() || is_loopback(&page) && is_loopback(&own);
    matches!(page.scheme(), "http" | "https") && is_same
}

/// The answer to a browser that asks whether it may send a request; the headers that say so are given to every answer.
///
/// # Errors
/// An error of S3 that says why it may not.
pub(crate) fn preflight(asked: Option<&Asked>, rule: Option<&CorsRule>) -> S3Result<Response> {
    match (asked, rule) {
        (Some(_), Some(_)) => Ok(Response::new(Body::empty())),
        (Some(_), None) => Err(forbidden()),
        (None, _) => Err(refused(
            S3ErrorCode::InvalidRequest,
            "OPTIONS wants the headers Origin and Access-Control-Request-Method.",
        )),
    }
}

fn forbidden() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("AccessForbidden".into()),
        "No CORS rule of the bucket allows this. Its owner can add one (PutBucketCors).",
    );
    error.set_status_code(StatusCode::FORBIDDEN);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_own_host_are_known() {
        let check = |origin, host, expected| assert_eq!(is_own(origin, host), expected, "{origin} {host}");
        check("http://127.0.0.1:5456", "127.0.0.1:5457", true);
        check("https://kiln.example.org", "kiln.example.org:5457", true);
        check("https://[::1]:5456", "[::1]:5457", true);
        check("http://localhost:5456", "127.0.0.1:5457", true);
        check("http://localhost:5456", "kiln.example.org:5457", false);
        check("https://example.org", "kiln.example.org", false);
        check("https://kiln.example.org.evil.net", "kiln.example.org", false);
        check("null", "kiln.example.org", false);
        check("https://kiln.example.org", "", false);
    }
}
