//! Before and after s3s: COS's signature is checked, and COS's names are turned into S3's and back.
//!
//! Here and in forms only are there two protocols. Forms do not get to s3s, which would hold them in memory; AWS's old
//! signatures of requests, which can be repeated for ever, are refused.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, DATE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kiln_model::{SecretId, Timestamp};
use kiln_object_signature::{Request as Signed, cos, encode, parameters};
use kiln_service::names_of_host;
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::absent::refuse_what_is_absent;
use crate::access::{ABSENT_KEY, Access, Found, unknown_key};
use crate::cors::{Asked, preflight};
use crate::error::{refused, signature_error};
use crate::fairness::{TurnSlot, holding};
use crate::form;
use crate::lingering::lingering;

/// The longest document of an error.
const MAX_ERROR_BYTES: usize = 64 << 10;

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const COS_PREFIX: &str = "x-cos-";
const AWS_PREFIX: &str = "x-amz-";
/// The parameters in whose names S3 has capitals.
const NAMES_WITH_CAPITALS: [&str; 8] = [
    "metadataTable",
    "ownershipControls",
    "partNumber",
    "policyStatus",
    "publicAccessBlock",
    "requestPayment",
    "uploadId",
    "versionId",
];

/// What all requests pass.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) access: Access,
    /// Origins of pages that may use every bucket.
    pub(crate) allowed_origins: Arc<[String]>,
}

/// Leads a request through to s3s, and its answer back.
///
/// An object is a stranger's file at a host that may be the console's, too: browsers are told to run nothing of it.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let request_id = uuid::Uuid::new_v4().simple().to_string();
    let (parts, body) = request.into_parts();
    let body = lingering(&parts.headers, body);
    let turn = TurnSlot::default();
    let path = parts.uri.path().to_owned();
    let found = Found { request_id: request_id.clone(), turn: Arc::clone(&turn), ..Found::default() };
    let host = host(&parts).to_owned();
    let asked = Asked::of(&parts, &host);
    let rule = match &asked {
        Some(asked) => asked.rule(&gate.access.service, &gate.allowed_origins).await,
        None => None,
    };
    let answered = if parts.method == Method::OPTIONS {
        preflight(asked.as_ref(), rule.as_ref())
    } else {
        answer(&gate.access, parts, body, (&host, found), next).await
    };
    let mut response = answered.unwrap_or_else(error_response);
    if response.status().is_client_error() || response.status().is_server_error() {
        response = complete_error(response, &path, &request_id).await;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amz-request-id", id);
    }
    give_cos_names(headers);
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let (Some(asked), Some(rule)) = (asked, rule) {
        asked.give(&rule, headers);
    }
    response.map(|body| holding(body, turn))
}

