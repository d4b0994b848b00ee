//! Operations on the CORS rules of a bucket.

use std::sync::Arc;

use kiln_model::CorsRule;
use kiln_service::Service;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

use crate::error::{refused, s3_error};
use crate::s3::caller;

pub(crate) async fn put_bucket_cors(
    service: &Arc<Service>,
    request: S3Request<PutBucketCorsInput>,
) -> S3Result<S3Response<PutBucketCorsOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    let rules = input.cors_configuration.cors_rules.into_iter().map(read).collect::<S3Result<Vec<_>>>()?;
    if rules.is_empty() {
        return Err(refused(
            S3ErrorCode::MalformedXML,
            "There is no CORS rule in it. To take all rules away, use DeleteBucketCors.",
        ));
    }
    service.set_bucket_cors(&caller, &input.bucket, &rules).await.map_err(s3_error)?;
    Ok(S3Response::new(PutBucketCorsOutput::default()))
}

fn read(rule: CORSRule) -> S3Result<CorsRule> {
    let age = rule.max_age_seconds.map(u32::try_from).transpose();
    let sentence = "MaxAgeSeconds must not be negative.";
    Ok(CorsRule {
        id: rule.id,
        origins: rule.allowed_origins,
        methods: rule.allowed_methods,
        headers: rule.allowed_headers.unwrap_or_default(),
        exposed_headers: rule.expose_headers.unwrap_or_default(),
        max_age_seconds: age.map_err(|_| refused(S3ErrorCode::InvalidArgument, sentence))?,
    })
}

pub(crate) async fn get_bucket_cors(
    service: &Arc<Service>,
    request: S3Request<GetBucketCorsInput>,
) -> S3Result<S3Response<GetBucketCorsOutput>> {
    let caller = caller(&request)?;
    let rules = service.bucket_cors(&caller, &request.input.bucket).await.map_err(s3_error)?;
    if rules.is_empty() {
        let sentence = "The bucket has no CORS rules. Add some by PutBucketCors.";
        return Err(refused(S3ErrorCode::NoSuchCORSConfiguration, sentence));
    }
    let rules = rules.into_iter().map(|rule| CORSRule {
        allowed_headers: Some(rule.headers),
        allowed_methods: rule.methods,
        allowed_origins: rule.origins,
        expose_headers: Some(rule.exposed_headers),
        id: rule.id,
        max_age_seconds: rule.max_age_seconds.and_then(|seconds| i32::try_from(seconds).ok()),
    });
    Ok(S3Response::new(GetBucketCorsOutput { cors_rules: Some(rules.collect()) }))
}

pub(crate) async fn delete_bucket_cors(
    service: &Arc<Service>,
    request: S3Request<DeleteBucketCorsInput>,
) -> S3Result<S3Response<DeleteBucketCorsOutput>> {
    let caller = caller(&request)?;
    service.set_bucket_cors(&caller, &request.input.bucket, &[]).await.map_err(s3_error)?;
    Ok(S3Response::new(DeleteBucketCorsOutput::default()))
}
