//! URLs of Kiln's own objects, which imports read in place.
//!
//! Own are `s3://bucket/key`, `https://<bucket>.cos.<region>.<domain>/<key>` (or `s3`) and the same with the bucket in
//! the path, where the bucket is one of Kiln's; and whatever is at the address where Kiln serves objects: under any name,
//! again where the bucket is one of Kiln's. An object is given to its bucket's owner, or to whoever has a URL that a key
//! of the owner signed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kiln_model::{ApiKey, Bucket, BucketName, SecretId, Timestamp};
use kiln_object_signature::{Request, cos, decode, encode, parameters, v4};
use url::{Host, Url};

use super::names_of_host;
use crate::{Caller, Refusal, Service};

const SCHEME: &str = "s3";
/// What a URL of an object can ask for besides its content.
const SUBRESOURCES: [&str; 8] =
    ["acl", "attributes", "legal-hold", "retention", "tagging", "torrent", "uploadId", "uploads"];

/// An object that somebody was allowed to read: what tasks keep in the place of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptObject {
    pub(crate) bucket: BucketName,
    pub(crate) key: String,
}

impl KeptObject {
    /// Its form in a task: no signature is kept.
    pub(crate) fn to_url(&self) -> String {
        let key: Vec<_> = self.key.split('/').map(encode).collect();
        format!("{SCHEME}://{}/{}", self.bucket, key.join("/"))
    }

    /// What a task keeps, if it is an object.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix(SCHEME)?.strip_prefix("://")?;
        let (bucket, key) = rest.split_once('/')?;
        Some(Self { bucket: bucket.parse().ok()?, key: decode(key) })
    }
}

/// The object that a URL names, where it is one of Kiln's own and the caller may read it.
pub(crate) async fn own_object(
    service: &Service,
    caller: &Caller,
    text: &str,
) -> Result<Option<KeptObject>, Refusal> {
    let Ok(url) = Url::parse(text) else { return Ok(None) };
    let Some(named) = named_object(service, &url) else { return Ok(None) };
    let mut tx = service.catalog.read().await?;
    // In an s3:// URL the account's own number may be left out.
    let whole = format!("{}-{}", named.bucket, caller.account.app_id);
    let is_short = url.scheme() == SCHEME && named.bucket.parse::<BucketName>().is_err();
    let name = if is_short { whole.parse() } else { named.bucket.parse() };
    let bucket = match name {
        Ok(name) => tx.bucket(&name).await?,
        Err(_) => None,
    };
    let Some(bucket) = bucket else {
        // Another object storage may have a bucket of that name; the address is then what decides.
        return if named.here { Err(no_object(&named)) } else { Ok(None) };
    };
    if bucket.owner != caller.account.uin && !is_presigned(service, &url, &bucket, &named).await? {
        return Err(Refusal::denied(
            "UnauthorizedOperation.ImportImage",
            format!(
                "ImageUrl: bucket {} is another account's. Ask its owner for a presigned URL of the object.",
                bucket.name
            ),
        ));
    }
    if tx.object(&bucket.name, &named.key).await?.is_none() {
        return Err(no_object(&named));
    }
    Ok(Some(KeptObject { bucket: bucket.name, key: named.key }))
}

fn no_object(named: &NamedObject) -> Refusal {
    Refusal::invalid(
        "InvalidParameter.InvalidParameterUrlError",
        format!(
            "ImageUrl: there is no object {:?} in a bucket {:?} here. Check both.",
            named.key, named.bucket
        ),
    )
}

/// What a URL names as an object.
struct NamedObject {
    bucket: String,
    key: String,
    /// Whether it can be nowhere else.
    here: bool,
    /// Whether the bucket stands in the path.
    in_path: bool,
}

fn named_object(service: &Service, url: &Url) -> Option<NamedObject> {
    let host = url.host_str()?;
    let path = url.path().strip_prefix('/')?;
    if url.scheme() == SCHEME {
        return Some(NamedObject { bucket: host.to_owned(), key: decode(path), here: true, in_path: false });
    }
    let names = names_of_host(host);
    if let Some(bucket) = names.bucket {
        return Some(NamedObject {
            bucket: bucket.to_owned(),
            key: decode(path),
            here: false,
            in_path: false,
        });
    }
    let listens = service.config.objects.address.and_then(|address| listens_there(url, address));
    if listens.is_some() || names.region.is_some() {
        let (bucket, key) = path.split_once('/')?;
        let here = listens == Some(Listens::Surely);
        return Some(NamedObject { bucket: decode(bucket), key: decode(key), here, in_path: true });
    }
    None
}

