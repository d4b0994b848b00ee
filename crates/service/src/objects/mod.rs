//! Buckets and objects: their use cases, and the files that hold their bytes.
//!
//! An object is a row and its parts; a part is a file of the region's directory, written once under a name of its own.
//! Bytes are on the disk before a row names them, and a row names them in one transaction: what was there before is
//! there until that transaction, and what replaced it is whole after it. Files that no row names are removed at the
//! next start. They lie beside the chunk store and are never deduplicated.
//!
//! Objects are private to the account that owns the bucket. Codes are those of S3, which COS shares.

mod body;
mod buckets;
mod cors;
mod device;
mod files;
mod host;
mod list;
mod maintenance;
mod own_url;
mod put;
mod read;
mod room;
mod uploads;
mod written;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kiln_catalog::Tx;
use kiln_model::{Bucket, BucketName, ObjectDescription, RegionId, Uin};

use crate::{Caller, Refusal, Service};

pub(crate) use device::ObjectDevice;
pub(crate) use files::ObjectFiles;
pub use host::{HostNames, names_of_host};
pub use list::{ListObjects, ObjectPage};
pub(crate) use maintenance::spawn;
pub(crate) use own_url::{KeptObject, own_object};
pub use put::{CopyObject, PutCondition, PutObject};
pub use read::OpenObject;
pub(crate) use room::{Incoming, Room};
pub use uploads::{CompletedPart, PartEtag, PutPart, UploadPage};
pub(crate) use written::{NoRoom, ObjectWriter, WrittenObject, publish_written};

/// Buckets of one account.
const MAX_BUCKETS: usize = 200;
/// Objects of one account, in all its buckets.
const MAX_OBJECTS: u64 = 1_000_000;
/// Unfinished uploads of one bucket.
const MAX_UPLOADS: u64 = 1_000;
/// Parts of one object.
const MAX_PARTS: u32 = 10_000;
/// The bytes of one part, and of an object that is put at once.
const MAX_PART_BYTES: u64 = 5 << 30;
/// The bytes that every part but the last must have.
const MIN_PART_BYTES: u64 = 1 << 20;
/// The bytes of one object.
const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// The bytes of a key.
const MAX_KEY_BYTES: usize = 1024;
/// The bytes of all that is said of an object.
const MAX_DESCRIPTION_BYTES: usize = 8 << 10;
/// Keys that are deleted in one request.
const MAX_DELETED_KEYS: usize = 1_000;

/// What the operator decides about buckets.
#[derive(Debug, Clone)]
pub struct ObjectConfig {
    /// Where objects are served; URLs of imports at this address are Kiln's own.
    pub address: Option<SocketAddr>,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// The bytes that an account's buckets may hold.
    pub account_bytes: u64,
    /// How long an upload in parts may take; then it is abandoned and its parts are removed.
    pub upload_age: Duration,
}

/// The caller's own bucket, to look into it.
async fn bucket_to_read(tx: &mut Tx, caller: &Caller, name: &str) -> Result<Bucket, Refusal> {
    let parsed: Option<BucketName> = name.parse().ok();
    let found = match &parsed {
        Some(name) => tx.bucket(name).await?,
        None => None,
    };
    let bucket = found.ok_or_else(|| {
        Refusal::not_found(
            "NoSuchBucket",
            format!("There is no bucket {name:?}. Create it, or check its name."),
        )
    })?;
    if bucket.owner != caller.account.uin {
        return Err(Refusal::denied(
            "AccessDenied",
            format!("Bucket {name} is another account's. Only its owner may use it."),
        ));
    }
    Ok(bucket)
}

/// The caller's own bucket, to change what is in it.
async fn bucket_to_change(tx: &mut Tx, caller: &Caller, name: &str) -> Result<Bucket, Refusal> {
    may_change(caller)?;
    bucket_to_read(tx, caller, name).await
}

/// The bucket of an account's that exports are written to.
pub(crate) async fn export_bucket(
    tx: &mut Tx,
    owner: Uin,
    region: &RegionId,
    name: &BucketName,
) -> Result<Bucket, Refusal> {
    let missing = |why: String| Refusal::not_found("InvalidParameterValue.BucketNotFound", why);
    let bucket = tx.bucket(name).await?.ok_or_else(|| {
        missing(format!("There is no bucket {name} in {region}. Create it, or check its name."))
    })?;
    if bucket.owner != owner {
        return Err(Refusal::denied(
            "InvalidParameterValue.InvalidBucketPermissionForExport",
            format!("Bucket {name} is another account's. Export to a bucket of your own."),
        ));
    }
    if bucket.region != *region {
        return Err(missing(format!(
            "Bucket {name} is in {}, not in {region}. Images are exported within their region.",
            bucket.region
        )));
    }
    Ok(bucket)
}

