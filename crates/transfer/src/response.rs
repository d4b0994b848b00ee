//! What the header of an answer says about the body: where it starts, how long the file is, how to recognise it.
//!
//! Pure: no I/O, no waiting. Source: RFC 9110 (HTTP semantics), sections 8.8 (validators), 13.1.5 (If-Range) and
//! 14 (ranges).

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED,
    TRANSFER_ENCODING,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest validator that is kept, in bytes; a longer one counts as none.
const MAX_VALIDATOR_BYTES: usize = 1024;
/// A modification time is a strong validator only where the answer is at least this much younger (RFC 9110,
/// 8.8.2.2): within one second a file could change twice.
const LAST_MODIFIED_STRONG_AFTER: Duration = Duration::from_secs(1);

/// What identifies one version of a file, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// A strong entity tag, with its quotation marks.
    ETag(String),
    /// An HTTP date, as the server wrote it.
    LastModified(String),
}

impl Validator {
    /// As the value of an `If-Range` header.
    pub(crate) fn as_header(&self) -> &str {
        match self {
            Self::ETag(value) | Self::LastModified(value) => value,
        }
    }

    /// The strong validator among the headers of an answer, an entity tag first.
    fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(tag) = text(headers, ETAG)
            && tag.len() >= 2
            && tag.starts_with('"')
            && tag.ends_with('"')
        {
            return Some(Self::ETag(tag.to_owned()));
        }
        let modified = text(headers, LAST_MODIFIED)?;
        let date = httpdate::parse_http_date(text(headers, DATE)?).ok()?;
        let age = date.duration_since(httpdate::parse_http_date(modified).ok()?).ok()?;
        (age >= LAST_MODIFIED_STRONG_AFTER).then(|| Self::LastModified(modified.to_owned()))
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().filter(|value| value.len() <= MAX_VALIDATOR_BYTES)
}

/// Which bytes a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    /// The whole file.
    Whole,
    /// The first byte: to learn about the file.
    FirstByte,
    /// What follows `offset` if the file is still the one that `validator` identifies, else the whole file.
    From { offset: u64, validator: &'a Validator },
    /// `len` bytes at `offset`, if the file is still the one that `validator` identifies, where there is one.
    Part { offset: u64, len: u64, validator: Option<&'a Validator> },
}

impl Ask<'_> {
    /// The first byte that is asked for.
    fn first(self) -> u64 {
        match self {
            Self::Whole | Self::FirstByte => 0,
            Self::From { offset, .. } | Self::Part { offset, .. } => offset,
        }
    }
}

/// What an answer's header says about its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The position in the file of the body's first byte.
    pub(crate) start_bytes: u64,
    /// The length of the whole file, where the answer says it.
    pub(crate) total_bytes: Option<u64>,
    pub(crate) validator: Option<Validator>,
    /// The server takes ranges of this file.
    pub(crate) ranges: bool,
    /// The end of the body can be told from a broken connection.
    pub(crate) framed: bool,
}

impl Head {
    /// Reads the header of an answer to `ask` that is no redirect. `body_bytes` is the body's announced length.
    ///
    /// # Errors
    /// [`Error::Status`] for refusals, [`Error::Encoded`], [`Error::WrongRange`] where a continuation was asked for
    /// and another range came, [`Error::BadAnswer`].
    pub(crate) fn read(
        status: StatusCode,
        headers: &HeaderMap,
        body_bytes: Option<u64>,
        ask: Ask<'_>,
    ) -> Result<Self> {
        let chunked = check_encodings(headers)?;
        let validator = Validator::of(headers);
        let framed = chunked || body_bytes.is_some();
        match (status, ask) {
            (StatusCode::OK, _) => {
                let ranges =
                    text(headers, ACCEPT_RANGES).is_some_and(|units| units.eq_ignore_ascii_case("bytes"));
                Ok(Self { start_bytes: 0, total_bytes: body_bytes, validator, ranges, framed })
            }
            (StatusCode::PARTIAL_CONTENT, Ask::FirstByte | Ask::From { .. } | Ask::Part { .. }) => {
                let range = ContentRange::of(headers)?;
                let asked = ask.first();
                if range.first != asked {
                    let reason = format!("byte {asked} was asked for, and byte {} came", range.first);
                    return Err(Error::WrongRange { reason });
                }
                let total_bytes = Some(range.total_bytes);
                Ok(Self { start_bytes: asked, total_bytes, validator, ranges: true, framed })
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Ask::From { offset, .. } | Ask::Part { offset, .. }) => {
                Err(Error::WrongRange { reason: format!("it has nothing after byte {offset}") })
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Ask::FirstByte) => {
                Ok(Self { start_bytes: 0, total_bytes: Some(0), validator, ranges: false, framed })
            }
            _ => Err(Error::Status { status: status.as_u16() }),
        }
    }
}

