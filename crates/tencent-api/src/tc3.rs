//! The arithmetic of `TC3-HMAC-SHA256`: canonical request, signing key, signature.
//!
//! Used by the server to verify and by the client to sign, so that both mean the same. Not here: reading headers,
//! looking up keys, comparing. Source: the public documentation of signature v3, checked against the official SDK.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The algorithm's name, the first word of the `Authorization` header.
pub(crate) const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// What the credential scope ends with.
pub(crate) const TERMINATOR: &str = "tc3_request";
/// Takes the place of the body where the client does not sign it.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered<'a> {
    /// `GET` or `POST`.
    pub(crate) method: &'a str,
    /// The path, `/`.
    pub(crate) path: &'a str,
    /// The query as it is sent; empty for POST.
    pub(crate) query: &'a str,
    /// A line `name:value\n` for every signed header, in the order of `signed_headers`.
    pub(crate) canonical_headers: &'a str,
    /// The names of the signed headers, in lower case, joined by semicolons.
    pub(crate) signed_headers: &'a str,
    /// The body, or [`UNSIGNED_PAYLOAD`].
    pub(crate) payload: &'a [u8],
    /// Seconds since the epoch.
    pub(crate) timestamp: i64,
    /// The UTC date of the timestamp, `YYYY-MM-DD`.
    pub(crate) date: &'a str,
    /// The service's name in the credential scope.
    pub(crate) service: &'a str,
}

/// The signature of a request.
pub(crate) fn signature(secret_key: &str, covered: &Covered<'_>) -> [u8; 32] {
    let canonical_request = format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        covered.method,
        covered.path,
        covered.query,
        covered.canonical_headers,
        covered.signed_headers,
        hex::encode(Sha256::digest(covered.payload)),
    );
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{}/{}/{TERMINATOR}\n{}",
        covered.timestamp,
        covered.date,
        covered.service,
        hex::encode(Sha256::digest(canonical_request)),
    );
    let date_key = hmac_sha256(format!("TC3{secret_key}").as_bytes(), covered.date);
    let service_key = hmac_sha256(&date_key, covered.service);
    let signing_key = hmac_sha256(&service_key, TERMINATOR);
    hmac_sha256(&signing_key, &to_sign)
}

/// The UTC date of a timestamp in seconds, as the credential scope writes it; nothing where there is no such date.
pub(crate) fn utc_date(timestamp: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(timestamp).ok()?;
    Some(time.strftime("%Y-%m-%d").to_string())
}

fn hmac_sha256(key: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}