/// That the caller's role lets it do more than look.
fn may_change(caller: &Caller) -> Result<(), Refusal> {
    if !caller.is_read_only() {
        return Ok(());
    }
    Err(Refusal::denied(
        "AccessDenied",
        format!(
            "Sub-account {} may look only. Ask its main account for the role FULL, or use another key.",
            caller.uin()
        ),
    ))
}

/// The form of a key. It names no file, but clients make files of it.
pub(crate) fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Refusal::invalid(
            "KeyTooLongError",
            format!("The key has {} bytes; it must have between 1 and {MAX_KEY_BYTES}.", key.len()),
        ));
    }
    if key.split('/').any(|segment| segment == "..") {
        return Err(Refusal::invalid(
            "InvalidURI",
            "The key has a segment \"..\", which clients would take for a directory above. Choose another key.",
        ));
    }
    if key.chars().any(|character| character < ' ') {
        return Err(Refusal::invalid(
            "InvalidArgument",
            "The key has control characters, which answers in XML cannot hold. Choose another key.",
        ));
    }
    Ok(())
}

/// The headers that are kept with an object, beside its metadata.
fn headers_of(description: &ObjectDescription) -> [&Option<String>; 6] {
    [
        &description.content_type,
        &description.cache_control,
        &description.content_disposition,
        &description.content_encoding,
        &description.content_language,
        &description.expires,
    ]
}

fn check_description(description: &ObjectDescription) -> Result<(), Refusal> {
    let bytes: usize =
        headers_of(description).iter().filter_map(|value| value.as_deref()).map(str::len).sum::<usize>()
            + description.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if bytes > MAX_DESCRIPTION_BYTES {
        return Err(Refusal::invalid(
            "MetadataTooLarge",
            format!("The object's headers have {bytes} bytes; at most {MAX_DESCRIPTION_BYTES} are kept."),
        ));
    }
    check_header_texts(description)
}

/// That what is said of an object can be said in headers: forms can say anything.
fn check_header_texts(description: &ObjectDescription) -> Result<(), Refusal> {
    let is_text = |value: &str| !value.chars().any(char::is_control);
    let is_name = |name: &str| {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(may)
    };
    let values = headers_of(description).into_iter().flatten().chain(description.metadata.values());
    if !values.map(String::as_str).all(is_text) || !description.metadata.keys().all(|name| is_name(name)) {
        return Err(Refusal::invalid(
            "InvalidArgument",
            "A header or a name of metadata has characters that HTTP's headers cannot have. Take them out.",
        ));
    }
    Ok(())
}

fn too_large(size_bytes: u64, limit: u64) -> Refusal {
    Refusal::invalid(
        "EntityTooLarge",
        format!(
            "There are {size_bytes} bytes or more; at most {limit} can be stored in one piece. Upload it in parts."
        ),
    )
}

/// That the account may keep so many bytes and objects more, in the transaction that keeps them.
async fn check_room(
    tx: &mut Tx,
    service: &Service,
    caller: &Caller,
    added_objects: u64,
    added_bytes: u64,
) -> Result<(), Refusal> {
    check_room_of(tx, service, caller.account.uin, added_objects, added_bytes).await
}

/// The same for an account that asked before.
pub(crate) async fn check_room_of(
    tx: &mut Tx,
    service: &Service,
    owner: Uin,
    added_objects: u64,
    added_bytes: u64,
) -> Result<(), Refusal> {
    let buckets = tx.buckets(owner).await?;
    let used: u64 = buckets.iter().map(|bucket| bucket.stored_bytes).sum();
    let limit = service.config.objects.account_bytes;
    if used.saturating_add(added_bytes) > limit {
        return Err(no_room(used, added_bytes, limit));
    }
    let objects: u64 = buckets.iter().map(|bucket| bucket.objects).sum();
    if objects + added_objects > MAX_OBJECTS {
        return Err(Refusal::quota(
            "QuotaExceeded",
            format!(
                "Your buckets hold {objects} objects, which is the limit. Delete some that are not needed."
            ),
        ));
    }
    Ok(())
}

fn no_room(used: u64, added_bytes: u64, limit: u64) -> Refusal {
    Refusal::quota(
        "QuotaExceeded",
        format!(
            "Your buckets hold {used} bytes with what is on its way, and {added_bytes} more would pass the limit of \
             {limit}. Delete objects, or abort unfinished uploads."
        ),
    )
}

impl Service {
    fn object_files(&self, region: &RegionId) -> Result<Arc<ObjectFiles>, Refusal> {
        let store = self.store(region).ok_or_else(|| {
            Refusal::not_found(
                "NoSuchBucket",
                format!("The bucket's region {region} is no longer configured on this server."),
            )
        })?;
        Ok(Arc::clone(&store.object_files))
    }
}

/// A file could not be written or read.
fn file_refusal(error: &std::io::Error) -> Refusal {
    if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return Refusal::new(
            crate::RefusalKind::Unavailable,
            "InsufficientStorage",
            "The server's disk is full; nothing was stored. Ask the operator for space, then try again.",
        );
    }
    Refusal::internal(error)
}
