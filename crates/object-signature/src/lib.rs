//! What signs requests for objects: AWS Signature Version 4 (header and presigned URL), COS's own signature, and upload
//! forms by both.
//!
//! Pure: a request's parts and a key in, a signature or a verdict out. Deliberately absent: whose a key is, what its
//! account may do, HTTP. The server verifies COS's signature and presigned URLs with it (headers signed by version 4
//! are verified by the crate s3s), the command line client signs with it. Signatures are compared in constant time.
//!
//! Sources: AWS's "Signature Version 4 signing process" for S3, and Tencent Cloud's "Request signature" of COS.

#![deny(unsafe_code)]

pub mod cos;
mod encoding;
mod form;
pub mod v4;

pub use encoding::{decode, encode};
pub use form::FormSignature;

/// The parts of a request that signatures cover.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method in capitals, such as `GET`.
    pub method: &'a str,
    /// The path as it was sent, percent-encoded.
    pub path: &'a str,
    /// The query as it was sent, without the question mark.
    pub query: &'a str,
    /// Names and values of the headers; names in any case.
    pub headers: &'a [(&'a str, &'a str)],
}

impl<'a> Request<'a> {
    /// A header's value, by its name in lower case.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The decoded names and values of the query.
    fn parameters(&self) -> Vec<(String, String)> {
        parameters(self.query)
    }
}

/// The decoded names and values of a query as it was sent, without the question mark.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A plus sign is a space in neither scheme's canonical form, but clients that encode forms send it.
            (decode(&name.replace('+', "%20")), decode(&value.replace('+', "%20")))
        })
        .collect()
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not of the form that it should be.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// It is for another time.
    #[error("the signature is not valid now; check the clocks, or sign again")]
    Expired,
    /// It was made with another key, or for another request.
    #[error("the signature does not match the request")]
    Mismatch,
}
