//! A body whose `x-amz-checksum-…` are compared while it passes, whether they stand before it or after it (trailers).

use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use kiln_service::{Refusal, RefusalKind};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use s3s::dto::{Checksum, StreamingBlob};
use s3s::{S3Request, S3Result, StdError, TrailingHeaders};

use crate::error::refused;

/// The names that checksums go by, without `x-amz-checksum-`.
const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "sha1", "sha256", "crc64nvme"];

/// A body, and its checksums when it has passed.
pub(crate) struct CheckedBody {
    pub(crate) stream: BoxStream<'static, Result<Bytes, Refusal>>,
    pub(crate) checksum: Arc<OnceLock<Checksum>>,
}

/// The body of a request, checked by what the request says of it.
pub(crate) fn checked<T>(request: &S3Request<T>, body: Option<StreamingBlob>) -> CheckedBody {
    let body = body.map(|body| body.map(|piece| piece.map_err(broken)).boxed());
    checked_by(&request.headers, request.trailing_headers.clone(), body)
}

/// A body, checked by what headers and trailers say of it.
pub(crate) fn checked_by(
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
    body: Option<BoxStream<'static, Result<Bytes, Refusal>>>,
) -> CheckedBody {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let announced = header("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
    let mut expected = Vec::new();
    let mut hasher = ChecksumHasher::default();
    for algorithm in ALGORITHMS {
        let name = format!("x-amz-checksum-{algorithm}");
        let value = header(&name).map(str::to_owned);
        if value.is_none() && !announced.split(',').any(|trailer| trailer.trim() == name) {
            continue;
        }
        match algorithm {
            "crc32" => hasher.crc32 = Some(Crc32::new()),
            "crc32c" => hasher.crc32c = Some(Crc32c::new()),
            "sha1" => hasher.sha1 = Some(Sha1::new()),
            "sha256" => hasher.sha256 = Some(Sha256::new()),
            _ => hasher.crc64nvme = Some(Crc64Nvme::new()),
        }
        expected.push(Expected { algorithm, name, value });
    }
    let checksum = Arc::new(OnceLock::new());
    let state = Passing { body, hasher: Some(hasher), expected, trailers, checksum: Arc::clone(&checksum) };
    let stream = futures::stream::try_unfold(state, async |mut state| {
        Ok(state.next().await?.map(|bytes| (bytes, state)))
    });
    CheckedBody { stream: stream.boxed(), checksum }
}

/// What a request says of its body's MD5; also where that is nothing, which s3s takes for no header.
pub(crate) fn md5_header(headers: &HeaderMap) -> Option<&str> {
    headers.get("content-md5").map(|value| value.to_str().unwrap_or_default())
}

/// The MD5 that a request says its body has, in hexadecimal digits.
pub(crate) fn content_md5(base64: Option<&str>) -> S3Result<Option<String>> {
    let Some(text) = base64 else { return Ok(None) };
    let digest = STANDARD.decode(text).ok().filter(|digest| digest.len() == 16);
    let digest = digest.ok_or_else(|| {
        refused(
            s3s::S3ErrorCode::InvalidDigest,
            "Content-MD5 is no MD5 in base64. Correct it, or leave it out.",
        )
    })?;
    Ok(Some(hex::encode(digest)))
}

struct Expected {
    algorithm: &'static str,
    name: String,
    /// Absent where it comes after the body.
    value: Option<String>,
}

struct Passing {
    body: Option<BoxStream<'static, Result<Bytes, Refusal>>>,
    hasher: Option<ChecksumHasher>,
    expected: Vec<Expected>,
    trailers: Option<TrailingHeaders>,
    checksum: Arc<OnceLock<Checksum>>,
}

impl Passing {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let piece = match &mut self.body {
            Some(body) => body.next().await.transpose()?,
            None => None,
        };
        match (piece, &mut self.hasher) {
            (Some(piece), Some(hasher)) => {
                hasher.update(&piece);
                Ok(Some(piece))
            }
            _ => self.end().map(|()| None),
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finalize();
        let trailers = self.trailers.as_ref().and_then(TrailingHeaders::take).unwrap_or_default();
        for expected in &self.expected {
            let trailer = trailers.get(&expected.name).and_then(|value| value.to_str().ok());
            let value = expected.value.as_deref().or(trailer);
            if value.is_none() || value != of(&found, expected.algorithm) {
                return Err(Refusal::new(
                    RefusalKind::Invalid,
                    "BadDigest",
                    format!(
                        "The body's {} is not the one that the request says. Send it again.",
                        expected.name
                    ),
                ));
            }
        }
        // Only the body's one reader sets it.
        let _ = self.checksum.set(found);
        Ok(())
    }
}

fn of<'a>(checksum: &'a Checksum, algorithm: &str) -> Option<&'a str> {
    match algorithm {
        "crc32" => checksum.checksum_crc32.as_deref(),
        "crc32c" => checksum.checksum_crc32c.as_deref(),
        "sha1" => checksum.checksum_sha1.as_deref(),
        "sha256" => checksum.checksum_sha256.as_deref(),
        _ => checksum.checksum_crc64nvme.as_deref(),
    }
}

/// A body that s3s did not let pass. It keeps the types of its errors to itself, so their words tell.
fn broken(error: StdError) -> Refusal {
    let words = error.to_string();
    let (code, sentence) = if words.contains("Sha256Mismatch") {
        ("XAmzContentSHA256Mismatch", "The body's SHA-256 is not the one that was signed.")
    } else if words.contains("SignatureMismatch") {
        ("SignatureDoesNotMatch", "The signature of a part of the body does not match.")
    } else {
        ("IncompleteBody", "The body broke off, or is not of the form or length that was announced.")
    };
    Refusal::new(RefusalKind::Invalid, code, format!("{sentence} Send it again."))
}
