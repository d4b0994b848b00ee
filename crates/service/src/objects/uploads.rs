//! Uploads in parts: begun, given parts in any order and at once, completed without copying a byte, or aborted.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use kiln_catalog::Tx;
use kiln_model::{Object, ObjectDescription, ObjectId, Part, Timestamp, Upload, UploadId};
use md5::{Digest, Md5};

use super::files::CRC64;
use super::put::{check_md5, replace, subject};
use super::{
    MAX_OBJECT_BYTES, MAX_PARTS, MAX_UPLOADS, MIN_PART_BYTES, body, bucket_to_change, bucket_to_read,
    check_description, check_key, check_room, too_large,
};
use crate::{Caller, PutCondition, Refusal, Service, actions};

/// The most uploads that a page holds.
const MAX_PAGE: u64 = 1_000;

/// A part that is put.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct PutPart {
    pub bucket: String,
    pub key: String,
    pub upload: String,
    pub number: u32,
    /// How long the body says it is.
    pub size_bytes: Option<u64>,
    /// The MD5 that the sender says it has, in hexadecimal digits.
    pub md5: Option<String>,
    /// What the sender wants the part to be told apart by; its MD5 where one is given.
    pub etag: PartEtag,
}

/// What a part's ETag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartEtag {
    /// The MD5 of its bytes, as S3 has it.
    Md5,
    /// [`Part::crc64_etag`], which costs next to nothing.
    Crc64,
}

/// A part as the completer of an upload names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CompletedPart {
    pub number: u32,
    pub etag: String,
}

/// A page of a bucket's uploads.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct UploadPage {
    pub uploads: Vec<Upload>,
    pub truncated: bool,
    pub limit: u64,
}

impl Service {
    /// Begins an upload.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn create_upload(
        &self,
        caller: &Caller,
        bucket: &str,
        key: &str,
        description: ObjectDescription,
    ) -> Result<Upload, Refusal> {
        check_key(key)?;
        check_description(&description)?;
        let mut tx = self.catalog.write().await?;
        let bucket = bucket_to_change(&mut tx, caller, bucket).await?;
        let uploads = tx.count_uploads(&bucket.name).await?;
        if uploads >= MAX_UPLOADS {
            return Err(Refusal::quota(
                "QuotaExceeded",
                format!(
                    "Bucket {} has {uploads} unfinished uploads, which is the limit. Abort some.",
                    bucket.name
                ),
            ));
        }
        let upload = Upload {
            id: UploadId::random(),
            bucket: bucket.name,
            key: key.to_owned(),
            description,
            created_at: Timestamp::now(),
        };
        tx.insert_upload(&upload).await?;
        tx.commit().await?;
        Ok(upload)
    }

    /// Stores a part of an upload; one of the same number is replaced.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn put_part(
        &self,
        caller: &Caller,
        request: PutPart,
        body: impl Stream<Item = Result<Bytes, Refusal>> + Unpin,
    ) -> Result<Part, Refusal> {
        if !(1..=MAX_PARTS).contains(&request.number) {
            return Err(Refusal::invalid(
                "InvalidArgument",
                format!("The part's number is {}; it must be between 1 and {MAX_PARTS}.", request.number),
            ));
        }
        body::check_size(request.size_bytes)?;
        let mut tx = self.catalog.read().await?;
        let bucket = bucket_to_change(&mut tx, caller, &request.bucket).await?;
        own_upload(&mut tx, &request.bucket, &request.key, &request.upload).await?;
        let mut room = self.room(&mut tx, caller, request.size_bytes).await?;
        drop(tx);
        let files = self.object_files(&bucket.region)?;
        let announced = request.size_bytes;
        let etag = if request.md5.is_some() { PartEtag::Md5 } else { request.etag };
        let stored =
            body::store(Arc::clone(&files), request.number, etag, announced, &mut room, body).await?;
        check_md5(request.md5.as_deref(), &stored.part)?;
        drop(room);
        let mut tx = self.catalog.write().await?;
        bucket_to_change(&mut tx, caller, &request.bucket).await?;
        let upload = own_upload(&mut tx, &request.bucket, &request.key, &request.upload).await?;
        let replaced = tx.put_upload_part(&upload, &stored.part).await?;
        check_room(&mut tx, self, caller, 0, 0).await?;
        let part = stored.keep();
        if let Err(error) = tx.commit().await {
            files.discard(vec![part]);
            return Err(error.into());
        }
        files.discard(replaced.into_iter().collect());
        Ok(part)
    }

    /// The parts that an upload has.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn upload_parts(
        &self,
        caller: &Caller,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<Vec<Part>, Refusal> {
        let mut tx = self.catalog.read().await?;
        bucket_to_read(&mut tx, caller, bucket).await?;
        let upload = own_upload(&mut tx, bucket, key, upload).await?;
        Ok(tx.parts_of_upload(&upload.id).await?)
    }

    /// A page of a bucket's uploads after one (a key and an identifier).
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn uploads(
        &self,
        caller: &Caller,
        bucket: &str,
        after: (&str, &str),
        limit: Option<u64>,
    ) -> Result<UploadPage, Refusal> {
        let limit = limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut tx = self.catalog.read().await?;
        let bucket = bucket_to_read(&mut tx, caller, bucket).await?;
        let mut uploads = tx.uploads_of_bucket(&bucket.name, after, limit + 1).await?;
        let truncated = uploads.len() as u64 > limit;
        uploads.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(UploadPage { uploads, truncated, limit })
    }

    /// Makes the object of an upload: its parts' files become the object's.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn complete_upload(
        &self,
        caller: &Caller,
        (bucket, key, upload): (&str, &str, &str),
        named: &[CompletedPart],
        condition: &PutCondition,
    ) -> Result<Object, Refusal> {
        let in_order = named.windows(2).all(|pair| pair[0].number < pair[1].number);
        if named.is_empty() || !in_order {
            return Err(Refusal::invalid(
                if in_order { "MalformedXML" } else { "InvalidPartOrder" },
                "The parts must be named, at least one, in the order of their numbers, each once.",
            ));
        }
        let mut tx = self.catalog.write().await?;
        let bucket = bucket_to_change(&mut tx, caller, bucket).await?;
        let upload = match own_upload(&mut tx, bucket.name.as_str(), key, upload).await {
            Ok(upload) => upload,
            // Who did not get the answer completes it again.
            Err(refusal) => {
                let present = tx.object(&bucket.name, key).await?;
                return present.filter(|object| is_made_of(object, upload, named)).ok_or(refusal);
            }
        };
        let files = self.object_files(&bucket.region)?;
        let (parts, left_out): (Vec<_>, Vec<_>) = tx
            .parts_of_upload(&upload.id)
            .await?
            .into_iter()
            .partition(|part| named.binary_search_by_key(&part.number, |named| named.number).is_ok());
        check_parts(&parts, named)?;
        let object = whole(&upload, &parts)?;
        let replaced = replace(&mut tx, &object, condition).await?;
        check_room(&mut tx, self, caller, 1, 0).await?;
        tx.insert_object(&object).await?;
        tx.complete_upload(&upload, &object, &left_out).await?;
        tx.append_operation(&actions::operation(caller, "CompleteMultipartUpload", subject(&object))).await?;
        tx.commit().await?;
        files.discard(replaced);
        files.discard(left_out);
        Ok(object)
    }

    /// Ends an upload without an object.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn abort_upload(
        &self,
        caller: &Caller,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<(), Refusal> {
        let mut tx = self.catalog.write().await?;
        let found = bucket_to_change(&mut tx, caller, bucket).await?;
        let upload = own_upload(&mut tx, bucket, key, upload).await?;
        let files = self.object_files(&found.region)?;
        let parts = tx.delete_upload(&upload).await?;
        tx.commit().await?;
        files.discard(parts);
        Ok(())
    }
}