/// Whether Kiln's objects are at a URL's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listens {
    Surely,
    /// Where clients come from elsewhere, they use names that only the port can be told by.
    Perhaps,
}

fn listens_there(url: &Url, address: SocketAddr) -> Option<Listens> {
    if !matches!(url.scheme(), "http" | "https") || url.port_or_known_default() != Some(address.port()) {
        return None;
    }
    let ip = match url.host()? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        Host::Domain(_) => None,
    };
    let (own, is_loopback) = (address.ip(), ip.is_some_and(|ip| ip.is_loopback()));
    if ip == Some(own) || is_loopback && (own.is_loopback() || own.is_unspecified()) {
        return Some(Listens::Surely);
    }
    (!own.is_loopback()).then_some(Listens::Perhaps)
}

/// Whether the URL is signed, now and for reading, by an enabled key of the bucket's owner.
async fn is_presigned(
    service: &Service,
    url: &Url,
    bucket: &Bucket,
    named: &NamedObject,
) -> Result<bool, Refusal> {
    let asked = parameters(url.query().unwrap_or_default());
    if asked.iter().any(|(name, _)| SUBRESOURCES.iter().any(|other| other.eq_ignore_ascii_case(name))) {
        return Ok(false);
    }
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let headers = [("host", host.as_str())];
    let request = Request {
        method: "GET",
        path: url.path(),
        query: url.query().unwrap_or_default(),
        headers: &headers,
    };
    let now = Timestamp::now().0.div_euclid(1000);
    if let Some(Ok(signature)) = v4::Presigned::find(&request) {
        let key = owners_key(service, &signature.secret_id, bucket).await?;
        return Ok(key.is_some_and(|key| signature.verify(&request, &key.secret_key, now).is_ok()));
    }
    if let Some(Ok(signature)) = cos::Signature::find(&request) {
        // Where the host says the bucket and is not signed, the signature would be good for every bucket.
        if !named.in_path && !signature.covers_header("host") {
            return Ok(false);
        }
        let key = owners_key(service, &signature.secret_id, bucket).await?;
        let in_path = named.in_path.then_some(named.bucket.as_str());
        return Ok(key.is_some_and(|key| signature.verify(&request, in_path, &key.secret_key, now).is_ok()));
    }
    Ok(false)
}

async fn owners_key(service: &Service, secret_id: &str, bucket: &Bucket) -> Result<Option<ApiKey>, Refusal> {
    let found = service.api_key(&SecretId::from_trusted(secret_id)).await?;
    Ok(found
        .filter(|holder| holder.key.enabled && holder.account.uin == bucket.owner)
        .map(|holder| holder.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_object_comes_back_from_its_url() {
        for key in ["disk.qcow2", "a b/ü?#%25/c+d"] {
            let kept =
                KeptObject { bucket: BucketName::from_trusted("images-1250000000"), key: key.to_owned() };
            assert_eq!(KeptObject::parse(&kept.to_url()), Some(kept));
        }
        assert_eq!(KeptObject::parse("https://example.org/a"), None);
    }

    #[test]
    fn an_address_is_known_by_its_host_and_port() {
        let check = |url: &str, address: &str, expected| {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(listens_there(&url, address.parse().expect("an address")), expected, "{url}");
        };
        check("http://127.0.0.1:5457/b/k", "127.0.0.1:5457", Some(Listens::Surely));
        check("https://localhost:5457/b/k", "127.0.0.1:5457", Some(Listens::Surely));
        check("http://[::1]:5457/b/k", "[::1]:5457", Some(Listens::Surely));
        check("http://127.0.0.1:5458/b/k", "127.0.0.1:5457", None);
        check("https://kiln.example.org:5457/b/k", "127.0.0.1:5457", None);
        check("https://kiln.example.org:5457/b/k", "0.0.0.0:5457", Some(Listens::Perhaps));
        check("https://kiln.example.org/b/k", "192.0.2.7:443", Some(Listens::Perhaps));
        check("https://192.0.2.7/b/k", "192.0.2.7:443", Some(Listens::Surely));
        check("http://kiln.example.org/b/k", "192.0.2.7:443", None);
        check("https://localhost/b/k", "0.0.0.0:443", Some(Listens::Surely));
        check("ftp://127.0.0.1:5457/b/k", "127.0.0.1:5457", None);
    }
}
