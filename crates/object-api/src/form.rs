//! Uploads by forms (POST, `multipart/form-data`), as browsers send them: the fields are read, the signature and the policy
//! are checked, and the file goes to the disk while it comes.
//!
//! s3s would hold the whole form in memory, so it sees none. Nothing is stored of a form that is refused, ends early or
//! has a file that is not as long as its policy wants it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use kiln_model::{Object, ObjectDescription};
use kiln_object_signature::{FormSignature, decode, encode};
use kiln_service::{Caller, PutCondition, PutObject, Refusal, RefusalKind, names_of_host};
use multer::{Field, Multipart};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::absent::refuse_what_is_absent;
use crate::access::{ABSENT_KEY, Access, Found, unknown_key};
use crate::checked_body::{checked_by, content_md5};
use crate::error::{refused, s3_error, signature_error};
use crate::object_operations::read_http_date;
use crate::post_policy::{Fields, PostPolicy};

/// The bytes of a form's fields, their names included, and their number.
const MAX_FIELDS_BYTES: usize = 64 << 10;
const MAX_FIELDS: usize = 100;
/// What is read of a form at once while its file has not begun, and in all: the parser reads ahead.
const SLICE_BYTES: usize = 4 << 10;
const MAX_READ_BEFORE_FILE_BYTES: usize = 1 << 20;
const TOO_MANY_FIELDS: &str = "the fields are too long";
/// How long the fields may take to come.
const FIELDS_TIMEOUT: Duration = Duration::from_secs(60);
/// What stands in a key for the name that the file has at the client.
const FILENAME: &str = "${filename}";

/// Whether a request is a form.
pub(crate) fn is_form(request: &Parts) -> bool {
    const KIND: &[u8] = b"multipart/form-data";
    // By its bytes: s3s takes it for a form, too, where it is not all ASCII.
    let kind = request.headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..KIND.len()));
    request.method == Method::POST && kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

