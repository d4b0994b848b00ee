//! Signed calls to the server's buckets. Uploads are in `upload`, downloads in `download`.

use kiln_model::{BucketName, ParseIdError, Timestamp};
use kiln_object_signature::v4::{Signer, UNSIGNED_PAYLOAD};
use kiln_object_signature::{Request, encode};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::json;

use crate::client::{Client, Error, causes};

/// Where the server says the CRC-64 (ECMA-182, reflected) of what it has.
const CRC64: &str = "x-cos-hash-crc64ecma";

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

    pub(crate) fn path(&self) -> String {
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
            // What an address means by them is not the key.
            Some((_, key)) if key.split('/').any(|segment| matches!(segment, "." | "..")) => {
                Err(format!("{text:?}: a key cannot have `.` or `..` between its slashes").into())
            }
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
        let answer = match self.call(Method::HEAD, &place.path(), "", &[], Vec::new()).await {
            Ok(answer) => answer,
            // That answer has no words; this one does.
            Err(error) => {
                let asked =
                    self.call(Method::GET, &place.path(), "", &[("range", "bytes=0-0")], Vec::new()).await;
                return Err(asked.err().unwrap_or(error));
            }
        };
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("etag").unwrap_or_default().trim_matches('"').to_owned();
        let size_bytes = header("content-length").and_then(|length| length.parse().ok());
        let size_bytes = size_bytes.ok_or("the answer says no length")?;
        Ok(Version { crc64: crc64_of_answer(&answer), etag, size_bytes })
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

    pub(crate) async fn read<T: serde::de::DeserializeOwned>(
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

    pub(crate) async fn call(
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

/// The CRC-64 (ECMA-182, reflected) that an answer says its object has.
pub(crate) fn crc64_of_answer(answer: &Response) -> Option<u64> {
    answer.headers().get(CRC64)?.to_str().ok()?.parse().ok()
}
