//! Putting, copying and deleting objects.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use kiln_catalog::Tx;
use kiln_model::{Bucket, Object, ObjectDescription, ObjectId, Part, Timestamp};

use super::files::{ObjectFiles, StoredPart};
use super::{
    MAX_DELETED_KEYS, PartEtag, body, bucket_to_change, check_description, check_key, check_room,
    file_refusal,
};
use crate::{Caller, OpenObject, Refusal, Service, actions};

/// An object that is put at once.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct PutObject {
    pub bucket: String,
    pub key: String,
    pub description: ObjectDescription,
    /// How long the body says it is.
    pub size_bytes: Option<u64>,
    /// The MD5 that the sender says it has, in hexadecimal digits.
    pub md5: Option<String>,
    pub condition: PutCondition,
}

/// What must be there for an object to be put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PutCondition {
    /// Anything.
    #[default]
    None,
    /// No object of that key.
    Absent,
    /// No object of that key with this ETag.
    Other(String),
    /// An object with this ETag; any at all where there is none.
    Present(Option<String>),
}

/// An object of which another is made.
#[allow(missing_docs, reason = "the names say all")]
pub struct CopyObject {
    pub source: OpenObject,
    pub bucket: String,
    pub key: String,
    /// What is said of the copy; what is said of the source where absent.
    pub description: Option<ObjectDescription>,
    pub condition: PutCondition,
}

impl Service {
    /// Stores a body as an object. The future may be dropped at any time; then the object is there whole, or not.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn put_object(
        &self,
        caller: &Caller,
        request: PutObject,
        body: impl Stream<Item = Result<Bytes, Refusal>> + Unpin,
    ) -> Result<Object, Refusal> {
        check_key(&request.key)?;
        check_description(&request.description)?;
        body::check_size(request.size_bytes)?;
        let mut tx = self.catalog.read().await?;
        let bucket = bucket_to_change(&mut tx, caller, &request.bucket).await?;
        check_condition(&request.condition, tx.object(&bucket.name, &request.key).await?.as_ref())?;
        let mut room = self.room(&mut tx, caller, request.size_bytes).await?;
        drop(tx);
        let files = self.object_files(&bucket.region)?;
        let stored =
            body::store(Arc::clone(&files), 1, PartEtag::Md5, request.size_bytes, &mut room, body).await?;
        check_md5(request.md5.as_deref(), &stored.part)?;
        let object = Object {
            id: ObjectId::random(),
            bucket: bucket.name.clone(),
            key: request.key,
            size_bytes: stored.part.size_bytes,
            etag: stored.part.etag.clone(),
            crc64: stored.part.crc64,
            description: request.description,
            modified_at: Timestamp::now(),
        };
        // What is published counts as what is there, and must not count twice.
        drop(room);
        self.publish(caller, "PutObject", &bucket, &files, &object, vec![stored], &request.condition).await?;
        Ok(object)
    }

    /// Makes an object of another, whose bytes are not copied where the file system has links.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn copy_object(&self, caller: &Caller, request: CopyObject) -> Result<Object, Refusal> {
        check_key(&request.key)?;
        let description = request.description.unwrap_or_else(|| request.source.object.description.clone());
        check_description(&description)?;
        let bucket = bucket_to_change(&mut self.catalog.read().await?, caller, &request.bucket).await?;
        let files = self.object_files(&bucket.region)?;
        let OpenObject { object: source, parts, files: from, pin } = request.source;
        let into = Arc::clone(&files);
        let linking = tokio::task::spawn_blocking(move || {
            let linked = parts.iter().map(|part| into.link(&from, part)).collect::<Result<Vec<_>, _>>();
            drop(pin);
            linked
        });
        let linked = linking.await.map_err(Refusal::internal)?.map_err(|error| file_refusal(&error))?;
        let object = Object {
            id: ObjectId::random(),
            bucket: bucket.name.clone(),
            key: request.key,
            description,
            modified_at: Timestamp::now(),
            ..source
        };
        self.publish(caller, "CopyObject", &bucket, &files, &object, linked, &request.condition).await?;
        Ok(object)
    }

    #[allow(clippy::too_many_arguments, reason = "what is published, and for whom")]
    async fn publish(
        &self,
        caller: &Caller,
        action: &'static str,
        bucket: &Bucket,
        files: &Arc<ObjectFiles>,
        object: &Object,
        stored: Vec<StoredPart>,
        condition: &PutCondition,
    ) -> Result<(), Refusal> {
        let mut tx = self.catalog.write().await?;
        bucket_to_change(&mut tx, caller, bucket.name.as_str()).await?;
        let replaced = replace(&mut tx, object, condition).await?;
        check_room(&mut tx, self, caller, 1, object.size_bytes).await?;
        tx.insert_object(object).await?;
        let mut kept = Vec::with_capacity(stored.len());
        for stored in stored {
            tx.insert_object_part(object, &stored.part).await?;
            kept.push(stored);
        }
        tx.append_operation(&actions::operation(caller, action, subject(object))).await?;
        let kept: Vec<Part> = kept.into_iter().map(StoredPart::keep).collect();
        if let Err(error) = tx.commit().await {
            files.discard(kept);
            return Err(error.into());
        }
        files.discard(replaced);
        Ok(())
    }

    /// Deletes objects. Those that are not there are no error.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn delete_objects(
        &self,
        caller: &Caller,
        bucket: &str,
        keys: &[String],
    ) -> Result<(), Refusal> {
        if keys.len() > MAX_DELETED_KEYS {
            return Err(Refusal::invalid(
                "MalformedXML",
                format!("{} keys are named; at most {MAX_DELETED_KEYS} can be deleted at once.", keys.len()),
            ));
        }
        let mut tx = self.catalog.write().await?;
        let bucket = bucket_to_change(&mut tx, caller, bucket).await?;
        let files = self.object_files(&bucket.region)?;
        let mut parts = Vec::new();
        for key in keys {
            if let Some(object) = tx.object(&bucket.name, key).await? {
                parts.extend(tx.delete_object(&object).await?);
                let entry = actions::operation(caller, "DeleteObject", subject(&object));
                tx.append_operation(&entry).await?;
            }
        }
        tx.commit().await?;
        files.discard(parts);
        Ok(())
    }
}

