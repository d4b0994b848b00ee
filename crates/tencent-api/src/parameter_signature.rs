//! The arithmetic of the older signatures, `HmacSHA1` and `HmacSHA256`: every parameter is signed, and the signature
//! is one of them.
//!
//! Not here: reading the parameters, looking up keys, comparing. Source: the public documentation of signature v1,
//! checked against the official SDK.

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// Which hash signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The default.
    HmacSha1,
    /// Asked for by `SignatureMethod`.
    HmacSha256,
}

/// The signature of decoded parameters, `Signature` not among them.
pub(crate) fn signature(
    method: Method,
    secret_key: &str,
    http_method: &str,
    host: &str,
    path: &str,
    parameters: &[(String, String)],
) -> Vec<u8> {
    let mut sorted: Vec<(String, &str)> =
        parameters.iter().map(|(name, value)| (name.replace('_', "."), value.as_str())).collect();
    sorted.sort();
    let pairs: Vec<String> = sorted.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let to_sign = format!("{http_method}{host}{path}?{}", pairs.join("&"));
    match method {
        Method::HmacSha1 => hmac::<Hmac<Sha1>>(secret_key, &to_sign),
        Method::HmacSha256 => hmac::<Hmac<Sha256>>(secret_key, &to_sign),
    }
}

fn hmac<M: Mac + hmac::digest::KeyInit>(secret_key: &str, message: &str) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(secret_key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