fn kind(request: &Parts) -> &str {
    request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Stores the file of a form.
///
/// # Errors
/// An error of S3; then nothing was stored.
pub(crate) async fn upload(
    access: &Access,
    request: &Parts,
    host: &str,
    found: &Found,
    body: Body,
) -> S3Result<Response> {
    let bucket = bucket(host, request)?;
    let boundary = multer::parse_boundary(kind(request)).map_err(|_| malformed("it names no boundary"))?;
    let in_file = Arc::new(AtomicBool::new(false));
    let paced = paced(body.into_data_stream(), Arc::clone(&in_file));
    let mut form = Multipart::new(paced, boundary);
    let reading = tokio::time::timeout(FIELDS_TIMEOUT, read_fields(&mut form));
    let (mut fields, file) = reading.await.map_err(|_| {
        refused(S3ErrorCode::RequestTimeout, "The form's fields did not come in time. Send it again.")
    })??;
    in_file.store(true, Ordering::Relaxed);
    fields.insert("bucket".to_owned(), bucket);
    name_file(&mut fields, file.file_name().unwrap_or_default());
    let (caller, lengths) = permit(access, found, &fields).await?;
    refuse_what_is_absent(&as_headers(&fields))?;
    let put = put_object(&fields)?;
    let body = checked_by(&as_headers(&fields), None, Some(file_bytes(file, lengths)));
    let object = access.service.put_object(&caller, put, body.stream).await.map_err(s3_error)?;
    let location = location(access.service.object_scheme(), host, &object);
    Ok(stored(&fields, &object, &location))
}

fn bucket(host: &str, request: &Parts) -> S3Result<String> {
    let path = decode(request.uri.path());
    let path = path.trim_matches('/');
    let bucket = match names_of_host(host).bucket {
        Some(bucket) if path.is_empty() => Some(bucket),
        None if !path.is_empty() && !path.contains('/') => Some(path),
        _ => None,
    };
    match bucket {
        Some(bucket) => Ok(bucket.to_owned()),
        None => Err(refused(
            S3ErrorCode::MethodNotAllowed,
            "A form is sent by POST to the bucket's own URL; the object's key is a field of it.",
        )),
    }
}

/// A body in single pieces: the parser takes all that there is into its memory whenever it is asked for something, so
/// there is never more than one piece, and before the file begins it is a small one.
fn paced(body: BodyDataStream, in_file: Arc<AtomicBool>) -> BoxStream<'static, Result<Bytes, &'static str>> {
    let state = (body, Bytes::new(), 0);
    let pieces = futures::stream::unfold(state, move |(mut body, mut rest, mut read_before_file)| {
        let in_file = Arc::clone(&in_file);
        async move {
            // The parser asks again and again until it has to wait.
            tokio::task::yield_now().await;
            if rest.is_empty() {
                match body.next().await? {
                    Ok(piece) => rest = piece,
                    Err(_) => return Some((Err("the body broke off"), (body, rest, read_before_file))),
                }
            }
            if in_file.load(Ordering::Relaxed) {
                return Some((Ok(std::mem::take(&mut rest)), (body, rest, read_before_file)));
            }
            let slice = rest.split_to(rest.len().min(SLICE_BYTES));
            read_before_file += slice.len();
            let is_enough = read_before_file > MAX_READ_BEFORE_FILE_BYTES;
            Some((if is_enough { Err(TOO_MANY_FIELDS) } else { Ok(slice) }, (body, rest, read_before_file)))
        }
    });
    pieces.boxed()
}

/// The fields before the file, and the file.
async fn read_fields(form: &mut Multipart<'static>) -> S3Result<(Fields, Field<'static>)> {
    let mut fields = Fields::new();
    let mut bytes = 0;
    while let Some(mut field) = form.next_field().await.map_err(form_error)? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            return Ok((fields, field));
        }
        let mut value = Vec::new();
        bytes += name.len();
        while let Some(piece) = field.chunk().await.map_err(form_error)? {
            bytes += piece.len();
            value.extend_from_slice(&piece);
            if bytes > MAX_FIELDS_BYTES {
                return Err(too_many_fields());
            }
        }
        if fields.len() == MAX_FIELDS {
            return Err(too_many_fields());
        }
        let value = String::from_utf8(value).map_err(|_| malformed("a field is not UTF-8"))?;
        if fields.insert(name, value).is_some() {
            return Err(malformed("a field stands in it twice"));
        }
    }
    Err(refused(
        S3ErrorCode::IncorrectNumberOfFilesInPostRequest,
        "The form has no file: there must be one field named \"file\", the last one.",
    ))
}

/// Puts the file's name into the key where it is asked for. Some clients send the whole path.
fn name_file(fields: &mut Fields, name: &str) {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    if let Some(key) = fields.get_mut("key") {
        *key = key.replace(FILENAME, name);
    }
}

/// Checks the signature, the account's turn and the policy: for whom the file is stored, and how long it may be.
async fn permit(access: &Access, found: &Found, fields: &Fields) -> S3Result<(Caller, RangeInclusive<u64>)> {
    let private = "Objects are private: sign the form's policy.";
    let denied = || refused(S3ErrorCode::AccessDenied, private);
    let signature = FormSignature::find(|name| fields.get(name).map(String::as_str)).ok_or_else(denied)?;
    let signature = signature.map_err(signature_error)?;
    let policy = fields.get("policy").ok_or_else(denied)?;
    let holder = access.enabled_key(&signature.secret_id).await?;
    let secret = holder.as_ref().map_or(ABSENT_KEY, |holder| holder.key.secret_key.as_str());
    let now = jiff::Timestamp::now();
    let verdict = signature.verify(policy, secret, now.as_second());
    let holder = holder.ok_or_else(unknown_key)?;
    verdict.map_err(signature_error)?;
    let caller = access.admit(holder, found).await?;
    let document = STANDARD.decode(policy).unwrap_or_default();
    let lengths = PostPolicy::parse(&document)?.check(fields, !signature.is_cos(), now)?;
    Ok((caller, lengths))
}

