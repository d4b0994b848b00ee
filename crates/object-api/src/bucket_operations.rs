//! Operations on buckets, listings of their objects included.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_model::Object;
use kiln_service::{Caller, ListObjects, ObjectPage, Service};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

use crate::error::{refused, s3_error};
use crate::s3::caller;

/// Buckets in one page of a listing.
const MAX_BUCKETS_PAGE: usize = 10_000;

pub(crate) async fn create_bucket(
    service: &Arc<Service>,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let mut caller = caller(&request)?;
    let constraint = request.input.create_bucket_configuration.and_then(|wanted| wanted.location_constraint);
    let named = constraint.as_ref().map(|constraint| constraint.as_str()).filter(|name| !name.is_empty());
    let signed = request.region.as_ref().map(|region| region.as_str());
    // The host says it before the body, the body before the signature; clients of S3 sign for any region.
    let by_host = caller.region != *service.default_region();
    let find = |name: &str| service.regions().iter().find(|region| region.id.as_str() == name);
    match (by_host, named, signed.and_then(find)) {
        (true, ..) => {}
        (false, Some(name), _) => {
            let region = find(name);
            let sentence = "There is no such region here. Name one that `DescribeRegions` lists.";
            caller.region =
                region.ok_or_else(|| refused(S3ErrorCode::InvalidLocationConstraint, sentence))?.id.clone();
        }
        (false, None, Some(region)) => caller.region = region.id.clone(),
        (false, None, None) => {}
    }
    let bucket = service.create_bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", bucket.name)) }))
}

pub(crate) async fn head_bucket(
    service: &Arc<Service>,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    let caller = caller(&request)?;
    let bucket = service.bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    let output = HeadBucketOutput { bucket_region: Some(bucket.region.to_string()), ..Default::default() };
    Ok(S3Response::new(output))
}

pub(crate) async fn delete_bucket(
    service: &Arc<Service>,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let caller = caller(&request)?;
    service.delete_bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(crate) async fn list_buckets(
    service: &Arc<Service>,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let limit = input.max_buckets.map_or(Ok(MAX_BUCKETS_PAGE), |most| {
        let sentence = "max-buckets must be between 1 and 10000.";
        let most = usize::try_from(most).ok().filter(|most| (1..=MAX_BUCKETS_PAGE).contains(most));
        most.ok_or_else(|| refused(S3ErrorCode::InvalidArgument, sentence))
    })?;
    let after = input.continuation_token.as_deref().map(token_key).transpose()?.unwrap_or_default();
    let prefix = input.prefix.clone().unwrap_or_default();
    let mut buckets = service.buckets(&caller).await.map_err(s3_error)?;
    buckets.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    buckets.retain(|bucket| {
        let name = bucket.name.as_str();
        let is_there = input.bucket_region.as_deref().is_none_or(|region| region == bucket.region.as_str());
        name.starts_with(&prefix) && name > after.as_str() && is_there
    });
    let is_truncated = buckets.len() > limit;
    buckets.truncate(limit);
    let last = buckets.last().filter(|_| is_truncated).map(|bucket| hex::encode(bucket.name.as_str()));
    let buckets = buckets.into_iter().map(|bucket| Bucket {
        bucket_region: Some(bucket.region.to_string()),
        creation_date: Some(timestamp(bucket.created_at)),
        name: Some(bucket.name.to_string()),
    });
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        owner: Some(owner(&caller)),
        continuation_token: last,
        prefix: input.prefix,
    }))
}

pub(crate) async fn get_bucket_location(
    service: &Arc<Service>,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let caller = caller(&request)?;
    let bucket = service.bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    Ok(S3Response::new(GetBucketLocationOutput {
        location_constraint: Some(bucket.region.to_string().into()),
    }))
}

/// Objects have no versions here, which clients ask for before they delete.
pub(crate) async fn get_bucket_versioning(
    service: &Arc<Service>,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let caller = caller(&request)?;
    service.bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}

