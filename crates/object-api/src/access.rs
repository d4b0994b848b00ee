//! Who asks: the account behind the key that signed, whichever scheme it signed by.
//!
//! Invariants: nothing is answered without a signature; a disabled key is as good as none.

use std::sync::Arc;

use axum::http::HeaderName;
use axum::http::header::AUTHORIZATION;
use kiln_model::{RegionId, SecretId};
use kiln_object_signature::parameters;
use kiln_service::{Caller, HostNames, KeyHolder, Service};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::error::{refused, s3_error};
use crate::fairness::{Fairness, TurnSlot};

/// Signs in the place of keys that do not exist.
pub(crate) const ABSENT_KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123";

/// What is in the query of a presigned URL, besides its signature.
const OF_PRESIGNED: [&str; 5] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"];

/// Looks keys and accounts up.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) service: Arc<Service>,
    pub(crate) fairness: Arc<Fairness>,
}

/// What the gate found out about a request before anybody else saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) request_id: String,
    /// The region that the host names, if there is such a region.
    pub(crate) region: Option<RegionId>,
    /// The key that signed by COS's scheme.
    pub(crate) cos_key: Option<SecretId>,
    /// Where the request's turn is kept.
    pub(crate) turn: TurnSlot,
}

impl Access {
    /// The enabled key of that identifier, and whose it is.
    pub(crate) async fn enabled_key(&self, secret_id: &str) -> S3Result<Option<KeyHolder>> {
        let found = self.service.api_key(&SecretId::from_trusted(secret_id)).await.map_err(s3_error)?;
        Ok(found.filter(|holder| holder.key.enabled))
    }

    /// The region that a host names, if there is such a region.
    pub(crate) fn region(&self, host: &HostNames<'_>) -> Option<RegionId> {
        let regions = self.service.regions();
        let found = regions.iter().find(|region| Some(region.id.as_str()) == host.region);
        found.map(|region| region.id.clone())
    }

    /// Who asks, when it is the account's turn.
    pub(crate) async fn admit(&self, holder: KeyHolder, found: &Found) -> S3Result<Caller> {
        let turn = self.fairness.admit(holder.account.uin).await?;
        // A request is admitted once.
        let _ = found.turn.set(turn);
        let KeyHolder { key, account, sub_account, .. } = holder;
        Ok(Caller {
            account,
            sub_account,
            secret_id: key.secret_id,
            region: found.region.clone().unwrap_or_else(|| self.service.default_region().clone()),
            request_id: found.request_id.clone(),
        })
    }
}

pub(crate) fn unknown_key() -> S3Error {
    refused(
        S3ErrorCode::InvalidAccessKeyId,
        "There is no such key, or it is disabled. Use a key of `kiln account create` or of credentials.json.",
    )
}

#[async_trait::async_trait]
impl S3Auth for Access {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let holder = self.enabled_key(access_key).await?.ok_or_else(unknown_key)?;
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
        let secret_id = match (&found.cos_key, context.credentials()) {
            (Some(key), _) => key.to_string(),
            (None, Some(credentials)) => credentials.access_key.clone(),
            (None, None) => {
                return Err(refused(S3ErrorCode::AccessDenied, "Objects are private: sign the request."));
            }
        };
        if found.cos_key.is_none() {
            check_what_is_signed(context)?;
        }
        let holder = self.enabled_key(&secret_id).await?.ok_or_else(unknown_key)?;
        let caller = self.admit(holder, &found).await?;
        check_expected_owner(context, &caller)?;
        context.extensions_mut().insert(caller);
        Ok(())
    }
}

/// That the owner whom the request expects is the one who asks: to another's bucket he has no access anyhow.
fn check_expected_owner(context: &S3AccessContext<'_>, caller: &Caller) -> S3Result<()> {
    let own = caller.account.uin.to_string();
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if context.headers().get(name).is_some_and(|expected| expected.as_bytes() != own.as_bytes()) {
            return Err(refused(
                S3ErrorCode::AccessDenied,
                "The bucket's owner is not the account that the request expects. Name your own Uin there, or none.",
            ));
        }
    }
    Ok(())
}

/// Refuses a request in which a header says what is done and version 4 of AWS's signature does not cover it: whoever holds a
/// presigned URL must not read another object through it, nor say more of his own than its maker did.
fn check_what_is_signed(context: &S3AccessContext<'_>) -> S3Result<()> {
    // By their decoded names, as s3s finds them: whoever holds a URL can write them in other ways.
    let parameters = parameters(context.uri().query().unwrap_or_default());
    let in_query =
        |name: &str| parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let covered = if in_query("X-Amz-Signature").is_some() {
        in_query("X-Amz-SignedHeaders")
    } else if parameters.iter().any(|(name, _)| OF_PRESIGNED.contains(&name.as_str())) {
        // The signature of a URL holds in a header, too, where its time to live and what it covers would be the holder's word.
        return Err(refused(
            S3ErrorCode::AccessDenied,
            "The URL is a presigned one without its signature. Use it as it was given to you.",
        ));
    } else {
        signed_headers(context)
    };
    let covered: Vec<&str> = covered.unwrap_or_default().split(';').collect();
    // What the body has to be, and when it was signed, is checked with the signature, or by nobody.
    let needs_none =
        |name: &str| !name.starts_with("x-amz-") || name == "x-amz-content-sha256" || name == "x-amz-date";
    let mut names = context.headers().keys().map(HeaderName::as_str);
    match names.find(|name| !needs_none(name) && !covered.contains(name)) {
        None => Ok(()),
        Some(name) => Err(S3Error::with_message(
            S3ErrorCode::AccessDenied,
            format!("The signature does not cover {name}. Sign that header, too, or leave it out."),
        )),
    }
}

/// The headers that a signature in `Authorization` names, as s3s reads them.
fn signed_headers<'a>(context: &'a S3AccessContext<'_>) -> Option<&'a str> {
    let authorization = context.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (_, rest) = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?.rsplit_once("SignedHeaders=")?;
    rest.split_once(',').map(|(names, _)| names)
}
