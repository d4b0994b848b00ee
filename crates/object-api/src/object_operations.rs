//! Operations on objects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kiln_model::ObjectDescription;
use kiln_service::{Caller, CopyObject, OpenObject, PutCondition, PutObject, Service, names_of_host};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::bucket_operations::timestamp;
use crate::checked_body::{checked, content_md5, md5_header};
use crate::error::{refused, s3_error};
use crate::s3::caller;
use crate::versions::only_version;

const CRC64: HeaderName = HeaderName::from_static("x-cos-hash-crc64ecma");

pub(crate) async fn put_object(
    service: &Arc<Service>,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let caller = caller(&request)?;
    let stream = request.input.body.take();
    let body = checked(&request, stream);
    let md5 = content_md5(md5_header(&request.headers))?;
    let input = request.input;
    let put = PutObject {
        bucket: input.bucket,
        key: input.key,
        description: ObjectDescription {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding.and_then(without_chunking),
            content_language: input.content_language,
            expires: input.expires.as_ref().and_then(http_date),
            metadata: metadata(input.metadata),
        },
        size_bytes: input.content_length.and_then(|length| u64::try_from(length).ok()),
        md5,
        condition: put_condition(input.if_match, input.if_none_match)?,
    };
    let object = service.put_object(&caller, put, body.stream).await.map_err(s3_error)?;
    let sums = body.checksum.get().cloned().unwrap_or_default();
    let output = PutObjectOutput {
        e_tag: Some(ETag::Strong(object.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, crc64_header(object.crc64)))
}

/// A time as headers have it.
pub(crate) fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub(crate) fn read_http_date(text: &str) -> Option<Timestamp> {
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

/// The encoding of an object without the one of its transfer.
pub(crate) fn without_chunking(encoding: String) -> Option<String> {
    if !encoding.contains("aws-chunked") {
        return Some(encoding);
    }
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|name| *name != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

pub(crate) fn metadata(given: Option<Metadata>) -> BTreeMap<String, String> {
    given.into_iter().flatten().collect()
}

pub(crate) fn put_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<PutCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(PutCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(PutCondition::Absent),
        (None, Some(ETagCondition::ETag(etag))) => Ok(PutCondition::Other(etag.into_value())),
        (Some(ETagCondition::Any), None) => Ok(PutCondition::Present(None)),
        (Some(ETagCondition::ETag(etag)), None) => Ok(PutCondition::Present(Some(etag.into_value()))),
        _ => Err(refused(
            S3ErrorCode::NotImplemented,
            "Of the conditions on writing, one is taken: If-None-Match or If-Match.",
        )),
    }
}

pub(crate) fn crc64_header(crc64: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CRC64, HeaderValue::from(crc64));
    headers
}

pub(crate) async fn get_object(
    service: &Arc<Service>,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let caller = caller(&request)?;
    let (opened, range, mut output) = found(service, &caller, request.input).await?;
    let crc64 = opened.object.crc64;
    output.body = Some(StreamingBlob::wrap(opened.read(range)));
    Ok(S3Response::with_headers(output, crc64_header(crc64)))
}

/// The same without the bytes.
pub(crate) async fn head_object(
    service: &Arc<Service>,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let input = GetObjectInput {
        bucket: input.bucket,
        key: input.key,
        version_id: input.version_id,
        part_number: input.part_number,
        range: input.range,
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
        response_cache_control: input.response_cache_control,
        response_content_disposition: input.response_content_disposition,
        response_content_encoding: input.response_content_encoding,
        response_content_language: input.response_content_language,
        response_content_type: input.response_content_type,
        response_expires: input.response_expires,
        ..Default::default()
    };
    let (opened, _, output) = found(service, &caller, input).await?;
    let output = HeadObjectOutput {
        accept_ranges: output.accept_ranges,
        content_length: output.content_length,
        content_range: output.content_range,
        cache_control: output.cache_control,
        content_disposition: output.content_disposition,
        content_encoding: output.content_encoding,
        content_language: output.content_language,
        expires: output.expires,
        content_type: output.content_type,
        e_tag: output.e_tag,
        last_modified: output.last_modified,
        parts_count: output.parts_count,
        metadata: output.metadata,
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, crc64_header(opened.object.crc64)))
}

