//! Uploads of files: in parts, parallel, resumed where an earlier one stopped.

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
use kiln_model::Part;
use kiln_object_api::CRC64_ETAG;
use kiln_object_signature::encode;
use md5::{Digest, Md5};
use reqwest::Method;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::client::Error;
use crate::objects::{Objects, Place};
use crate::progress::byte_bar;

/// The bytes of a part, unless there would be too many parts.
const PART_BYTES: u64 = 16 << 20;
/// The parts that an upload is cut into at most; the server takes 10,000.
const MAX_PARTS: u64 = 9_000;
/// Parts that are sent at the same time: while some become durable, others are on their way.
const PARALLEL_PARTS: usize = 6;
/// How often a part is sent before the upload is given up.
const ATTEMPTS: u32 = 4;

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

impl Objects {
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
        // An MD5 would take both sides longer than all the rest.
        let answer = self.call(Method::PUT, path, query, &[CRC64_ETAG], body).await?;
        let arrived = answer.headers().get("etag").and_then(|value| value.to_str().ok());
        if arrived.map(|arrived| arrived.trim_matches('"')) == Some(etag) {
            Ok(())
        } else {
            Err("what arrived is not what was sent; try again".into())
        }
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
