//! Sending one request: addresses checked, redirects followed by hand, failures told apart by cause.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};

use crate::address::is_allowed;
use crate::resolver::{CheckedResolver, Lookup, LookupFailure, check_literal};
use crate::response::{Ask, Head};
use crate::{Error, Policy, Result, SourceUrl};

/// The most redirects in a row that are followed.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// An HTTP client that connects to checked addresses only.
pub(crate) struct Requester {
    client: Client,
    allow_private: Arc<[IpNet]>,
    connect_limit: Duration,
    response_head_limit: Duration,
}

impl Requester {
    pub(crate) fn new(policy: &Policy, lookup: Lookup) -> Result<Self> {
        let allow_private: Arc<[IpNet]> = policy.allow_private.as_slice().into();
        let setup = |error: reqwest::Error| Error::Setup { reason: innermost(&error) };
        // Encodings are refused, so none may be asked for, whatever features another crate switches on. Nothing is
        // kept open between requests, so that every request's address is looked up and checked.
        let mut builder = Client::builder()
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(CheckedResolver::new(lookup, allow_private.clone())))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(policy.timeouts.connect);
        for pem in &policy.extra_roots_pem {
            for certificate in Certificate::from_pem_bundle(pem).map_err(setup)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self {
            client: builder.build().map_err(setup)?,
            allow_private,
            connect_limit: policy.timeouts.connect,
            response_head_limit: policy.timeouts.response_head,
        })
    }

    /// Asks for a file, follows redirects, and reads the header of the final answer.
    pub(crate) async fn get(&self, source: &SourceUrl, ask: Ask<'_>) -> Result<(Head, Response)> {
        let headers = request_headers(ask);
        let mut here = source.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&here, headers.clone()).await?;
            match redirect_target(&response) {
                Some(location) => {
                    let next = here.redirect(&location)?;
                    tracing::debug!(from = %here, to = %next, "following a redirect");
                    here = next;
                }
                None => {
                    let length = response.content_length();
                    let head = Head::read(response.status(), response.headers(), length, ask)?;
                    return Ok((head, response));
                }
            }
        }
        Err(Error::TooManyRedirects { limit: MAX_REDIRECTS })
    }

    async fn send(&self, source: &SourceUrl, headers: HeaderMap) -> Result<Response> {
        check_literal(source, &self.allow_private)?;
        let request = self.client.get(source.url().clone()).headers(headers).send();
        let limit = self.connect_limit.saturating_add(self.response_head_limit);
        let response = match tokio::time::timeout(limit, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.classify(&error, source)),
            Err(_) => return Err(Error::TimedOut { host: host(source), what: "answer", limit }),
        };
        // The resolver and check_literal leave no way to another address; this holds even if the client has one.
        match response.remote_addr() {
            Some(peer) if !is_allowed(peer.ip(), &self.allow_private) => {
                Err(Error::AddressRefused { host: host(source), address: peer.ip() })
            }
            _ => Ok(response),
        }
    }

    fn classify(&self, error: &reqwest::Error, source: &SourceUrl) -> Error {
        let host = host(source);
        match cause::<LookupFailure>(error) {
            Some(LookupFailure::Refused(address)) => {
                return Error::AddressRefused { host, address: *address };
            }
            Some(LookupFailure::Failed(reason)) => return Error::NameLookup { host, reason: reason.clone() },
            None => {}
        }
        let reason = innermost(error);
        if !error.is_connect() {
            return Error::NoAnswer { host, reason };
        }
        if error.is_timeout() {
            return Error::TimedOut { host, what: "take a connection", limit: self.connect_limit };
        }
        // rustls reports what it refuses as invalid data, and a server that hangs up as an unexpected end.
        let tls = cause::<io::Error>(error).is_some_and(|error| {
            matches!(wrapped(error).kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        });
        if tls { Error::Tls { host, reason } } else { Error::Unreachable { host, reason } }
    }
}

fn request_headers(ask: Ask<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    match ask {
        Ask::Whole => {}
        Ask::FirstByte => {
            headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        }
        Ask::From { offset, validator } => {
            // Both come from headers; one that was spoilt on disk only loses the continuation.
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            if let (Ok(validator), Ok(range)) = (HeaderValue::from_str(validator.as_header()), range) {
                headers.insert(IF_RANGE, validator);
                headers.insert(RANGE, range);
            }
        }
        Ask::Part { offset, len, validator } => {
            let last = offset.saturating_add(len.saturating_sub(1));
            if let Ok(range) = HeaderValue::try_from(format!("bytes={offset}-{last}")) {
                headers.insert(RANGE, range);
            }
            if let Some(Ok(validator)) =
                validator.map(|validator| HeaderValue::from_str(validator.as_header()))
            {
                headers.insert(IF_RANGE, validator);
            }
        }
    }
    headers
}

/// The target of an answer that is a redirect.
fn redirect_target(response: &Response) -> Option<String> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = redirects.then(|| response.headers().get(LOCATION))??;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn host(source: &SourceUrl) -> String {
    source.host().to_string()
}

/// The first error of type `T` in a chain of causes.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The system error inside one or more others. A chain of causes steps over it: an `io::Error` made of another
/// answers with the other's cause instead of the other.
fn wrapped(mut error: &io::Error) -> &io::Error {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        error = inner;
    }
    error
}

/// The last of a chain of causes, in words: the outer ones repeat the URL.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn StdError + 'static)| error.source())
}
