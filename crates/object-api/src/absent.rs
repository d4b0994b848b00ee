//! What headers ask for and is not there: encryption, locks, tags, ACLs that let others in, storage classes.
//!
//! Whoever asks for one of these relies on it. So the request is refused, not carried out without it.

use axum::http::HeaderMap;
use s3s::{S3Error, S3ErrorCode, S3Result};

/// The begins of headers that ask for what is not there, and what is so instead.
const ABSENT: [(&str, &str); 7] = [
    ("x-amz-server-side-encryption", "The server does not encrypt objects."),
    ("x-amz-copy-source-server-side-encryption", "The server does not encrypt objects."),
    ("x-amz-object-lock-", "Objects cannot be locked."),
    ("x-amz-bucket-object-lock-enabled", "Objects cannot be locked."),
    ("x-amz-tagging", "Objects have no tags."),
    ("x-amz-grant-", PRIVATE),
    ("x-amz-website-redirect-location", "Buckets are no websites."),
];
pub(crate) const PRIVATE: &str =
    "Buckets and objects are private to their account; share an object by a presigned URL.";
/// ACLs that say what is so anyhow.
const PRIVATE_ACLS: [&str; 4] = ["private", "default", "bucket-owner-full-control", "bucket-owner-read"];
const STORAGE_CLASS: &str = "standard";

/// Refuses a request whose headers ask for more than is there.
pub(crate) fn refuse_what_is_absent(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let (name, value) = (name.as_str(), value.to_str().unwrap_or_default());
        // A copy says what becomes of tags; there are none.
        if name == "x-amz-tagging-directive" || name == "x-amz-tagging-count" {
            continue;
        }
        // Clients say that a bucket has none.
        if name == "x-amz-bucket-object-lock-enabled" && value.eq_ignore_ascii_case("false") {
            continue;
        }
        if let Some((_, sentence)) = ABSENT.iter().find(|(begin, _)| name.starts_with(begin)) {
            return Err(refused(S3ErrorCode::NotImplemented, name, sentence));
        }
        if name == "x-amz-acl" && !PRIVATE_ACLS.contains(&value) {
            return Err(refused(S3ErrorCode::AccessControlListNotSupported, name, PRIVATE));
        }
        if name == "x-amz-storage-class" && !value.eq_ignore_ascii_case(STORAGE_CLASS) {
            let sentence = "The only storage class is STANDARD.";
            return Err(refused(S3ErrorCode::InvalidStorageClass, name, sentence));
        }
    }
    Ok(())
}

fn refused(code: S3ErrorCode, header: &str, sentence: &str) -> S3Error {
    S3Error::with_message(code, format!("{sentence} Leave the header {header} out."))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_is_not_there_is_refused_and_what_is_so_anyhow_is_not() {
        let check = |name: &'static str, value: &'static str, code: Option<S3ErrorCode>| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            let found = refuse_what_is_absent(&headers).err();
            assert_eq!(found.map(|error| error.code().clone()), code, "{name}: {value}");
        };
        check("x-amz-acl", "private", None);
        check("x-amz-acl", "public-read", Some(S3ErrorCode::AccessControlListNotSupported));
        check("x-amz-storage-class", "Standard", None);
        check("x-amz-storage-class", "GLACIER", Some(S3ErrorCode::InvalidStorageClass));
        check("x-amz-server-side-encryption", "AES256", Some(S3ErrorCode::NotImplemented));
        check("x-amz-server-side-encryption-customer-key", "x", Some(S3ErrorCode::NotImplemented));
        check("x-amz-tagging", "a=b", Some(S3ErrorCode::NotImplemented));
        check("x-amz-tagging-directive", "COPY", None);
        check("x-amz-bucket-object-lock-enabled", "false", None);
        check("x-amz-meta-acl", "public-read", None);
    }
}