/// The object that is asked for, its bytes that are, and what is said of it: unless the request, often a presigned URL,
/// wants it said otherwise.
async fn found(
    service: &Arc<Service>,
    caller: &Caller,
    input: GetObjectInput,
) -> S3Result<(OpenObject, Range<u64>, GetObjectOutput)> {
    only_version(input.version_id.as_deref())?;
    let opened = service.open_object(caller, &input.bucket, &input.key).await.map_err(s3_error)?;
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&opened)?;
    let part = part(&opened, input.part_number, input.range.is_some())?;
    let parts_count = part.as_ref().and_then(|(_, count)| *count);
    let object = opened.object.clone();
    let (range, content_range) = match part {
        Some((range, _)) => (range.clone(), Some(content_range(&range, object.size_bytes))),
        None => range(input.range, object.size_bytes)?,
    };
    let said = object.description;
    let content_type = input.response_content_type.or(said.content_type);
    let output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(range.end - range.start).ok(),
        content_range,
        cache_control: input.response_cache_control.or(said.cache_control),
        content_disposition: input.response_content_disposition.or(said.content_disposition),
        content_encoding: input.response_content_encoding.or(said.content_encoding),
        content_language: input.response_content_language.or(said.content_language),
        expires: input.response_expires.or_else(|| said.expires.as_deref().and_then(read_http_date)),
        content_type: content_type.or_else(|| Some("application/octet-stream".to_owned())),
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_at)),
        parts_count,
        metadata: Some(said.metadata.into_iter().collect()),
        ..Default::default()
    };
    Ok((opened, range, output))
}

/// The bytes of the part that is asked for, and how many parts an object has that was uploaded in parts.
fn part(
    opened: &OpenObject,
    number: Option<i32>,
    has_range: bool,
) -> S3Result<Option<(Range<u64>, Option<i32>)>> {
    let Some(number) = number else { return Ok(None) };
    if has_range {
        return Err(refused(S3ErrorCode::InvalidRequest, "Ask for a range or for a part, not for both."));
    }
    let sentence = "The object has no part of that number.";
    let range = u32::try_from(number).ok().and_then(|number| opened.part(number));
    let range = range.ok_or_else(|| refused(S3ErrorCode::InvalidPart, sentence))?;
    Ok(Some((range, opened.count_parts().map(crate::bucket_operations::number))))
}

fn content_range(range: &Range<u64>, size_bytes: u64) -> String {
    format!("bytes {}-{}/{size_bytes}", range.start, range.end.saturating_sub(1))
}

/// The bytes that are asked for, and how the answer names them where they are not all.
fn range(asked: Option<s3s::dto::Range>, size_bytes: u64) -> S3Result<(Range<u64>, Option<String>)> {
    let Some(asked) = asked else { return Ok((0..size_bytes, None)) };
    let range = asked
        .check(size_bytes)
        .map_err(|_| refused(S3ErrorCode::InvalidRange, "The range lies behind the object's end."))?;
    let named = content_range(&range, size_bytes);
    Ok((range, Some(named)))
}

/// What a reader wants to be true of an object (RFC 9110, section 13.2.2).
pub(crate) struct Conditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// Of a copy's source.
    pub(crate) fn check_source(&self, source: &OpenObject) -> S3Result<()> {
        self.check(source).map_err(|error| match error.code() {
            // Its maker has nothing that would be fresh still.
            S3ErrorCode::NotModified => {
                refused(S3ErrorCode::PreconditionFailed, "The source is not as the request wants it.")
            }
            _ => error,
        })
    }

    fn check(&self, opened: &OpenObject) -> S3Result<()> {
        let etag = &opened.object.etag;
        let modified = timestamp(opened.object.modified_at);
        let is_this =
            |condition: &ETagCondition| condition.as_etag().is_none_or(|asked| asked.value() == etag);
        let holds = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => is_this(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => true,
        };
        if !holds {
            return Err(refused(
                S3ErrorCode::PreconditionFailed,
                "The object is not as the request wants it.",
            ));
        }
        let is_known = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => is_this(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => false,
        };
        if is_known {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            error.set_status_code(StatusCode::NOT_MODIFIED);
            error.set_headers(not_modified(etag, &modified));
            return Err(error);
        }
        Ok(())
    }
}

/// What a reader who has the object already is told of it.
fn not_modified(etag: &str, modified: &Timestamp) -> HeaderMap {
    let modified = http_date(modified).and_then(|text| HeaderValue::try_from(text).ok());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        headers.insert(ETAG, value);
    }
    if let Some(value) = modified {
        headers.insert(LAST_MODIFIED, value);
    }
    headers
}

