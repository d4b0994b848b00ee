//! Reading image catalogues in the simplestreams format: an index that names product files, which name files by path
//! and SHA-256.
//!
//! Source: the format's documentation in the project simplestreams (lp:simplestreams), and the catalogues that Ubuntu
//! and Linux Containers publish. A catalogue is a stranger's text: documents and lists have limits, and a path leads
//! nowhere but below the catalogue's own address. Deliberately absent: the signed forms of the documents (`.sjson`).
//! A catalogue is as good as the connection that it came over, so that has to be HTTPS.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use url::{Host, Url};

use crate::client::Error;

/// Where an index is below a catalogue's address.
const INDEX: &str = "streams/v1/index.json";
/// The longest document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// The most product files that are read of one catalogue.
const MAX_PRODUCT_FILES: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Kinds of files that hold a whole disk, the most wanted first, by the format's own words (`ftype`, or an item's name).
const DISKS: [&str; 4] = ["disk1.img", "disk-kvm.img", "disk.qcow2", "qcow2"];

/// An image that a catalogue offers, in its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The system, such as `ubuntu`.
    pub(crate) os: String,
    /// Its code name, such as `noble`.
    pub(crate) release: String,
    /// Its number, such as `24.04`, where the catalogue says one.
    pub(crate) number: Option<String>,
    /// Other names of the release.
    pub(crate) aliases: Vec<String>,
    /// What it is compiled for, such as `amd64`.
    pub(crate) arch: String,
    /// Which of several of its kind; often empty.
    pub(crate) variant: String,
    /// Which version, such as `20240423`: a later one is greater.
    pub(crate) serial: String,
    /// Where the file is.
    pub(crate) url: Url,
    /// The file's SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    /// The file's size in bytes, where the catalogue says it.
    pub(crate) size_bytes: Option<u64>,
}

impl Offer {
    /// Whether a word means the offer's release.
    pub(crate) fn is_of_release(&self, word: &str) -> bool {
        let names = [Some(&self.release), self.number.as_ref()].into_iter().flatten().chain(&self.aliases);
        names.into_iter().any(|name| name.eq_ignore_ascii_case(word))
    }

    /// The family that its versions form.
    pub(crate) fn family(&self) -> String {
        let number = self.number.as_deref().unwrap_or(&self.release);
        let parts = [self.os.as_str(), number, &self.variant];
        let family = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
        let family = if self.arch == "amd64" { family } else { format!("{family}-{}", self.arch) };
        let plain = |c: char| if c.is_alphanumeric() || "._-/".contains(c) { c } else { '-' };
        family.chars().map(plain).flat_map(char::to_lowercase).collect()
    }

    /// The name of this version.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.family(), self.serial)
    }
}

#[derive(Deserialize)]
struct Index {
    index: BTreeMap<String, IndexEntry>,
}

#[derive(Deserialize)]
struct IndexEntry {
    #[serde(default)]
    datatype: String,
    #[serde(default)]
    format: String,
    path: String,
}

#[derive(Deserialize)]
struct Products {
    products: BTreeMap<String, Product>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(default)]
    arch: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    release: String,
    version: Option<String>,
    #[serde(default)]
    aliases: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    items: BTreeMap<String, Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    ftype: String,
    #[serde(default)]
    path: String,
    sha256: Option<String>,
    size: Option<u64>,
}

/// Reads a catalogue: the newest version of each of its images.
///
/// # Errors
/// Where it cannot be read, is none, or came over plain HTTP from another machine and nobody said that this is wanted.
pub(crate) async fn read(address: &str, insecure: bool) -> Result<Vec<Offer>, Error> {
    let base = base_of(address, insecure)?;
    // No redirect leads from HTTPS to where others could change what is read.
    let only_https = base.scheme() == "https";
    let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).https_only(only_https).build()?;
    let index: Index = document(&http, below(&base, INDEX)?).await?;
    let files = index.index.into_values();
    let files = files.filter(|entry| entry.datatype == "image-downloads" && entry.format == "products:1.0");
    let mut offers = Vec::new();
    for entry in files.take(MAX_PRODUCT_FILES) {
        let products: Products = document(&http, below(&base, &entry.path)?).await?;
        for product in products.products.into_values() {
            offers.extend(newest(&base, product)?);
        }
    }
    if offers.is_empty() {
        return Err(format!("the catalogue at {base} offers no disk images with a SHA-256").into());
    }
    Ok(offers)
}

/// The address that a catalogue's paths are relative to, with a slash at its end.
fn base_of(address: &str, insecure: bool) -> Result<Url, Error> {
    let root = address.split_once("/streams/v1/").map_or(address, |(root, _)| root);
    let text = format!("{}/", root.trim_end_matches('/'));
    let base: Url = text.parse().map_err(|error| format!("{address:?}: {error}"))?;
    let is_local = match base.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match base.scheme() {
        "https" => Ok(base),
        "http" if is_local || insecure => Ok(base),
        "http" => Err(format!(
            "{address}: over plain HTTP, whoever is on the way decides what is in the images. Use https, or say \
             --insecure"
        )
        .into()),
        _ => Err(format!("{address}: a catalogue is read over https").into()),
    }
}

