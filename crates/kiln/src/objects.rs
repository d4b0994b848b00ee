//! Signed calls to the server's buckets, and uploads in parts: parallel, resumed where an earlier one stopped.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Xz;
use indicatif::ProgressBar;
use kiln_model::{BucketName, ParseIdError, Part, Timestamp};
use kiln_object_signature::v4::{Signer, UNSIGNED_PAYLOAD};
use kiln_object_signature::{Request, encode};
use md5::{Digest, Md5};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Client, Error, causes};
use crate::progress::byte_bar;

/// The bytes of a part, unless there would be too many parts.
const PART_BYTES: u64 = 16 << 20;
/// The parts that an upload is cut into at most; the server takes 10,000.
const MAX_PARTS: u64 = 9_000;
/// Parts that are sent at the same time: while some become durable, others are on their way.
const PARALLEL_PARTS: usize = 6;
/// Where the server says the CRC-64 (ECMA-182, reflected) of what it has.
const CRC64: &str = "x-cos-hash-crc64ecma";
/// Asks for ETags of parts that are made of their CRCs: of an MD5 both sides would need longer than of all the rest.
const CRC64_ETAG: (&str, &str) = ("x-kiln-part-etag", "crc64");
/// How often a part is sent before the upload is given up.
const ATTEMPTS: u32 = 4;

/// The server's buckets, a key and a region.
#[derive(Clone)]
pub(crate) struct Objects {
    http: reqwest::Client,
    endpoint: url::Url,
    secret_id: String,
    secret_key: String,
    region: String,
    app_id: u64,
}

