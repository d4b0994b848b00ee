//! Operations on uploads in parts.

use std::sync::Arc;

use axum::http::HeaderMap;
use kiln_model::ObjectDescription;
use kiln_service::{CompletedPart, PartEtag, PutPart, Service};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

use crate::bucket_operations::{Encoded, number, timestamp};
use crate::checked_body::{checked, content_md5, md5_header};
use crate::error::{refused, s3_error};
use crate::object_operations::{
    Conditions, copy_source, crc64_header, http_date, metadata, put_condition, without_chunking,
};
use crate::s3::caller;

/// The header, and its value, by which who sends a part says that its ETag need not be an MD5: [`kiln_model::Part::crc64_etag`].
pub const CRC64_ETAG: (&str, &str) = ("x-kiln-part-etag", "crc64");
/// Parts in one page of a listing.
const MAX_PARTS_PAGE: usize = 1_000;

pub(crate) async fn create_multipart_upload(
    service: &Arc<Service>,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let description = ObjectDescription {
        content_type: input.content_type,
        cache_control: input.cache_control,
        content_disposition: input.content_disposition,
        content_encoding: input.content_encoding.and_then(without_chunking),
        content_language: input.content_language,
        expires: input.expires.as_ref().and_then(http_date),
        metadata: metadata(input.metadata),
    };
    let upload =
        service.create_upload(&caller, &input.bucket, &input.key, description).await.map_err(s3_error)?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.id.to_string()),
        checksum_algorithm: input.checksum_algorithm,
        ..Default::default()
    }))
}

pub(crate) async fn upload_part(
    service: &Arc<Service>,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let caller = caller(&request)?;
    let stream = request.input.body.take();
    let body = checked(&request, stream);
    let md5 = content_md5(md5_header(&request.headers))?;
    let input = request.input;
    let put = PutPart {
        bucket: input.bucket,
        key: input.key,
        upload: input.upload_id,
        number: part_number(input.part_number)?,
        size_bytes: input.content_length.and_then(|length| u64::try_from(length).ok()),
        md5,
        etag: part_etag(&request.headers),
    };
    let part = service.put_part(&caller, put, body.stream).await.map_err(s3_error)?;
    let sums = body.checksum.get().cloned().unwrap_or_default();
    let output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, crc64_header(part.crc64)))
}

/// What a part is to be told apart by. Clients that know no better than S3 expect its MD5.
fn part_etag(headers: &HeaderMap) -> PartEtag {
    let (name, value) = CRC64_ETAG;
    if headers.get(name).is_some_and(|given| given == value) { PartEtag::Crc64 } else { PartEtag::Md5 }
}

fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .map_err(|_| refused(S3ErrorCode::InvalidArgument, "A part's number must not be negative."))
}

pub(crate) async fn upload_part_copy(
    service: &Arc<Service>,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let caller = caller(&request)?;
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
    let size_bytes = source.object.size_bytes;
    let range = match input.copy_source_range.as_deref() {
        None => 0..size_bytes,
        Some(text) => {
            let malformed = "The range to copy must be written as bytes=FIRST-LAST.";
            let range = copied_range(text).ok_or_else(|| refused(S3ErrorCode::InvalidArgument, malformed))?;
            if range.is_empty() || range.end > size_bytes {
                let sentence = "The range to copy does not lie within the source.";
                return Err(refused(S3ErrorCode::InvalidRange, sentence));
            }
            range
        }
    };
    let put = PutPart {
        bucket: input.bucket,
        key: input.key,
        upload: input.upload_id,
        number: part_number(input.part_number)?,
        size_bytes: Some(range.end - range.start),
        md5: None,
        etag: PartEtag::Md5,
    };
    let part = service.put_part(&caller, put, Box::pin(source.read(range))).await.map_err(s3_error)?;
    let result = CopyPartResult {
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(timestamp(part.stored_at)),
        ..Default::default()
    };
    let output = UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() };
    Ok(S3Response::with_headers(output, crc64_header(part.crc64)))
}

/// The range of a source, which has both ends.
fn copied_range(text: &str) -> Option<std::ops::Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some(first..last.checked_add(1)?)
}