fn put_object(fields: &Fields) -> S3Result<PutObject> {
    let text = |name: &str| fields.get(name).filter(|value| !value.is_empty()).cloned();
    let key = text("key").ok_or_else(|| {
        refused(S3ErrorCode::UserKeyMustBeSpecified, "The form has no field \"key\" before its file.")
    })?;
    let metadata = fields.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("x-amz-meta-").or_else(|| name.strip_prefix("x-cos-meta-"))?;
        Some((name.to_owned(), value.clone()))
    });
    let expires = text("expires");
    if expires.as_deref().is_some_and(|text| read_http_date(text).is_none()) {
        return Err(malformed("its field \"expires\" is no time such as Wed, 21 Oct 2026 07:28:00 GMT"));
    }
    let description = ObjectDescription {
        content_type: text("content-type"),
        cache_control: text("cache-control"),
        content_disposition: text("content-disposition"),
        content_encoding: text("content-encoding"),
        content_language: text("content-language"),
        expires,
        metadata: metadata.collect(),
    };
    Ok(PutObject {
        bucket: fields["bucket"].clone(),
        key,
        description,
        size_bytes: None,
        md5: content_md5(fields.get("content-md5").map(String::as_str))?,
        condition: PutCondition::None,
    })
}

/// The fields, as headers have them.
fn as_headers(fields: &Fields) -> HeaderMap {
    let headers = fields.iter().filter_map(|(name, value)| {
        let name = match name.strip_prefix("x-cos-") {
            Some(rest) => format!("x-amz-{rest}"),
            None if name == "acl" => "x-amz-acl".to_owned(),
            None => name.clone(),
        };
        Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?))
    });
    headers.collect()
}

/// The file's bytes, as many as may be.
fn file_bytes(
    file: Field<'static>,
    lengths: RangeInclusive<u64>,
) -> BoxStream<'static, Result<Bytes, Refusal>> {
    let pieces = futures::stream::try_unfold((file, 0), move |(mut file, received)| {
        let lengths = lengths.clone();
        async move {
            let piece = file.chunk().await.map_err(|error| broken(&error))?;
            let received = received + piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if received > *lengths.end() {
                return Err(length_refusal("EntityTooLarge", &lengths));
            }
            match piece {
                Some(piece) => Ok(Some((piece, (file, received)))),
                None if received < *lengths.start() => Err(length_refusal("EntityTooSmall", &lengths)),
                None => Ok(None),
            }
        }
    });
    pieces.boxed()
}

fn length_refusal(code: &'static str, lengths: &RangeInclusive<u64>) -> Refusal {
    let (least, most) = (lengths.start(), lengths.end());
    Refusal::new(
        RefusalKind::Invalid,
        code,
        format!("The form's policy wants a file of {least} to {most} bytes."),
    )
}

fn broken(error: &multer::Error) -> Refusal {
    Refusal::new(
        RefusalKind::Invalid,
        "IncompleteBody",
        format!("The form broke off in its file ({error}). Send it again."),
    )
}