fn error_response(error: S3Error) -> Response {
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

/// Stores the file of a form, or readies another request for s3s and gives it on.
async fn answer(
    access: &Access,
    mut request: Parts,
    body: Body,
    (host, found): (&str, Found),
    next: Next,
) -> S3Result<Response> {
    let names = names_of_host(host);
    let mut found = Found { region: access.region(&names), ..found };
    if form::is_form(&request) {
        return form::upload(access, &request, host, &found, body).await;
    }
    refuse_version_2(&request)?;
    found.cos_key = cos_key(access, &request, names.bucket.is_some()).await?;
    if found.cos_key.is_some() {
        take_cos_signature(&mut request);
    }
    take_cos_names(&mut request.headers);
    take_date(&mut request.headers);
    refuse_what_is_absent(&request.headers)?;
    request.extensions.insert(found);
    Ok(next.run(Request::from_parts(request, body)).await)
}

/// The host that a request is for, with its port.
fn host(request: &Parts) -> &str {
    let header = request.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or(request.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
}

fn refuse_version_2(request: &Parts) -> S3Result<()> {
    let authorization = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let parameters = parameters(request.uri.query().unwrap_or_default());
    let in_query = parameters.iter().any(|(name, _)| name == "Signature" || name == "AWSAccessKeyId");
    if !authorization.is_some_and(|text| text.starts_with("AWS ")) && !in_query {
        return Ok(());
    }
    Err(refused(
        S3ErrorCode::InvalidRequest,
        "AWS signature version 2 is not taken. Sign by version 4 (AWS4-HMAC-SHA256).",
    ))
}

/// The key that signed a request by COS's scheme, if one did.
async fn cos_key(access: &Access, request: &Parts, bucket_in_host: bool) -> S3Result<Option<SecretId>> {
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
    let signature = signature.map_err(signature_error)?;
    for name in ["x-cos-copy-source", "x-amz-copy-source"] {
        if request.headers.contains_key(name) && !signature.covers_header(name) {
            return Err(refused(
                S3ErrorCode::AccessDenied,
                "The signature does not cover the copy's source. Sign that header, too.",
            ));
        }
    }
    for name in request.headers.keys().map(HeaderName::as_str) {
        let Some(rest) = name.strip_prefix(AWS_PREFIX) else { continue };
        let twin = format!("{COS_PREFIX}{rest}");
        if signature.covers_header(&twin) && !signature.covers_header(name) {
            return Err(S3Error::with_message(
                S3ErrorCode::AccessDenied,
                format!(
                    "The signature covers {twin} and not {name}, which says the same. Leave one of them out."
                ),
            ));
        }
    }
    let now = Timestamp::now().0.div_euclid(1000);
    if bucket_in_host && !signature.covers_header("host") {
        // An address can be handed on, also as a header: of a signature there, its age tells the two apart.
        let refusal = if signature.in_query() {
            Some(
                "The address is signed without its host, and would be good for other buckets. Sign the host, too.",
            )
        } else if signature.is_fresh(now) {
            None
        } else {
            Some(
                "The signature is older than 15 minutes and does not cover the host. Sign the host, too, or sign anew.",
            )
        };
        if let Some(sentence) = refusal {
            return Err(refused(S3ErrorCode::AccessDenied, sentence));
        }
    }
    // Where the path begins with the bucket, COS's clients sign what comes after it.
    let bucket = signed.path.split('/').nth(1).filter(|_| !bucket_in_host);
    let key = access.enabled_key(&signature.secret_id).await?.map(|holder| holder.key);
    let secret = key.as_ref().map_or(ABSENT_KEY, |key| key.secret_key.as_str());
    let verdict = signature.verify(&signed, bucket, secret, now);
    let key = key.ok_or_else(unknown_key)?;
    verdict.map_err(signature_error)?;
    Ok(Some(key.secret_id))
}

/// Takes a signature that was checked out of the request: s3s knows nothing of it. COS signs the names of parameters in lower
/// case, and s3s tells them apart by their case: they get the one that s3s knows, or what is done would be the sender's choice.
fn take_cos_signature(request: &mut Parts) {
    request.headers.remove(AUTHORIZATION);
    let Some(query) = request.uri.query() else { return };
    let kept: Vec<String> = parameters(query)
        .iter()
        .map(|(name, value)| (name_in_s3(name), value))
        .filter(|(name, _)| !name.starts_with("q-"))
        .map(|(name, value)| format!("{}={}", encode(&name), encode(value)))
        .collect();
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

/// A parameter's name as s3s spells it.
fn name_in_s3(name: &str) -> String {
    let known = NAMES_WITH_CAPITALS.iter().find(|known| known.eq_ignore_ascii_case(name));
    known.map_or_else(|| name.to_ascii_lowercase(), |known| (*known).to_owned())
}

/// Says the time of a request where s3s looks for it: version 4 of AWS's signature may sign `Date` instead. What is made of
/// it is part of what was signed.
fn take_date(headers: &mut HeaderMap) {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(AMZ_DATE) || !text(AUTHORIZATION).is_some_and(|text| text.starts_with("AWS4-")) {
        return;
    }
    let Some(Ok(date)) = text(DATE).map(jiff::fmt::rfc2822::parse) else { return };
    let date = date.with_time_zone(jiff::tz::TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.insert(AMZ_DATE, date);
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