pub(crate) async fn list_parts(
    service: &Arc<Service>,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let parts =
        service.upload_parts(&caller, &input.bucket, &input.key, &input.upload_id).await.map_err(s3_error)?;
    let asked = input.max_parts.and_then(|most| usize::try_from(most).ok());
    let most = asked.unwrap_or(MAX_PARTS_PAGE).min(MAX_PARTS_PAGE);
    let after = input.part_number_marker.and_then(|marker| u32::try_from(marker).ok()).unwrap_or(0);
    let mut rest = parts.into_iter().filter(|part| part.number > after);
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let last = page.last().and_then(|part| i32::try_from(part.number).ok());
    let parts = page.into_iter().map(|part| Part {
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(timestamp(part.stored_at)),
        part_number: i32::try_from(part.number).ok(),
        size: i64::try_from(part.size_bytes).ok(),
        ..Default::default()
    });
    Ok(S3Response::new(ListPartsOutput {
        parts: Some(parts.collect()),
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        is_truncated: Some(rest.next().is_some()),
        max_parts: Some(number(most)),
        part_number_marker: Some(input.part_number_marker.unwrap_or(0)),
        next_part_number_marker: Some(last.unwrap_or(0)),
        ..Default::default()
    }))
}

pub(crate) async fn list_multipart_uploads(
    service: &Arc<Service>,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(refused(S3ErrorCode::NotImplemented, "Uploads are listed without a delimiter."));
    }
    let prefix = input.prefix.clone().unwrap_or_default();
    // Nothing of the prefix comes before the prefix itself.
    let marker = input.key_marker.as_deref().unwrap_or_default();
    let after = (marker.max(prefix.as_str()), input.upload_id_marker.as_deref().unwrap_or_default());
    let limit = input.max_uploads.and_then(|most| u64::try_from(most).ok());
    let page = service.uploads(&caller, &input.bucket, after, limit).await.map_err(s3_error)?;
    let encoded = Encoded::of(input.encoding_type.as_ref());
    let found: Vec<_> = page.uploads.iter().filter(|upload| upload.key.starts_with(&prefix)).collect();
    let truncated = page.truncated && found.len() == page.uploads.len();
    let last = found.last().filter(|_| truncated);
    let uploads = found.iter().map(|upload| MultipartUpload {
        initiated: Some(timestamp(upload.created_at)),
        key: Some(encoded.text(upload.key.clone())),
        upload_id: Some(upload.id.to_string()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        next_key_marker: last.map(|upload| encoded.text(upload.key.clone())),
        next_upload_id_marker: last.map(|upload| upload.id.to_string()),
        bucket: Some(input.bucket),
        prefix: input.prefix.map(|prefix| encoded.text(prefix)),
        key_marker: input.key_marker.map(|marker| encoded.text(marker)),
        upload_id_marker: input.upload_id_marker,
        max_uploads: i32::try_from(page.limit).ok(),
        is_truncated: Some(truncated),
        encoding_type: input.encoding_type,
        ..Default::default()
    }))
}

pub(crate) async fn complete_multipart_upload(
    service: &Arc<Service>,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let malformed = || refused(S3ErrorCode::MalformedXML, "Every part must be named by its number and ETag.");
    let named = named.into_iter().map(|part| {
        let number = part.part_number.and_then(|number| u32::try_from(number).ok()).ok_or_else(malformed)?;
        Ok(CompletedPart { number, etag: part.e_tag.ok_or_else(malformed)?.into_value() })
    });
    let named = named.collect::<S3Result<Vec<_>>>()?;
    let condition = put_condition(input.if_match, input.if_none_match)?;
    let upload = (input.bucket.as_str(), input.key.as_str(), input.upload_id.as_str());
    let object = service.complete_upload(&caller, upload, &named, &condition).await.map_err(s3_error)?;
    let output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(ETag::Strong(object.etag)),
        ..Default::default()
    };
    Ok(S3Response::with_headers(output, crc64_header(object.crc64)))
}

pub(crate) async fn abort_multipart_upload(
    service: &Arc<Service>,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    service.abort_upload(&caller, &input.bucket, &input.key, &input.upload_id).await.map_err(s3_error)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}