/// The answer that the form asks for.
fn stored(fields: &Fields, object: &Object, location: &str) -> Response {
    let etag = format!("\"{}\"", object.etag);
    let mut headers = HeaderMap::new();
    let mut say = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    say(ETAG, &etag);
    say(HeaderName::from_static("x-cos-hash-crc64ecma"), &object.crc64.to_string());
    let redirect = redirect(fields, object);
    say(LOCATION, redirect.as_ref().map_or(location, url::Url::as_str));
    let wanted = fields.get("success_action_status").map(String::as_str);
    let (status, body) = match wanted {
        _ if redirect.is_some() => (StatusCode::SEE_OTHER, Body::empty()),
        Some("200") => (StatusCode::OK, Body::empty()),
        Some("201") => {
            say(CONTENT_TYPE, "application/xml");
            (StatusCode::CREATED, Body::from(document(object, location, &etag)))
        }
        _ => (StatusCode::NO_CONTENT, Body::empty()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn document(object: &Object, location: &str, etag: &str) -> String {
    let (bucket, key) = (escaped(object.bucket.as_str()), escaped(&object.key));
    let (location, etag) = (escaped(location), escaped(etag));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><PostResponse><Location>{location}</Location>\
         <Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag}</ETag></PostResponse>"
    )
}

/// The object's URL.
fn location(scheme: &str, host: &str, object: &Object) -> String {
    let key: Vec<String> = object.key.split('/').map(encode).collect();
    let bucket = match names_of_host(host).bucket {
        Some(_) => String::new(),
        None => format!("{}/", object.bucket),
    };
    format!("{scheme}://{host}/{bucket}{}", key.join("/"))
}

/// Where the browser goes on, if the form says it.
fn redirect(fields: &Fields, object: &Object) -> Option<url::Url> {
    let wanted = fields.get("success_action_redirect").or_else(|| fields.get("redirect"))?;
    let mut url: url::Url = wanted.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.query_pairs_mut()
        .append_pair("bucket", object.bucket.as_str())
        .append_pair("key", &object.key)
        .append_pair("etag", &format!("\"{}\"", object.etag));
    Some(url)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn form_error(error: multer::Error) -> S3Error {
    match error {
        multer::Error::StreamReadFailed(error) if error.to_string() == TOO_MANY_FIELDS => too_many_fields(),
        error => malformed(&error.to_string()),
    }
}

fn too_many_fields() -> S3Error {
    refused(
        S3ErrorCode::MaxPostPreDataLengthExceededError,
        "The form's fields before its file are too long. The file must come last, under the name \"file\".",
    )
}

fn malformed(what: &str) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::MalformedPOSTRequest,
        format!("The form cannot be read: {what}. It must be multipart/form-data."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A form with these fields and a file, in pieces of that length.
    async fn read(fields: &[(&str, &str)], file: &str, piece_bytes: usize) -> S3Result<(Fields, String)> {
        let mut text = String::new();
        for (name, value) in fields {
            text += &format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        text += &format!(
            "--edge\r\nContent-Disposition: form-data; name=\"File\"; filename=\"f\"\r\n\r\n{file}\r\n--edge--\r\n"
        );
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(piece_bytes)
            .map(|piece| Ok::<_, axum::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let body = Body::from_stream(futures::stream::iter(pieces)).into_data_stream();
        let in_file = Arc::new(AtomicBool::new(false));
        let mut form = Multipart::new(paced(body, Arc::clone(&in_file)), "edge");
        let (fields, file) = read_fields(&mut form).await?;
        in_file.store(true, Ordering::Relaxed);
        Ok((fields, file.text().await.expect("a file")))
    }

    #[tokio::test]
    async fn fields_and_file_are_found_however_the_form_is_cut() {
        let file = "\r\n--edg\r\n--".repeat(20_000);
        for piece_bytes in [1, 7, 100, 4096, 1 << 20] {
            let file = if piece_bytes == 1 { &file[..1100] } else { &file };
            let (fields, found) =
                read(&[("Key", "k"), ("policy", "p")], file, piece_bytes).await.expect("a form");
            let expected =
                [("key", "k"), ("policy", "p")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(fields, Fields::from(expected));
            assert!(found == file, "cut into {piece_bytes}");
        }
    }

    #[tokio::test]
    async fn so_many_fields_may_be_and_no_more() {
        let long = "x".repeat(MAX_FIELDS_BYTES - 1000);
        assert!(read(&[("a", &long)], "", 1 << 16).await.is_ok());
        let check = async |fields: &[(&str, &str)]| {
            let error = read(fields, &"y".repeat(4 << 20), 1 << 16).await.expect_err("too long");
            assert_eq!(error.code(), &S3ErrorCode::MaxPostPreDataLengthExceededError);
        };
        check(&[("a", &long), ("b", &long)]).await;
        check(&[(&"x".repeat(2 << 20), "")]).await;
        let names: Vec<String> = (0..=MAX_FIELDS).map(|number| number.to_string()).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        check(&fields).await;
        assert!(read(&fields[1..], &"y".repeat(4 << 20), 1 << 16).await.is_ok());
    }

    #[test]
    fn the_files_name_is_its_last_part() {
        let check = |key: &str, name, expected: &str| {
            let mut fields = Fields::from([("key".to_owned(), key.to_owned())]);
            name_file(&mut fields, name);
            assert_eq!(fields["key"], expected);
        };
        check("a/${filename}", "b.raw", "a/b.raw");
        check("a/${filename}", "C:\\images\\b.raw", "a/b.raw");
        check("a/${filename}", "../b", "a/b");
        check("a/${filename}", "", "a/");
        check("a", "b", "a");
    }
}
