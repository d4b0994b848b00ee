//! Buckets and the objects in them: where users put image files to import, and where exports go.
//!
//! An object's bytes are a list of parts, each a file of its own that never changes. Nothing here knows a file.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AppId, ObjectId, ParseIdError, PartId, RegionId, Timestamp, Uin, UploadId};

/// The longest name of a bucket, its account's number included, in characters: it is a label of a host name.
const BUCKET_NAME_CHARS_MAX: usize = 60;

/// A bucket's name: `<name>-<appid>`, such as `images-1250000000`. No two buckets share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BucketName(String);

impl BucketName {
    /// Takes text that is already known to be of the right form, such as a column of the catalogue.
    pub fn from_trusted(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of the account that may have a bucket of this name.
    pub fn app_id(&self) -> Option<AppId> {
        self.0.rsplit_once('-').and_then(|(_, number)| number.parse().ok())
    }
}

impl std::fmt::Display for BucketName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BucketName {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (name, number) = text.rsplit_once('-').unwrap_or_default();
        let well_formed = text.len() <= BUCKET_NAME_CHARS_MAX
            && !name.is_empty()
            && name.bytes().all(plain)
            && !name.starts_with('-')
            && !name.ends_with('-')
            && number.parse::<AppId>().is_ok();
        if well_formed {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseIdError {
            text: text.to_owned(),
            kind: "bucket name",
            expected: "lower-case letters, digits and hyphens, then a hyphen and the account's AppId; at most 60 characters",
        })
    }
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// Whose it is.
    pub owner: Uin,
    /// Where its objects are kept.
    pub region: RegionId,
    /// How many objects it holds.
    pub objects: u64,
    /// The bytes of its objects and of its unfinished uploads.
    pub stored_bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What was said of an object when it was put; it is given back with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "each field is the HTTP header of that name")]
pub struct ObjectDescription {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
    /// The user's own names and values.
    pub metadata: BTreeMap<String, String>,
}

/// An object of a bucket. It never changes: what replaces it has another identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its identifier, which users do not see: that of the upload that it was made of, if it was.
    pub id: ObjectId,
    /// The bucket that it is in.
    pub bucket: BucketName,
    /// What it is called there.
    pub key: String,
    /// Its length.
    pub size_bytes: u64,
    /// The MD5 of its bytes; of an object in parts, also of an export, the MD5 of their ETags and, behind a hyphen, their
    /// number.
    pub etag: String,
    /// The CRC-64 (ECMA-182, reflected) of its bytes.
    pub crc64: u64,
    /// What was said of it.
    pub description: ObjectDescription,
    /// When it was put.
    pub modified_at: Timestamp,
}

/// An upload in parts that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its identifier.
    pub id: UploadId,
    /// The bucket that the object will be in.
    pub bucket: BucketName,
    /// What the object will be called.
    pub key: String,
    /// What is said of the object.
    pub description: ObjectDescription,
    /// When it began.
    pub created_at: Timestamp,
}

/// A piece of an object or of an unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its identifier.
    pub id: PartId,
    /// Where it is kept.
    pub region: RegionId,
    /// Its place among the others: they are in the order of their numbers.
    pub number: u32,
    /// Its length.
    pub size_bytes: u64,
    /// What it is told apart by, in hexadecimal digits: the MD5 of its bytes, or [`Part::crc64_etag`].
    pub etag: String,
    /// The CRC-64 of its bytes.
    pub crc64: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
}

impl Part {
    /// The ETag of a part of whose bytes there is no MD5: their CRC-64 and how many they are, 8 bytes each.
    pub fn crc64_etag(crc64: u64, size_bytes: u64) -> String {
        format!("{crc64:016x}{size_bytes:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buckets_name_ends_with_its_accounts_number() {
        let name: BucketName = "my-images-1250000000".parse().expect("a good name");
        assert_eq!(name.app_id(), Some(AppId(1_250_000_000)));
        for bad in [
            "",
            "images",
            "-1250000000",
            "-a-1250000000",
            "a--1250000000",
            "A-1250000000",
            "a_b-1250000000",
            "a-125000000",
            "a.b-1250000000",
            "../a-1250000000",
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
        assert!(format!("{}-1250000000", "a".repeat(50)).parse::<BucketName>().is_err());
    }
}