pub(crate) async fn copy_object(
    service: &Arc<Service>,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let caller = caller(&request)?;
    let condition = put_condition(
        condition_in(&request.headers, IF_MATCH)?,
        condition_in(&request.headers, IF_NONE_MATCH)?,
    )?;
    let input = request.input;
    let (bucket, key) = copy_source(&input.copy_source)?;
    let source = service.open_object(&caller, bucket, key).await.map_err(s3_error)?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    conditions.check_source(&source)?;
    let replaces =
        input.metadata_directive.is_some_and(|directive| directive.as_str().eq_ignore_ascii_case("REPLACE"));
    if !replaces && source.object.bucket.as_str() == input.bucket && source.object.key == input.key {
        return Err(refused(
            S3ErrorCode::InvalidRequest,
            "The copy would be the object itself. Name another key, or change what is said of it (REPLACE).",
        ));
    }
    let description = replaces.then(|| ObjectDescription {
        content_type: input.content_type,
        cache_control: input.cache_control,
        content_disposition: input.content_disposition,
        content_encoding: input.content_encoding,
        content_language: input.content_language,
        expires: input.expires.as_ref().and_then(http_date),
        metadata: metadata(input.metadata),
    });
    let copy = CopyObject { source, bucket: input.bucket, key: input.key, description, condition };
    let object = service.copy_object(&caller, copy).await.map_err(s3_error)?;
    let result = CopyObjectResult {
        e_tag: Some(ETag::Strong(object.etag)),
        last_modified: Some(timestamp(object.modified_at)),
        ..Default::default()
    };
    let output = CopyObjectOutput { copy_object_result: Some(result), ..Default::default() };
    Ok(S3Response::with_headers(output, crc64_header(object.crc64)))
}

/// A condition that a header says, of those that s3s does not read.
fn condition_in(headers: &HeaderMap, name: HeaderName) -> S3Result<Option<ETagCondition>> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let malformed =
        |_| refused(S3ErrorCode::InvalidArgument, "If-Match and If-None-Match have an ETag in quotes, or *.");
    ETagCondition::parse_http_header(value.as_bytes()).map(Some).map_err(malformed)
}

/// The bucket and key that a copy is made of. COS's clients put the bucket's host there.
pub(crate) fn copy_source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            only_version(version_id.as_deref())?;
            Ok((names_of_host(bucket).bucket.unwrap_or(bucket), key))
        }
        _ => Err(refused(
            S3ErrorCode::NotImplemented,
            "Copies are made of bucket/key. There are no access points.",
        )),
    }
}

/// What is to be deleted only on a condition must not be deleted without it.
fn refuse_conditions(are_there: bool) -> S3Result<()> {
    if !are_there {
        return Ok(());
    }
    let sentence =
        "Objects are deleted without conditions. Look with HeadObject, then delete without If-Match.";
    Err(refused(S3ErrorCode::NotImplemented, sentence))
}

pub(crate) async fn delete_object(
    service: &Arc<Service>,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let caller = caller(&request)?;
    only_version(request.input.version_id.as_deref())?;
    let input = &request.input;
    let has_condition = input.if_match.is_some()
        || input.if_match_last_modified_time.is_some()
        || input.if_match_size.is_some();
    refuse_conditions(has_condition)?;
    service.delete_objects(&caller, &request.input.bucket, &[request.input.key]).await.map_err(s3_error)?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(crate) async fn delete_objects(
    service: &Arc<Service>,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let caller = caller(&request)?;
    let quiet = request.input.delete.quiet.unwrap_or(false);
    let objects = request.input.delete.objects;
    for object in &objects {
        only_version(object.version_id.as_deref())?;
        let has_condition =
            object.e_tag.is_some() || object.last_modified_time.is_some() || object.size.is_some();
        refuse_conditions(has_condition)?;
    }
    let keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
    service.delete_objects(&caller, &request.input.bucket, &keys).await.map_err(s3_error)?;
    let deleted = keys.into_iter().map(|key| DeletedObject { key: Some(key), ..Default::default() });
    let deleted = (!quiet).then(|| deleted.collect());
    Ok(S3Response::new(DeleteObjectsOutput { deleted, ..Default::default() }))
}