/// An object by its bucket and key.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Place {
    /// The URL that an import reads it by.
    pub(crate) fn import_url(&self) -> String {
        format!("s3:/{}", self.path())
    }

    fn path(&self) -> String {
        let segments: Vec<String> = self.key.split('/').map(encode).collect();
        format!("/{}/{}", self.bucket, segments.join("/"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

/// What a listing tells of an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) last_modified: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ObjectListing {
    #[serde(default)]
    contents: Vec<Listed>,
    next_continuation_token: Option<String>,
}

/// A version of an object.
pub(crate) struct Version {
    pub(crate) etag: String,
    pub(crate) size_bytes: u64,
    /// The CRC-64 (ECMA-182, reflected) of its bytes.
    pub(crate) crc64: Option<u64>,
}

/// What a listing tells of a bucket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListedBucket {
    pub(crate) name: String,
    pub(crate) bucket_region: Option<String>,
    pub(crate) creation_date: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketList {
    #[serde(default)]
    bucket: Vec<ListedBucket>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketListing {
    #[serde(default)]
    buckets: BucketList,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadId {
    key: String,
    upload_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadListing {
    #[serde(default)]
    upload: Vec<UploadId>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPart {
    part_number: u64,
    e_tag: String,
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartListing {
    #[serde(default)]
    part: Vec<StoredPart>,
    is_truncated: bool,
    next_part_number_marker: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    code: String,
    #[serde(default)]
    message: String,
}

impl Objects {
    /// Asks the server where its buckets are, unless `endpoint` says it.
    pub(crate) async fn find(client: &Client, endpoint: Option<&str>) -> Result<Self, Error> {
        let storage = client.kiln("DescribeObjectStorage", &json!({})).await?;
        let endpoint = match endpoint {
            Some(endpoint) => endpoint.to_owned(),
            None => {
                let address = storage["Address"].as_str().ok_or("the server serves no buckets")?;
                format!("{}://{address}", storage["Scheme"].as_str().unwrap_or("http"))
            }
        };
        let (secret_id, secret_key) = client.key();
        Ok(Self {
            http: client.http().clone(),
            endpoint: endpoint.parse().map_err(|error| format!("objects endpoint {endpoint:?}: {error}"))?,
            secret_id: secret_id.to_owned(),
            secret_key: secret_key.to_owned(),
            region: client.region().to_owned(),
            app_id: storage["AppId"].as_u64().unwrap_or_default(),
        })
    }

    /// A bucket's whole name: with the account's number, where it was left out.
    pub(crate) fn bucket_name(&self, name: &str) -> Result<String, Error> {
        let appended = format!("{name}-{}", self.app_id);
        let whole = name.parse::<BucketName>().or_else(|_| appended.parse());
        Ok(whole.map_err(|error: ParseIdError| error.to_string())?.to_string())
    }

    /// An object from `bucket/key`.
    pub(crate) fn place(&self, text: &str) -> Result<Place, Error> {
        match text.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Place { bucket: self.bucket_name(bucket)?, key: key.to_owned() })
            }
            _ => Err(format!("{text:?}: name an object as BUCKET/KEY").into()),
        }
    }

    pub(crate) async fn create_bucket(&self, name: &str) -> Result<(), Error> {
        let region = &self.region;
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        );
        self.call(Method::PUT, &format!("/{name}"), "", &[], body.into_bytes()).await.map(drop)
    }

    pub(crate) async fn delete_bucket(&self, name: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("/{name}"), "", &[], Vec::new()).await.map(drop)
    }

    pub(crate) async fn buckets(&self) -> Result<Vec<ListedBucket>, Error> {
        let listing: BucketListing = self.read(Method::GET, "/", "", Vec::new()).await?;
        Ok(listing.buckets.bucket)
    }

    pub(crate) async fn objects(&self, bucket: &str, prefix: &str) -> Result<Vec<Listed>, Error> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let after = if token.is_empty() { String::new() } else { format!("&continuation-token={token}") };
            let query = format!("list-type=2&prefix={}{after}", encode(prefix));
            let page: ObjectListing =
                self.read(Method::GET, &format!("/{bucket}"), &query, Vec::new()).await?;
            all.extend(page.contents);
            match page.next_continuation_token.filter(|next| !next.is_empty()) {
                Some(next) => token = next,
                None => return Ok(all),
            }
        }
    }

    pub(crate) async fn get(&self, place: &Place) -> Result<Response, Error> {
        self.call(Method::GET, &place.path(), "", &[], Vec::new()).await
    }

    /// The version of an object that there is.
    pub(crate) async fn head(&self, place: &Place) -> Result<Version, Error> {
        let answer = self.call(Method::HEAD, &place.path(), "", &[], Vec::new()).await?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("etag").unwrap_or_default().trim_matches('"').to_owned();
        let size_bytes = header("content-length").and_then(|length| length.parse().ok());
        let crc64 = header(CRC64).and_then(|crc64| crc64.parse().ok());
        Ok(Version { etag, size_bytes: size_bytes.ok_or("the answer says no length")?, crc64 })
    }

    /// The bytes of a version of an object, from a position on.
    pub(crate) async fn get_from(&self, place: &Place, etag: &str, position: u64) -> Result<Response, Error> {
        let (range, etag) = (format!("bytes={position}-"), format!("\"{etag}\""));
        self.call(Method::GET, &place.path(), "", &[("if-match", &etag), ("range", &range)], Vec::new()).await
    }

    pub(crate) async fn delete(&self, place: &Place) -> Result<(), Error> {
        self.call(Method::DELETE, &place.path(), "", &[], Vec::new()).await.map(drop)
    }

    /// A URL with which anybody can do `method` to the object for so many seconds.
    pub(crate) fn presign(&self, place: &Place, method: &str, seconds: i64) -> String {
        let query = self.signer().presign(method, &self.host(), &place.path(), seconds);
        format!("{}{}?{query}", self.endpoint.as_str().trim_end_matches('/'), place.path())
    }

    /// Whether an object is a copy of a file.
    pub(crate) async fn has_file(&self, file: &Path, place: &Place) -> Result<bool, Error> {
        let listed = self.objects(&place.bucket, &place.key).await?;
        if !listed.iter().any(|found| found.key == place.key) {
            return Ok(false);
        }
        let crc64 = self.head(place).await?.crc64;
        let path = file.to_owned();
        let own = tokio::task::spawn_blocking(move || crc64_of(&path)).await?;
        Ok(crc64 == Some(own.map_err(|error| format!("{}: {error}", file.display()))?))
    }

    /// Uploads a file, with a bar. Parts that an earlier upload of the same file left are not sent again.
    pub(crate) async fn put_file(&self, file: &Path, place: &Place) -> Result<(), Error> {
        let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let size = opened.metadata()?.len();
        let bar = byte_bar("upload", size);
        if size <= PART_BYTES {
            let body = read_part(&opened, 0, size)?;
            // The server is to refuse what arrives damaged: it would be the object already.
            let md5 = STANDARD.encode(Md5::digest(&body));
            self.call(Method::PUT, &place.path(), "", &[("content-md5", &md5)], body).await?;
        } else {
            self.put_parts(Arc::new(opened), size, place, &bar).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn put_parts(
        &self,
        file: Arc<File>,
        size: u64,
        place: &Place,
        bar: &ProgressBar,
    ) -> Result<(), Error> {
        let part_bytes = PART_BYTES.max(size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20));
        let (upload, stored) = self.begin_or_resume(place).await?;
        let mut etags = vec![String::new(); usize::try_from(size.div_ceil(part_bytes))?];
        let mut sending: JoinSet<Result<(usize, u64, String), Error>> = JoinSet::new();
        for index in 0..etags.len() {
            if sending.len() == PARALLEL_PARTS {
                sent(&mut sending, &mut etags, bar).await?;
            }
            let start = index as u64 * part_bytes;
            let len = part_bytes.min(size - start);
            let there = stored.iter().find(|part| part.part_number == index as u64 + 1 && part.size == len);
            let there = there.map(|part| part.e_tag.trim_matches('"').to_owned());
            let (objects, file) = (self.clone(), Arc::clone(&file));
            let (path, query) =
                (place.path(), format!("partNumber={}&uploadId={}", index + 1, encode(&upload)));
            sending.spawn(async move {
                let etag = objects.put_part(&file, (start, len), there, &path, &query).await?;
                Ok((index, len, etag))
            });
        }
        while !sending.is_empty() {
            sent(&mut sending, &mut etags, bar).await?;
        }
        let parts: String = etags
            .iter()
            .enumerate()
            .map(|(index, etag)| {
                format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", index + 1)
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let query = format!("uploadId={}", encode(&upload));
        self.call(Method::POST, &place.path(), &query, &[], body.into_bytes()).await.map(drop)
    }

    /// The upload of that key that did not end, with its parts, or a new one.
    async fn begin_or_resume(&self, place: &Place) -> Result<(String, Vec<StoredPart>), Error> {
        let query = format!("uploads&prefix={}", encode(&place.key));
        let listing: UploadListing =
            self.read(Method::GET, &format!("/{}", place.bucket), &query, Vec::new()).await?;
        let Some(found) = listing.upload.into_iter().find(|upload| upload.key == place.key) else {
            let begun: UploadId = self.read(Method::POST, &place.path(), "uploads", Vec::new()).await?;
            return Ok((begun.upload_id, Vec::new()));
        };
        let mut parts = Vec::new();
        let mut marker = 0;
        loop {
            let query = format!("part-number-marker={marker}&uploadId={}", encode(&found.upload_id));
            let page: PartListing = self.read(Method::GET, &place.path(), &query, Vec::new()).await?;
            parts.extend(page.part);
            if !page.is_truncated {
                return Ok((found.upload_id, parts));
            }
            marker = page.next_part_number_marker;
        }
    }

    /// Sends a part unless it is there already; its ETag.
    async fn put_part(
        &self,
        file: &Arc<File>,
        (start, len): (u64, u64),
        there: Option<String>,
        path: &str,
        query: &str,
    ) -> Result<String, Error> {
        let reading = Arc::clone(file);
        let read = tokio::task::spawn_blocking(move || {
            let body = Bytes::from(read_part(&reading, start, len)?);
            let crc64 = crc_fast::checksum(Crc64Xz, &body);
            Ok::<_, std::io::Error>((body, Part::crc64_etag(crc64, len)))
        });
        let (body, etag) = read.await??;
        if there.is_some_and(|there| there == etag) {
            return Ok(etag);
        }
        let mut attempt = 1;
        loop {
            match self.send(path, query, body.clone(), &etag).await {
                Ok(()) => return Ok(etag),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1 << attempt)).await,
            }
            attempt += 1;
        }
    }

    /// Puts a part, and holds the ETag of what arrived, made of its CRC, against that of what was sent.
    async fn send(&self, path: &str, query: &str, body: Bytes, etag: &str) -> Result<(), Error> {
        let answer = self.call(Method::PUT, path, query, &[CRC64_ETAG], body).await?;
        let arrived = answer.headers().get("etag").and_then(|value| value.to_str().ok());
        if arrived.map(|arrived| arrived.trim_matches('"')) == Some(etag) {
            Ok(())
        } else {
            Err("what arrived is not what was sent; try again".into())
        }
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Vec<u8>,
    ) -> Result<T, Error> {
        let answer = self.call(method, path, query, &[], body).await?.text().await?;
        Ok(quick_xml::de::from_str(&answer)
            .map_err(|error| format!("the answer is not understood: {error}"))?)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Response, Error> {
        let host = self.host();
        let mut covered = vec![("host", host.as_str())];
        covered.extend(headers);
        let signed = Request { method: method.as_str(), path, query, headers: &covered };
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url.set_query((!query.is_empty()).then_some(query));
        let mut request = self.http.request(method.clone(), url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.signer().sign(&signed, UNSIGNED_PAYLOAD) {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(|error| {
            format!(
                "the server's buckets at {} do not answer ({}). Is `kiln serve` running?",
                self.endpoint,
                causes(&error)
            )
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        match quick_xml::de::from_str::<Refused>(&text) {
            Ok(refused) => Err(format!("{}: {}", refused.code, refused.message).into()),
            Err(_) => Err(format!("the server answers {status}").into()),
        }
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            secret_id: &self.secret_id,
            secret_key: &self.secret_key,
            region: &self.region,
            now: Timestamp::now().0.div_euclid(1000),
        }
    }

    fn host(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

fn crc64_of(file: &Path) -> std::io::Result<u64> {
    let (mut file, mut sum) = (File::open(file)?, crc_fast::Digest::new(Crc64Xz));
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.finalize()),
            len => sum.update(&piece[..len]),
        }
    }
}

fn read_part(file: &File, start: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; usize::try_from(len).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut body, start)?;
    Ok(body)
}

/// Waits for one of the parts that are under way.
async fn sent(
    sending: &mut JoinSet<Result<(usize, u64, String), Error>>,
    etags: &mut [String],
    bar: &ProgressBar,
) -> Result<(), Error> {
    if let Some(done) = sending.join_next().await {
        let (index, len, etag) = done??;
        etags[index] = etag;
        bar.inc(len);
    }
    Ok(())
}
