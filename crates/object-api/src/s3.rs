//! S3's operations, each led to the function that carries it out. What is not here answers `NotImplemented`.

use std::sync::Arc;

use kiln_service::{Caller, Service};
use s3s::dto::*;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};

use crate::error::refused;
use crate::{
    acl, bucket_operations as buckets, cors_operations as cors, object_operations as objects,
    upload_operations as uploads, versions,
};

/// The endpoint.
pub(crate) struct Endpoint {
    pub(crate) service: Arc<Service>,
}

/// Who asks, as the access check left it with the request.
pub(crate) fn caller<T>(request: &S3Request<T>) -> S3Result<Caller> {
    let caller = request.extensions.get::<Caller>().cloned();
    caller.ok_or_else(|| refused(S3ErrorCode::AccessDenied, "Nobody is known to ask. Sign the request."))
}

/// Declares operations that are carried out by a function of the same name elsewhere.
macro_rules! operations {
    ($($module:ident :: $name:ident ($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Endpoint {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $module::$name(&self.service, request).await
            })*
        }
    };
}

operations! {
    buckets::create_bucket(CreateBucketInput) -> CreateBucketOutput;
    buckets::head_bucket(HeadBucketInput) -> HeadBucketOutput;
    buckets::delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    buckets::list_buckets(ListBucketsInput) -> ListBucketsOutput;
    buckets::get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    buckets::get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    acl::get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput;
    acl::put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput;
    acl::get_object_acl(GetObjectAclInput) -> GetObjectAclOutput;
    acl::put_object_acl(PutObjectAclInput) -> PutObjectAclOutput;
    cors::put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput;
    cors::get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput;
    cors::delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput;
    buckets::list_objects(ListObjectsInput) -> ListObjectsOutput;
    buckets::list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    versions::list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    objects::put_object(PutObjectInput) -> PutObjectOutput;
    objects::get_object(GetObjectInput) -> GetObjectOutput;
    objects::head_object(HeadObjectInput) -> HeadObjectOutput;
    objects::copy_object(CopyObjectInput) -> CopyObjectOutput;
    objects::delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    objects::delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    uploads::create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    uploads::upload_part(UploadPartInput) -> UploadPartOutput;
    uploads::upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    uploads::list_parts(ListPartsInput) -> ListPartsOutput;
    uploads::list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    uploads::complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    uploads::abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
}