/// Takes away what has the object's key; its parts are given back, to be discarded after the commit.
pub(super) async fn replace(
    tx: &mut Tx,
    object: &Object,
    condition: &PutCondition,
) -> Result<Vec<Part>, Refusal> {
    let present = tx.object(&object.bucket, &object.key).await?;
    check_condition(condition, present.as_ref())?;
    match present {
        Some(present) => Ok(tx.delete_object(&present).await?),
        None => Ok(Vec::new()),
    }
}

pub(super) fn subject(object: &Object) -> String {
    format!("{}/{}", object.bucket, object.key)
}

fn check_condition(condition: &PutCondition, present: Option<&Object>) -> Result<(), Refusal> {
    let (holds, wanted) = match condition {
        PutCondition::None => return Ok(()),
        PutCondition::Absent => (present.is_none(), "no object of that key is there"),
        PutCondition::Other(etag) => {
            (present.is_none_or(|object| *etag != object.etag), "another object, or none, is there")
        }
        PutCondition::Present(etag) => (
            present.is_some_and(|object| etag.as_ref().is_none_or(|etag| *etag == object.etag)),
            "the object is there as the request says",
        ),
    };
    if holds {
        return Ok(());
    }
    if present.is_none() && matches!(condition, PutCondition::Present(_)) {
        return Err(Refusal::not_found(
            "NoSuchKey",
            "It is to take the place of an object that is not there. Leave If-Match out, or check the key.",
        ));
    }
    Err(Refusal::conflict("PreconditionFailed", format!("It is asked for only if {wanted}; that is not so.")))
}

/// That a part has the MD5 that its sender says, which is its ETag then.
pub(super) fn check_md5(claimed: Option<&str>, part: &Part) -> Result<(), Refusal> {
    match claimed {
        Some(claimed) if claimed != part.etag => Err(Refusal::invalid(
            "BadDigest",
            "The body's MD5 is not the one that Content-MD5 says. Send it again.",
        )),
        _ => Ok(()),
    }
}
