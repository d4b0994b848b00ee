//! Versions, as S3 has them where a bucket keeps none: every object is its own only version, by the name of `null`.
//!
//! Tools list and delete versions to empty a bucket, so they must find them. Deliberately absent: any other version.

use std::sync::Arc;

use kiln_service::{ListObjects, ObjectPage, Service};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

use crate::bucket_operations::{Encoded, limit, named_delimiter, number, owner, timestamp};
use crate::error::{refused, s3_error};
use crate::s3::caller;

/// The version that every object is.
const NULL: &str = "null";

/// That a request names no version but the one that there is.
pub(crate) fn only_version(named: Option<&str>) -> S3Result<()> {
    match named {
        None | Some(NULL) => Ok(()),
        Some(_) => Err(refused(
            S3ErrorCode::NoSuchVersion,
            "Objects have no versions here. Leave versionId out, or name the version null.",
        )),
    }
}

pub(crate) async fn list_object_versions(
    service: &Arc<Service>,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let asked = ListObjects {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: input.key_marker.clone().filter(|marker| !marker.is_empty()),
        limit: limit(input.max_keys)?,
    };
    let page = service.list_objects(&caller, &asked).await.map_err(s3_error)?;
    let encoded = Encoded::of(input.encoding_type.as_ref());
    let ObjectPage { objects, common_prefixes, next, limit } = page;
    let versions = objects.into_iter().map(|object| ObjectVersion {
        e_tag: Some(ETag::Strong(object.etag)),
        is_latest: Some(true),
        key: Some(encoded.text(object.key)),
        last_modified: Some(timestamp(object.modified_at)),
        owner: Some(owner(&caller)),
        size: i64::try_from(object.size_bytes).ok(),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        version_id: Some(NULL.to_owned()),
        ..Default::default()
    });
    let versions = versions.collect();
    let prefixes = common_prefixes.into_iter();
    let prefixes = prefixes.map(|prefix| CommonPrefix { prefix: Some(encoded.text(prefix)) }).collect();
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(encoded.text(asked.prefix)),
        key_marker: Some(encoded.text(input.key_marker.unwrap_or_default())),
        version_id_marker: input.version_id_marker,
        delimiter: named_delimiter(input.delimiter, &encoded),
        max_keys: Some(number(limit)),
        is_truncated: Some(next.is_some()),
        next_version_id_marker: next.is_some().then(|| NULL.to_owned()),
        next_key_marker: next.map(|next| encoded.text(next)),
        encoding_type: input.encoding_type,
        versions: Some(versions),
        common_prefixes: Some(prefixes),
        ..Default::default()
    }))
}
