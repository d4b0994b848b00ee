//! Who asks: the account behind the key that signed, whichever scheme it signed by.
//!
//! Invariants: nothing is answered without a signature; a disabled key is as good as none.

use std::sync::Arc;

use kiln_model::{RegionId, SecretId};
use kiln_service::{Caller, KeyHolder, Service};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Result};

use crate::error::{refused, s3_error};

/// Looks keys and accounts up.
pub(crate) struct Access {
    pub(crate) service: Arc<Service>,
}

/// What the gate found out about a request before s3s saw it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) request_id: String,
    /// The region that the host names, if there is such a region.
    pub(crate) region: Option<RegionId>,
    /// The key that signed by COS's scheme.
    pub(crate) cos_key: Option<SecretId>,
}

/// The enabled key of that identifier, and whose it is.
pub(crate) async fn enabled_key(service: &Service, secret_id: &str) -> S3Result<Option<KeyHolder>> {
    let found = service.api_key(&SecretId::from_trusted(secret_id)).await.map_err(s3_error)?;
    Ok(found.filter(|holder| holder.key.enabled))
}

pub(crate) fn unknown_key() -> s3s::S3Error {
    refused(
        S3ErrorCode::InvalidAccessKeyId,
        "There is no such key, or it is disabled. Use a key of `kiln account create` or of credentials.json.",
    )
}

#[async_trait::async_trait]
impl S3Auth for Access {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let holder = enabled_key(&self.service, access_key).await?.ok_or_else(unknown_key)?;
        Ok(holder.key.secret_key.into())
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    /// Leaves the caller with the request, for the operation.
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let found = context.extensions_mut().get::<Found>().cloned();
        let found =
            found.ok_or_else(|| refused(S3ErrorCode::InternalError, "The request passed no gate."))?;
        let secret_id = match (found.cos_key, context.credentials()) {
            (Some(key), _) => key,
            (None, Some(credentials)) => SecretId::from_trusted(credentials.access_key.clone()),
            (None, None) => {
                return Err(refused(S3ErrorCode::AccessDenied, "Objects are private: sign the request."));
            }
        };
        if is_unsigned_copy(context) {
            return Err(refused(
                S3ErrorCode::AccessDenied,
                "The URL's signature does not cover x-amz-copy-source. Sign that header, too.",
            ));
        }
        let holder = enabled_key(&self.service, secret_id.as_str()).await?.ok_or_else(unknown_key)?;
        let region = found.region.unwrap_or_else(|| self.service.default_region().clone());
        let KeyHolder { account, sub_account, .. } = holder;
        let caller = Caller { account, sub_account, secret_id, region, request_id: found.request_id };
        context.extensions_mut().insert(caller);
        Ok(())
    }
}

/// Whoever holds a presigned URL for one object must not read another through it.
fn is_unsigned_copy(context: &S3AccessContext<'_>) -> bool {
    let query = context.uri().query().unwrap_or_default();
    context.headers().contains_key("x-amz-copy-source")
        && query.contains("X-Amz-Signature=")
        && !query.to_ascii_lowercase().contains("x-amz-copy-source")
}
