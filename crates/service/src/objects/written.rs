//! Objects that Kiln writes itself: image files, from their beginning to their end.
//!
//! The bytes go into part files as they come: there is no other copy of them. A part that is full is made durable
//! beside the writing of the next one. What a format puts at its beginning last (its head) is a part of its own.
//!
//! Not here: whose bucket it is, and what the files hold.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use kiln_catalog::Tx;
use kiln_disk_format::Sink;
use kiln_model::{Bucket, Object, ObjectDescription, ObjectId, Part, Timestamp};

use super::files::{ObjectFiles, StoredPart, UnfinishedPart};
use super::put::replace;
use super::room::Room;
use super::uploads::sums_of_parts;
use super::{MAX_OBJECT_BYTES, PartEtag, PutCondition, check_room_of};
use crate::{Refusal, Service};

/// The bytes of a part: what waits for the disk while the next is written.
const PART_BYTES: u64 = 128 << 20;

/// There are more bytes than the account's buckets may hold.
#[derive(Debug, thiserror::Error)]
#[error("the account's buckets are full")]
pub(crate) struct NoRoom;

/// An object that is being written. What was written goes when it is dropped.
pub(crate) struct ObjectWriter<'a> {
    files: Arc<ObjectFiles>,
    room: &'a mut Room,
    /// What of the room the objects before this one have.
    before_bytes: u64,
    size_bytes: u64,
    head_bytes: u64,
    writing: Option<UnfinishedPart>,
    /// The part before, on its way to the disk.
    syncing: Option<JoinHandle<io::Result<StoredPart>>>,
    /// Behind the head, if there is one, in their order.
    stored: Vec<StoredPart>,
    head: Option<StoredPart>,
}

impl<'a> ObjectWriter<'a> {
    /// Begins an object, which shares the room with those before it, which have so many bytes.
    pub(crate) fn new(files: Arc<ObjectFiles>, room: &'a mut Room, before_bytes: u64) -> Self {
        Self {
            files,
            room,
            before_bytes,
            size_bytes: 0,
            head_bytes: 0,
            writing: None,
            syncing: None,
            stored: Vec::new(),
            head: None,
        }
    }

    /// Makes the object durable. Blocks.
    pub(crate) fn finish(mut self) -> io::Result<WrittenObject> {
        if let Some(part) = self.writing.take() {
            self.sync(part)?;
        }
        self.wait()?;
        let parts: Vec<_> = self.head.take().into_iter().chain(self.stored.drain(..)).collect();
        Ok(WrittenObject { parts, size_bytes: self.size_bytes })
    }

    fn grow(&mut self, len: u64) -> io::Result<()> {
        self.size_bytes += len;
        let all_bytes = self.before_bytes + self.size_bytes;
        let fits = self.size_bytes <= MAX_OBJECT_BYTES && self.room.grow_to(all_bytes).is_ok();
        if fits { Ok(()) } else { Err(io::Error::other(NoRoom)) }
    }

    /// The part that is written, with room for some of `len` bytes, and for how many.
    fn part(&mut self, len: u64) -> io::Result<(&mut UnfinishedPart, u64)> {
        let full = self.writing.take_if(|part| part.size_bytes() == PART_BYTES);
        if let Some(full) = full {
            self.sync(full)?;
        }
        let part = match self.writing.take() {
            Some(part) => part,
            None => self.files.create(PartEtag::Crc64)?,
        };
        let part = self.writing.insert(part);
        let now = len.min(PART_BYTES - part.size_bytes());
        Ok((part, now))
    }

    /// Sends a part to the disk, and waits for the one before.
    fn sync(&mut self, part: UnfinishedPart) -> io::Result<()> {
        self.wait()?;
        let number = u32::try_from(self.stored.len() + 2).map_err(io::Error::other)?;
        let syncing = std::thread::Builder::new().name("object-sync".to_owned());
        self.syncing = Some(syncing.spawn(move || part.finish(number))?);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        if let Some(syncing) = self.syncing.take() {
            let stored = syncing.join().map_err(|_| io::Error::other("the thread that syncs stopped"))??;
            self.stored.push(stored);
        }
        Ok(())
    }
}

impl Drop for ObjectWriter<'_> {
    fn drop(&mut self) {
        // A part that is on its way to the disk goes with the others, not at some time afterwards.
        drop(self.wait());
    }
}

impl Sink for ObjectWriter<'_> {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.grow(bytes.len() as u64)?;
        while !bytes.is_empty() {
            let (part, now) = self.part(bytes.len() as u64)?;
            let (these, rest) = bytes.split_at(now as usize);
            part.write(these)?;
            bytes = rest;
        }
        Ok(())
    }

    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        self.grow(len)?;
        while len > 0 {
            let (part, now) = self.part(len)?;
            part.skip(now);
            len -= now;
        }
        Ok(())
    }

    fn reserve_head(&mut self, len: u64) -> io::Result<()> {
        self.head_bytes = len;
        self.grow(len)
    }

    fn put_head(&mut self, head: &[u8]) -> io::Result<()> {
        assert_eq!(head.len() as u64, self.head_bytes, "a head has the length that was left for it");
        let mut part = self.files.create(PartEtag::Crc64)?;
        part.write(head)?;
        self.head = Some(part.finish(1)?);
        Ok(())
    }
}