/// What a path of the catalogue means: a place below its address.
fn below(base: &Url, path: &str) -> Result<Url, Error> {
    let url = base.join(path).map_err(|error| format!("the catalogue's path {path:?}: {error}"))?;
    let stays = url.origin() == base.origin() && url.path().starts_with(base.path());
    if stays { Ok(url) } else { Err(format!("the catalogue's path {path:?} leads out of {base}").into()) }
}

async fn document<T: serde::de::DeserializeOwned>(http: &reqwest::Client, url: Url) -> Result<T, Error> {
    let answer = http.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
    let mut answer = answer.map_err(|error| format!("the catalogue: {error}"))?;
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| format!("{url}: {error}"))? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(format!("{url} is longer than {MAX_DOCUMENT_BYTES} bytes").into());
        }
    }
    Ok(serde_json::from_slice(&text)
        .map_err(|error| format!("{url} is no simplestreams document: {error}"))?)
}

/// A product's newest version that has a disk.
fn newest(base: &Url, product: Product) -> Result<Option<Offer>, Error> {
    for (serial, version) in product.versions.into_iter().rev() {
        let Some((path, sha256, size_bytes)) = disk(version) else { continue };
        return Ok(Some(Offer {
            os: product.os,
            release: product.release,
            number: product.version,
            aliases: product.aliases.split(',').map(|alias| alias.trim().to_owned()).collect(),
            arch: product.arch,
            variant: product.variant,
            serial,
            url: below(base, &path)?,
            sha256,
            size_bytes,
        }));
    }
    Ok(None)
}

/// Path, SHA-256 and size of the item that holds a whole disk, where there is one.
fn disk(version: Version) -> Option<(String, String, Option<u64>)> {
    let rank = |name: &str, item: &Item| DISKS.iter().position(|kind| item.ftype == *kind || name == *kind);
    let usable = version.items.into_iter().filter_map(|(name, item)| {
        let rank = rank(&name, &item)?;
        Some((rank, (item.path, item.sha256?, item.size)))
    });
    usable.min_by_key(|(rank, _)| *rank).map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        base_of("https://images.example/releases", false).expect("a catalogue's address")
    }

    #[test]
    fn a_catalogue_comes_over_https_or_from_this_machine() {
        for good in
            ["https://a.example/x/", "http://127.0.0.1:8080", "http://localhost/streams/v1/index.json"]
        {
            assert!(base_of(good, false).is_ok_and(|base| base.path().ends_with('/')), "{good}");
        }
        for bad in ["http://a.example/", "ftp://a.example/", "file:///x", "x"] {
            assert!(base_of(bad, false).is_err(), "{bad}");
        }
        assert!(base_of("http://a.example/", true).is_ok());
    }

    #[test]
    fn paths_stay_below_the_catalogue() {
        assert_eq!(
            below(&base(), "a/b.img").expect("below").as_str(),
            "https://images.example/releases/a/b.img"
        );
        for out in
            ["../b.img", "/b.img", "https://other.example/releases/b.img", "//other.example/releases/b"]
        {
            assert!(below(&base(), out).is_err(), "{out}");
        }
    }

    #[test]
    fn the_newest_version_with_a_disk_and_a_digest_is_offered() {
        let text = r#"{
            "os": "ubuntu", "release": "noble", "version": "24.04", "arch": "amd64", "aliases": "24.04,n",
            "versions": {
                "20240101": {"items": {"disk1.img": {"ftype": "disk1.img", "path": "old.img", "sha256": "aa"}}},
                "20240423": {"items": {
                    "disk-kvm.img": {"ftype": "disk-kvm.img", "path": "kvm.img", "sha256": "bb", "size": 2},
                    "disk1.img": {"ftype": "disk1.img", "path": "new.img", "sha256": "cc", "size": 3}
                }},
                "20240501": {"items": {
                    "disk1.img": {"ftype": "disk1.img", "path": "undigested.img"},
                    "root.tar.xz": {"ftype": "root.tar.xz", "path": "root.tar.xz", "sha256": "dd"}
                }}
            }
        }"#;
        let product: Product = serde_json::from_str(text).expect("a product");
        let offer = newest(&base(), product).expect("paths stay").expect("an offer");
        assert_eq!(
            (offer.serial.as_str(), offer.sha256.as_str(), offer.size_bytes),
            ("20240423", "cc", Some(3))
        );
        assert_eq!(
            (offer.family().as_str(), offer.name().as_str()),
            ("ubuntu-24.04", "ubuntu-24.04-20240423")
        );
        assert!(offer.is_of_release("Noble") && offer.is_of_release("24.04") && !offer.is_of_release("24"));
    }
}