/// Refuses every encoding but chunks; whether the body comes in chunks.
fn check_encodings(headers: &HeaderMap) -> Result<bool> {
    let other_than = |name: HeaderName, allowed: &str| {
        headers.get_all(name).iter().find(|value| !value.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    };
    let encoded =
        other_than(CONTENT_ENCODING, "identity").or_else(|| other_than(TRANSFER_ENCODING, "chunked"));
    if let Some(value) = encoded {
        let encoding = String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect();
        return Err(Error::Encoded { encoding });
    }
    Ok(headers.contains_key(TRANSFER_ENCODING))
}

/// `Content-Range: bytes first-last/total`, with the total known.
struct ContentRange {
    first: u64,
    total_bytes: u64,
}

impl ContentRange {
    fn of(headers: &HeaderMap) -> Result<Self> {
        let value = text(headers, CONTENT_RANGE).unwrap_or("");
        Self::parse(value).ok_or_else(|| Error::BadAnswer {
            reason: format!("Content-Range is {value:?} in a partial answer"),
        })
    }

    fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total_bytes) = (number(first)?, number(last)?, number(total)?);
        (first <= last && last < total_bytes).then_some(Self { first, total_bytes })
    }
}

/// Digits only: `u64::from_str` would also take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header value")));
        pairs.collect()
    }

    const MODIFIED: &str = "Tue, 01 Apr 2025 10:00:00 GMT";

    #[test]
    fn only_strong_validators_count() {
        let tag = |value| Validator::of(&headers(&[("etag", value)]));
        assert_eq!(tag("\"abc\""), Some(Validator::ETag("\"abc\"".to_owned())));
        assert_eq!(tag("W/\"abc\""), None);
        assert_eq!(tag("abc"), None);
        assert_eq!(tag("\""), None);
        let dated = |date| Validator::of(&headers(&[("last-modified", MODIFIED), ("date", date)]));
        assert_eq!(
            dated("Tue, 01 Apr 2025 10:00:01 GMT"),
            Some(Validator::LastModified(MODIFIED.to_owned()))
        );
        assert_eq!(dated(MODIFIED), None);
        assert_eq!(dated("Tue, 01 Apr 2025 09:00:00 GMT"), None);
        assert_eq!(dated("yesterday"), None);
        assert_eq!(Validator::of(&headers(&[("last-modified", MODIFIED)])), None);
    }

    #[test]
    fn content_range_must_be_whole_and_possible() {
        let good = ContentRange::parse("bytes 10-19/20").expect("valid");
        assert_eq!((good.first, good.total_bytes), (10, 20));
        for value in [
            "",
            "bytes */20",
            "bytes 10-19/*",
            "bytes 10-20/20",
            "bytes 11-10/20",
            "bytes +1-2/3",
            "bytes -2/3",
            "items 0-1/2",
            "bytes 0-1",
            "bytes 0-18446744073709551616/18446744073709551617",
        ] {
            assert!(ContentRange::parse(value).is_none(), "{value}");
        }
    }

    #[test]
    fn encodings_are_refused() {
        let read = |lines: &[_]| Head::read(StatusCode::OK, &headers(lines), Some(5), Ask::Whole);
        assert!(matches!(read(&[("content-encoding", "gzip")]), Err(Error::Encoded { .. })));
        assert!(matches!(read(&[("transfer-encoding", "gzip, chunked")]), Err(Error::Encoded { .. })));
        assert!(read(&[("content-encoding", "identity"), ("transfer-encoding", "chunked")]).is_ok());
    }

    #[test]
    fn a_partial_answer_to_a_whole_request_is_refused() {
        let lines = headers(&[("content-range", "bytes 0-4/9")]);
        let found = Head::read(StatusCode::PARTIAL_CONTENT, &lines, Some(5), Ask::Whole);
        assert!(matches!(found, Err(Error::Status { status: 206 })), "{found:?}");
    }

    #[test]
    fn a_continuation_must_start_where_asked() {
        let validator = Validator::ETag("\"a\"".to_owned());
        let ask = Ask::From { offset: 7, validator: &validator };
        let read = |status, range| Head::read(status, &headers(&[("content-range", range)]), None, ask);
        let good = read(StatusCode::PARTIAL_CONTENT, "bytes 7-9/10").expect("valid");
        assert_eq!((good.start_bytes, good.total_bytes), (7, Some(10)));
        let found = read(StatusCode::PARTIAL_CONTENT, "bytes 6-9/10");
        assert!(matches!(found, Err(Error::WrongRange { .. })), "{found:?}");
        let found = read(StatusCode::RANGE_NOT_SATISFIABLE, "bytes */5");
        assert!(matches!(found, Err(Error::WrongRange { .. })), "{found:?}");
        assert_eq!(read(StatusCode::OK, "").expect("from the start").start_bytes, 0);
    }
}
