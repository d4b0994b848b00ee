//! Before and after s3s: COS's signature is checked, and COS's names are turned into S3's and back.
//!
//! Only here are there two protocols. What is refused here is what s3s would take and Kiln does not: forms, which it
//! would hold in memory, and AWS's old signatures, which can be repeated for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiln_model::{SecretId, Timestamp};
use kiln_object_signature::{Error as SignatureError, Request as Signed, cos};
use kiln_service::{Service, names_of_host};
use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::sync::Semaphore;

use crate::access::{Found, enabled_key, unknown_key};
use crate::error::refused;

/// Requests that are worked on at once; more wait.
const MAX_CONCURRENT_REQUESTS: usize = 256;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Signs in the place of keys that do not exist.
const ABSENT_KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123";

/// The longest document of an error.
const MAX_ERROR_BYTES: usize = 64 << 10;

const COS_PREFIX: &str = "x-cos-";
const AWS_PREFIX: &str = "x-amz-";

/// What all requests pass.
#[derive(Clone)]
pub(crate) struct Gate {
    service: Arc<Service>,
    turns: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { service, turns: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)) }
    }
}

/// Leads a request through to s3s, and its answer back.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let (mut parts, body) = request.into_parts();
    let turn = tokio::time::timeout(TURN_TIMEOUT, gate.turns.acquire()).await;
    let admitted = match turn {
        Ok(Ok(_)) => admit(&gate.service, &mut parts, &request_id).await,
        _ => Err(refused(S3ErrorCode::SlowDown, "The server has too much to do at this moment. Try again.")),
    };
    let path = parts.uri.path().to_owned();
    let mut response = match admitted {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => answer(error),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = complete_error(response, &path, &request_id).await;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amz-request-id", id);
    }
    give_cos_names(headers);
    response
}

fn answer(error: S3Error) -> Response {
    match error.to_http_response() {
        Ok(response) => response.map(Body::new),
        Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Says in an error's document what it is about, and where to ask: COS's clients read none that lacks it.
async fn complete_error(response: Response, path: &str, request_id: &str) -> Response {
    const END: &str = "</Error>";
    let (mut parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_ERROR_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some(begin) = text.strip_suffix(END) else { return Response::from_parts(parts, Body::from(text)) };
    let path = path.replace('&', "&amp;").replace('<', "&lt;");
    let about = format!(
        "<Resource>{path}</Resource><RequestId>{request_id}</RequestId><TraceId>{request_id}</TraceId>"
    );
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(format!("{begin}{about}{END}")))
}

async fn admit(service: &Service, request: &mut Parts, request_id: &str) -> S3Result<()> {
    let header = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
    if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        return Err(refused(
            S3ErrorCode::NotImplemented,
            "Forms are not taken. Use PUT, or a presigned URL.",
        ));
    }
    let query = request.uri.query().unwrap_or_default();
    let is_version_2 = |pair: &str| pair.starts_with("Signature=") || pair.starts_with("AWSAccessKeyId=");
    if header(AUTHORIZATION).is_some_and(|text| text.starts_with("AWS "))
        || query.split('&').any(is_version_2)
    {
        return Err(refused(
            S3ErrorCode::InvalidRequest,
            "AWS signature version 2 is not taken. Sign by version 4 (AWS4-HMAC-SHA256).",
        ));
    }
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let host = names_of_host(header(HOST).or(authority).unwrap_or_default());
    let region = service.regions().iter().find(|region| Some(region.id.as_str()) == host.region);
    let region = region.map(|region| region.id.clone());
    let cos_key = cos_key(service, request, host.bucket.is_some()).await?;
    if cos_key.is_some() {
        take_cos_signature(request);
    }
    take_cos_names(&mut request.headers);
    request.extensions.insert(Found { request_id: request_id.to_owned(), region, cos_key });
    Ok(())
}

/// The key that signed a request by COS's scheme, if one did.
async fn cos_key(service: &Service, request: &Parts, bucket_in_host: bool) -> S3Result<Option<SecretId>> {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let signed = Signed {
        method: request.method.as_str(),
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        headers: &headers,
    };
    let Some(signature) = cos::Signature::find(&signed) else { return Ok(None) };
    let signature = signature.map_err(cos_error)?;
    for name in ["x-cos-copy-source", "x-amz-copy-source"] {
        if request.headers.contains_key(name) && !signature.covers_header(name) {
            return Err(refused(
                S3ErrorCode::AccessDenied,
                "The signature does not cover the copy's source. Sign that header, too.",
            ));
        }
    }
    // Where the path begins with the bucket, COS's clients sign what comes after it.
    let bucket = signed.path.split('/').nth(1).filter(|_| !bucket_in_host);
    let key = enabled_key(service, &signature.secret_id).await?.map(|holder| holder.key);
    let secret = key.as_ref().map_or(ABSENT_KEY, |key| key.secret_key.as_str());
    let verdict = signature.verify(&signed, bucket, secret, Timestamp::now().0.div_euclid(1000));
    let key = key.ok_or_else(unknown_key)?;
    verdict.map_err(cos_error)?;
    Ok(Some(key.secret_id))
}

fn cos_error(error: SignatureError) -> S3Error {
    match error {
        SignatureError::Malformed(_) => {
            S3Error::with_message(S3ErrorCode::InvalidArgument, error.to_string())
        }
        SignatureError::Expired => {
            refused(S3ErrorCode::AccessDenied, "Request has expired. Check the clocks, or sign again.")
        }
        SignatureError::Mismatch => refused(
            S3ErrorCode::SignatureDoesNotMatch,
            "The signature is not the one that the key makes for this request. Check the SecretKey.",
        ),
    }
}

/// Takes a signature that was checked out of the request: s3s knows nothing of it.
fn take_cos_signature(request: &mut Parts) {
    request.headers.remove(AUTHORIZATION);
    let Some(query) = request.uri.query() else { return };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("q-")).collect();
    let mut target = request.uri.path().to_owned();
    if !kept.is_empty() {
        target = format!("{target}?{}", kept.join("&"));
    }
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        request.uri = uri;
    }
}

/// Gives the headers of COS their names in S3. What is said in both stays as S3 has it.
fn take_cos_names(headers: &mut HeaderMap) {
    rename(headers, COS_PREFIX, AWS_PREFIX, true);
}

/// Says in COS's names, too, what an answer says in S3's.
fn give_cos_names(headers: &mut HeaderMap) {
    rename(headers, AWS_PREFIX, COS_PREFIX, false);
}

fn rename(headers: &mut HeaderMap, from: &str, to: &str, remove: bool) {
    let found: Vec<(HeaderName, HeaderValue)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with(from))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for (name, value) in found {
        if let Ok(renamed) = HeaderName::try_from(name.as_str().replacen(from, to, 1)) {
            headers.entry(renamed).or_insert(value);
        }
        if remove {
            headers.remove(name);
        }
    }
}