/// An object that is durable, and that no row names yet.
pub(crate) struct WrittenObject {
    parts: Vec<StoredPart>,
    pub(crate) size_bytes: u64,
}

impl WrittenObject {
    /// The object as it will be known. Its ETag is of the form that promises nobody an MD5 of the bytes.
    fn object(&self, bucket: &Bucket, key: &str) -> Result<Object, Refusal> {
        let (etag, crc64) = sums_of_parts(self.parts.iter().map(|stored| &stored.part))?;
        Ok(Object {
            id: ObjectId::random(),
            bucket: bucket.name.clone(),
            key: key.to_owned(),
            size_bytes: self.size_bytes,
            etag,
            crc64,
            description: ObjectDescription::default(),
            modified_at: Timestamp::now(),
        })
    }
}

/// What a transaction that publishes objects leaves to be done after it.
pub(crate) struct Publication {
    files: Arc<ObjectFiles>,
    kept: Vec<Part>,
    replaced: Vec<Part>,
}

impl Publication {
    /// The transaction was committed.
    pub(crate) fn committed(self) {
        self.files.discard(self.replaced);
    }

    /// The transaction was not committed.
    pub(crate) fn failed(self) {
        self.files.discard(self.kept);
    }
}

/// Puts written objects into a bucket, each in the place of what has its key, as a part of a transaction.
///
/// # Errors
/// A [`Refusal`] where the bucket's account has no room for them.
pub(crate) async fn publish_written(
    service: &Service,
    tx: &mut Tx,
    bucket: &Bucket,
    written: Vec<(String, WrittenObject)>,
) -> Result<Publication, Refusal> {
    let files = service.object_files(&bucket.region)?;
    let mut publication = Publication { files, kept: Vec::new(), replaced: Vec::new() };
    let mut stored = Vec::new();
    for (key, written) in written {
        let object = written.object(bucket, &key)?;
        publication.replaced.extend(replace(tx, &object, &PutCondition::None).await?);
        check_room_of(tx, service, bucket.owner, 1, object.size_bytes).await?;
        tx.insert_object(&object).await?;
        for part in written.parts {
            tx.insert_object_part(&object, &part.part).await?;
            stored.push(part);
        }
    }
    publication.kept = stored.into_iter().map(StoredPart::keep).collect();
    Ok(publication)
}

#[cfg(test)]
mod tests {
    use kiln_model::{BucketName, RegionId, Uin};

    use super::*;
    use crate::objects::files::CRC64;
    use crate::objects::room::Incoming;

    fn room(limit_bytes: u64) -> Room {
        Incoming::default().room(Uin(100_000_000_001), 0, limit_bytes)
    }

    fn begin<'a>(dir: &std::path::Path, room: &'a mut Room) -> ObjectWriter<'a> {
        let files = ObjectFiles::new(RegionId::from_trusted("here"), dir.join("objects"));
        ObjectWriter::new(Arc::new(files), room, 100)
    }

    fn files_in(dir: &std::path::Path) -> usize {
        std::fs::read_dir(dir.join("objects")).map_or(0, Iterator::count)
    }

    #[test]
    fn what_is_written_is_the_object_over_all_its_parts() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut room = room(u64::MAX);
        let mut writer = begin(dir.path(), &mut room);
        writer.reserve_head(4).expect("room");
        writer.append(b"first").expect("written");
        writer.skip(2 * PART_BYTES - 8).expect("skipped");
        writer.append(b"across").expect("written");
        writer.put_head(b"head").expect("written");
        let written = writer.finish().expect("durable");
        assert_eq!(written.size_bytes, 4 + 2 * PART_BYTES + 3);
        let lengths: Vec<_> = written.parts.iter().map(|stored| stored.part.size_bytes).collect();
        assert_eq!(lengths, [4, PART_BYTES, PART_BYTES, 3]);
        let bytes: Vec<u8> = written
            .parts
            .iter()
            .flat_map(|stored| {
                std::fs::read(dir.path().join("objects").join(stored.part.id.as_str())).expect("there")
            })
            .collect();
        assert!(bytes.starts_with(b"headfirst\0") && bytes.ends_with(b"\0across"));
        let bucket = Bucket {
            name: BucketName::from_trusted("exports-1250000000"),
            owner: Uin(100_000_000_001),
            region: RegionId::from_trusted("here"),
            objects: 0,
            stored_bytes: 0,
            created_at: Timestamp(0),
        };
        let object = written.object(&bucket, "key").expect("parts have sums");
        assert_eq!(object.crc64, crc_fast::checksum(CRC64, &bytes));
        assert!(object.etag.ends_with("-4"));
    }

    #[test]
    fn what_is_given_up_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut room = room(100 + PART_BYTES + 10);
        let mut writer = begin(dir.path(), &mut room);
        writer.skip(PART_BYTES).expect("room");
        writer.append(b"0123456789").expect("room");
        let error = writer.append(b"!").expect_err("no room");
        assert!(error.get_ref().is_some_and(|cause| cause.is::<NoRoom>()));
        assert!(files_in(dir.path()) > 0);
        drop(writer);
        assert_eq!(files_in(dir.path()), 0);
    }
}