/// An upload of that bucket and key.
async fn own_upload(tx: &mut Tx, bucket: &str, key: &str, id: &str) -> Result<Upload, Refusal> {
    let found = tx.upload(&UploadId::from_trusted(id)).await?;
    found.filter(|upload| upload.bucket.as_str() == bucket && upload.key == key).ok_or_else(|| {
        Refusal::not_found(
            "NoSuchUpload",
            "There is no such upload: it was completed, aborted or abandoned, or is of another key. Begin a new one.",
        )
    })
}

/// That the parts that are named are there as they are named, and large enough.
fn check_parts(parts: &[Part], named: &[CompletedPart]) -> Result<(), Refusal> {
    let mut found = parts.iter();
    for named in named {
        let part = found.next().filter(|part| part.number == named.number && part.etag == named.etag);
        if part.is_none() {
            return Err(Refusal::invalid(
                "InvalidPart",
                format!(
                    "Part {} was not uploaded with that ETag. Upload it (again), then complete.",
                    named.number
                ),
            ));
        }
    }
    let small = parts
        .split_last()
        .and_then(|(_, others)| others.iter().find(|part| part.size_bytes < MIN_PART_BYTES));
    if let Some(small) = small {
        return Err(Refusal::invalid(
            "EntityTooSmall",
            format!(
                "Part {} has {} bytes; every part but the last must have {MIN_PART_BYTES} at least.",
                small.number, small.size_bytes
            ),
        ));
    }
    Ok(())
}

/// Whether an object is what an upload became of these parts.
fn is_made_of(object: &Object, upload: &str, named: &[CompletedPart]) -> bool {
    object.id.as_str() == upload
        && etag_of_parts(named.iter().map(|part| part.etag.as_str())).is_ok_and(|etag| etag == object.etag)
}

/// The ETag of an object in parts, of theirs.
fn etag_of_parts<'e>(etags: impl ExactSizeIterator<Item = &'e str>) -> Result<String, hex::FromHexError> {
    let (mut md5, count) = (Md5::new(), etags.len());
    for part in etags {
        md5.update(hex::decode(part)?);
    }
    Ok(format!("{}-{count}", hex::encode(md5.finalize())))
}

/// The ETag and the CRC-64 of an object that is made of parts.
pub(super) fn sums_of_parts<'p>(
    parts: impl ExactSizeIterator<Item = &'p Part> + Clone,
) -> Result<(String, u64), Refusal> {
    let etag = etag_of_parts(parts.clone().map(|part| part.etag.as_str())).map_err(Refusal::internal)?;
    let crc64 = parts.fold(crc_fast::checksum(CRC64, b""), |sum, part| {
        crc_fast::checksum_combine(CRC64, sum, part.crc64, part.size_bytes)
    });
    Ok((etag, crc64))
}

/// The object that parts make together.
fn whole(upload: &Upload, parts: &[Part]) -> Result<Object, Refusal> {
    let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
    if size_bytes > MAX_OBJECT_BYTES {
        return Err(too_large(size_bytes, MAX_OBJECT_BYTES));
    }
    let (etag, crc64) = sums_of_parts(parts.iter())?;
    Ok(Object {
        id: ObjectId::from_trusted(upload.id.as_str()),
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        size_bytes,
        etag,
        crc64,
        description: upload.description.clone(),
        modified_at: Timestamp::now(),
    })
}
