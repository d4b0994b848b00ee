//! Reading objects: an object that is opened stays readable to its end, whatever replaces or deletes it meanwhile.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use kiln_model::{BucketName, Object, Part};

use super::files::{ObjectFiles, Pin};
use super::{bucket_to_read, file_refusal};
use crate::{Caller, Refusal, Service};

/// The piece in which objects are read.
const PIECE_BYTES: u64 = 512 << 10;
/// How often an object may be replaced while it is being opened.
const OPEN_ATTEMPTS: usize = 5;

/// An object whose bytes can be read.
pub struct OpenObject {
    /// The object.
    pub object: Object,
    pub(super) parts: Arc<Vec<Part>>,
    pub(super) files: Arc<ObjectFiles>,
    pub(super) pin: Pin,
}

impl Service {
    /// Opens one of the caller's objects.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn open_object(&self, caller: &Caller, bucket: &str, key: &str) -> Result<OpenObject, Refusal> {
        let bucket = bucket_to_read(&mut self.catalog.read().await?, caller, bucket).await?;
        self.open_kept_object(&bucket.name, key).await
    }

    /// Opens an object for whoever was allowed to before.
    pub(crate) async fn open_kept_object(
        &self,
        bucket: &BucketName,
        key: &str,
    ) -> Result<OpenObject, Refusal> {
        for _ in 0..OPEN_ATTEMPTS {
            let mut tx = self.catalog.read().await?;
            let missing = || {
                Refusal::not_found(
                    "NoSuchKey",
                    format!("Bucket {bucket} has no object {key:?}. Check the key."),
                )
            };
            let region = tx.bucket(bucket).await?.ok_or_else(missing)?.region;
            let object = tx.object(bucket, key).await?.ok_or_else(missing)?;
            let parts = tx.parts_of_object(&object.id).await?;
            drop(tx);
            let files = self.object_files(&region)?;
            let pin = files.pin(&parts);
            // It may have been deleted before it was pinned; then its files may be gone.
            if self.catalog.read().await?.object_exists(&object.id).await? {
                return Ok(OpenObject { object, parts: Arc::new(parts), files, pin });
            }
        }
        Err(Refusal::conflict(
            "OperationAborted",
            format!("Object {key:?} is being replaced again and again. Try again when that has ended."),
        ))
    }
}

impl OpenObject {
    /// The bytes of one of its parts. What was put at once is one part.
    pub fn part(&self, number: u32) -> Option<Range<u64>> {
        let mut start = 0;
        for part in self.parts.iter() {
            let range = start..start + part.size_bytes;
            if part.number == number {
                return Some(range);
            }
            start = range.end;
        }
        None
    }

    /// How many parts it has, where it was uploaded in parts.
    pub fn count_parts(&self) -> Option<usize> {
        self.object.etag.contains('-').then_some(self.parts.len())
    }

    /// Its bytes in a range, which must lie within it.
    pub fn read(
        self,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Refusal>> + Send + Sync + 'static {
        let reader = Reader { opened: None, source: Arc::new(self) };
        futures::stream::try_unfold((reader, range), |(reader, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let reading = tokio::task::spawn_blocking(move || reader.piece(range));
            let read = reading.await.map_err(Refusal::internal)?;
            let (bytes, reader, rest) = read.map_err(|error| file_refusal(&error))?;
            Ok(Some((bytes, (reader, rest))))
        })
    }
}

/// Where a stream has come to: the file that is read is kept open.
struct Reader {
    source: Arc<OpenObject>,
    opened: Option<(usize, File)>,
}

impl Reader {
    /// The next bytes, which end where a part does. Blocks.
    fn piece(mut self, range: Range<u64>) -> std::io::Result<(Bytes, Self, Range<u64>)> {
        let (index, offset, left) = place(&self.source.parts, range.start);
        let file = match self.opened.take() {
            Some((opened, file)) if opened == index => file,
            _ => File::open(self.source.files.path(&self.source.parts[index].id))?,
        };
        let len = left.min(range.end - range.start).min(PIECE_BYTES);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset)?;
        self.opened = Some((index, file));
        Ok((bytes.into(), self, range.start + len..range.end))
    }
}

/// The part in which a position of the object is, the position in it, and how many bytes of it follow.
pub(super) fn place(parts: &[Part], position: u64) -> (usize, u64, u64) {
    let mut start = 0;
    for (index, part) in parts.iter().enumerate() {
        if position < start + part.size_bytes {
            return (index, position - start, start + part.size_bytes - position);
        }
        start += part.size_bytes;
    }
    unreachable!("the position {position} is within the object's {start} bytes")
}