pub(crate) async fn list_objects(
    service: &Arc<Service>,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let asked = ListObjects {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: input.marker.clone().filter(|marker| !marker.is_empty()),
        limit: limit(input.max_keys)?,
    };
    let page = service.list_objects(&caller, &asked).await.map_err(s3_error)?;
    let encoded = Encoded::of(input.encoding_type.as_ref());
    let mut output = ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoded.text(asked.prefix)),
        marker: Some(encoded.text(input.marker.unwrap_or_default())),
        delimiter: named_delimiter(input.delimiter, &encoded),
        max_keys: Some(number(page.limit)),
        is_truncated: Some(page.next.is_some()),
        next_marker: page.next.clone().map(|next| encoded.text(next)),
        encoding_type: input.encoding_type,
        ..Default::default()
    };
    (output.contents, output.common_prefixes) = contents(page, &encoded, Some(&caller));
    Ok(S3Response::new(output))
}

pub(crate) async fn list_objects_v2(
    service: &Arc<Service>,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let caller = caller(&request)?;
    let input = request.input;
    let token = input.continuation_token.as_deref().map(token_key).transpose()?;
    let asked = ListObjects {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone(),
        after: token.or_else(|| input.start_after.clone().filter(|key| !key.is_empty())),
        limit: limit(input.max_keys)?,
    };
    let page = service.list_objects(&caller, &asked).await.map_err(s3_error)?;
    let encoded = Encoded::of(input.encoding_type.as_ref());
    let mut output = ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoded.text(asked.prefix)),
        delimiter: named_delimiter(input.delimiter, &encoded),
        start_after: input.start_after.map(|key| encoded.text(key)),
        max_keys: Some(number(page.limit)),
        key_count: Some(number(page.objects.len() + page.common_prefixes.len())),
        is_truncated: Some(page.next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: page.next.as_ref().map(hex::encode),
        encoding_type: input.encoding_type,
        ..Default::default()
    };
    let owner = input.fetch_owner.unwrap_or(false).then_some(&caller);
    (output.contents, output.common_prefixes) = contents(page, &encoded, owner);
    Ok(S3Response::new(output))
}

/// The delimiter that an answer names: an empty one is none.
pub(crate) fn named_delimiter(delimiter: Option<String>, encoded: &Encoded) -> Option<String> {
    delimiter.filter(|delimiter| !delimiter.is_empty()).map(|delimiter| encoded.text(delimiter))
}

fn token_key(token: &str) -> S3Result<String> {
    let key = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| {
        refused(S3ErrorCode::InvalidArgument, "The continuation token is none that was given here.")
    })
}

pub(crate) fn limit(asked: Option<i32>) -> S3Result<Option<usize>> {
    let sentence = "max-keys must not be negative.";
    asked
        .map(|keys| usize::try_from(keys).map_err(|_| refused(S3ErrorCode::InvalidArgument, sentence)))
        .transpose()
}

pub(crate) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn contents(
    page: ObjectPage,
    encoded: &Encoded,
    caller: Option<&Caller>,
) -> (Option<ObjectList>, Option<CommonPrefixList>) {
    let prefixes =
        page.common_prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(encoded.text(prefix)) });
    let objects = page.objects.into_iter().map(|object| listed(object, encoded, caller));
    (Some(objects.collect()), Some(prefixes.collect()))
}

fn listed(object: Object, encoded: &Encoded, caller: Option<&Caller>) -> s3s::dto::Object {
    s3s::dto::Object {
        e_tag: Some(ETag::Strong(object.etag)),
        key: Some(encoded.text(object.key)),
        last_modified: Some(timestamp(object.modified_at)),
        owner: caller.map(owner),
        size: i64::try_from(object.size_bytes).ok(),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}

pub(crate) fn owner(caller: &Caller) -> Owner {
    Owner { display_name: Some(caller.account.uin.to_string()), id: Some(caller.account.uin.to_string()) }
}

/// How keys are written into an answer.
pub(crate) struct Encoded(bool);

impl Encoded {
    pub(crate) fn of(asked: Option<&EncodingType>) -> Self {
        Self(asked.is_some_and(|kind| kind.as_str() == EncodingType::URL))
    }

    pub(crate) fn text(&self, text: String) -> String {
        if self.0 { kiln_object_signature::encode(&text).replace("%2F", "/") } else { text }
    }
}

/// A time in s3s's form, in whole seconds, as headers have it.
pub(crate) fn timestamp(time: kiln_model::Timestamp) -> Timestamp {
    let seconds = u64::try_from(time.0.div_euclid(1000)).unwrap_or(0);
    (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into()
}
