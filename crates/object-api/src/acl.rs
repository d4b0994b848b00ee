//! Access lists, as S3 has them where nobody but the owner has access: tools read them, and set them to what they are.
//!
//! Deliberately absent: any other list. Whoever asks for one relies on it, so it is refused.

use std::sync::Arc;

use kiln_service::{Caller, Service};
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};

use crate::absent::PRIVATE;
use crate::bucket_operations::owner;
use crate::error::{refused, s3_error};
use crate::s3::caller;

pub(crate) async fn get_bucket_acl(
    service: &Arc<Service>,
    request: S3Request<GetBucketAclInput>,
) -> S3Result<S3Response<GetBucketAclOutput>> {
    let caller = caller(&request)?;
    service.bucket(&caller, &request.input.bucket).await.map_err(s3_error)?;
    Ok(S3Response::new(GetBucketAclOutput { grants: Some(grants(&caller)), owner: Some(owner(&caller)) }))
}

pub(crate) async fn put_bucket_acl(
    service: &Arc<Service>,
    request: S3Request<PutBucketAclInput>,
) -> S3Result<S3Response<PutBucketAclOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    service.bucket(&caller, &input.bucket).await.map_err(s3_error)?;
    stays(&caller, input.acl.is_some(), input.access_control_policy)?;
    Ok(S3Response::new(PutBucketAclOutput::default()))
}

pub(crate) async fn get_object_acl(
    service: &Arc<Service>,
    request: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let caller = caller(&request)?;
    service.open_object(&caller, &request.input.bucket, &request.input.key).await.map_err(s3_error)?;
    let (grants, owner) = (Some(grants(&caller)), Some(owner(&caller)));
    Ok(S3Response::new(GetObjectAclOutput { grants, owner, ..Default::default() }))
}

pub(crate) async fn put_object_acl(
    service: &Arc<Service>,
    request: S3Request<PutObjectAclInput>,
) -> S3Result<S3Response<PutObjectAclOutput>> {
    let caller = caller(&request)?;
    let input = request.input;
    service.open_object(&caller, &input.bucket, &input.key).await.map_err(s3_error)?;
    stays(&caller, input.acl.is_some(), input.access_control_policy)?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

/// That a list which is to be set is the one that there is. (The gate lets no other canned list through.)
fn stays(caller: &Caller, is_canned: bool, list: Option<AccessControlPolicy>) -> S3Result<()> {
    let Some(list) = list.and_then(|list| list.grants) else {
        let sentence = "There is no access list in the request. Send one, or the header x-amz-acl: private.";
        return if is_canned { Ok(()) } else { Err(refused(S3ErrorCode::MissingSecurityHeader, sentence)) };
    };
    let own = caller.account.uin.to_string();
    let is_own = |grant: &Grant| {
        let id = grant.grantee.as_ref().and_then(|grantee| grantee.id.as_ref());
        let permission = grant.permission.as_ref().map(|permission| permission.as_str());
        id == Some(&own) && permission == Some(Permission::FULL_CONTROL)
    };
    match list.as_slice() {
        [grant] if is_own(grant) => Ok(()),
        _ => Err(refused(S3ErrorCode::AccessControlListNotSupported, PRIVATE)),
    }
}

/// The owner may do everything, and nobody else anything.
fn grants(caller: &Caller) -> Grants {
    let Owner { display_name, id } = owner(caller);
    vec![Grant {
        grantee: Some(Grantee {
            display_name,
            email_address: None,
            id,
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}
