//! The files that hold parts: written once, read by many, removed when nobody reads them any more.
//!
//! Invariants: a file's name is random and never used twice; a [`StoredPart`] is on the disk, with its directory's
//! entry; a file that is pinned is not removed; whatever was not kept is removed when it is dropped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use kiln_model::{Part, PartId, RegionId, Timestamp};
use md5::{Digest, Md5};

use super::PartEtag;

/// The piece in which zeros are left out of a file.
const SPARSE_BYTES: usize = 64 << 10;
static ZEROS: [u8; SPARSE_BYTES] = [0; SPARSE_BYTES];
/// So many pieces of zeros are summed sooner than their sum is worked out.
const FEW_PIECES: u64 = 32;

/// The CRC that COS reports: CRC-64 of ECMA-182, reflected.
pub(super) const CRC64: crc_fast::CrcAlgorithm = crc_fast::CrcAlgorithm::Crc64Xz;

/// The directory of a region's parts.
pub(crate) struct ObjectFiles {
    region: RegionId,
    dir: PathBuf,
    /// Files that are read: by how many, and whether they are to go then.
    pinned: Mutex<HashMap<PartId, Pinned>>,
}

#[derive(Default)]
struct Pinned {
    readers: usize,
    doomed: bool,
}

impl ObjectFiles {
    pub(crate) fn new(region: RegionId, dir: PathBuf) -> Self {
        Self { region, dir, pinned: Mutex::default() }
    }

    pub(super) fn path(&self, part: &PartId) -> PathBuf {
        self.dir.join(part.as_str())
    }

    /// Begins a part that is to have such an ETag. Blocks.
    pub(super) fn create(self: &Arc<Self>, etag: PartEtag) -> io::Result<UnfinishedPart> {
        if !self.dir.exists() {
            std::fs::create_dir_all(&self.dir)?;
            self.dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        let guard = Guard { files: Arc::clone(self), id: PartId::random(), kept: false };
        let file = OpenOptions::new().write(true).create_new(true).open(self.path(&guard.id))?;
        let md5 = (etag == PartEtag::Md5).then(Md5::new);
        Ok(UnfinishedPart { guard, file, size_bytes: 0, md5, crc64: crc_fast::Digest::new(CRC64) })
    }

    /// Makes another name for a part's bytes, which are not copied where the file system has links. Blocks.
    pub(super) fn link(self: &Arc<Self>, from: &Self, part: &Part) -> io::Result<StoredPart> {
        let guard = Guard { files: Arc::clone(self), id: PartId::random(), kept: false };
        let (source, target) = (from.path(&part.id), self.path(&guard.id));
        std::fs::create_dir_all(&self.dir)?;
        // Another file system, or too many links already.
        if std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target)?;
            File::open(&target)?.sync_all()?;
        }
        File::open(&self.dir)?.sync_all()?;
        let part = Part {
            id: guard.id.clone(),
            region: self.region.clone(),
            stored_at: Timestamp::now(),
            ..part.clone()
        };
        Ok(StoredPart { part, guard })
    }

    /// Keeps files from being removed for as long as the pin lives. Whoever pins must look afterwards whether they
    /// are named still.
    pub(super) fn pin(self: &Arc<Self>, parts: &[Part]) -> Pin {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            pinned.entry(part.id.clone()).or_default().readers += 1;
        }
        Pin { files: Arc::clone(self), parts: parts.iter().map(|part| part.id.clone()).collect() }
    }

    /// Removes files that no row names any more, each when nobody reads it; on a thread of its own.
    pub(super) fn discard(self: &Arc<Self>, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        let free: Vec<_> = {
            let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            let ids = parts.into_iter().map(|part| part.id);
            ids.filter(|id| pinned.get_mut(id).map(|pin| pin.doomed = true).is_none()).collect()
        };
        let files = Arc::clone(self);
        tokio::task::spawn_blocking(move || free.iter().for_each(|id| files.remove(id)));
    }

    fn remove(&self, id: &PartId) {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, region = %self.region, "a part's file could not be removed");
            }
            _ => {}
        }
    }

    /// The files that were last written before `time`. Blocks.
    pub(super) fn older_than(&self, time: SystemTime) -> io::Result<Vec<PartId>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut old = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.metadata()?.modified()? < time {
                old.extend(entry.file_name().into_string().ok().map(PartId::from_trusted));
            }
        }
        Ok(old)
    }

    /// Removes files by name. Blocks.
    pub(super) fn remove_all(&self, ids: &[PartId]) {
        ids.iter().for_each(|id| self.remove(id));
    }
}

/// Removes its file when it is dropped, unless that is to be kept.
struct Guard {
    files: Arc<ObjectFiles>,
    id: PartId,
    kept: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.kept {
            self.files.remove(&self.id);
        }
    }
}

/// A part that is being written.
pub(super) struct UnfinishedPart {
    guard: Guard,
    file: File,
    size_bytes: u64,
    md5: Option<Md5>,
    crc64: crc_fast::Digest,
}

impl UnfinishedPart {
    /// The bytes so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Appends bytes. Zeros are counted and not written: the file has holes. Blocks.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.crc64.update(bytes);
        for piece in bytes.chunks(SPARSE_BYTES) {
            if *piece != ZEROS[..piece.len()] {
                self.file.write_all_at(piece, self.size_bytes)?;
            }
            self.size_bytes += piece.len() as u64;
        }
        Ok(())
    }

    /// Appends bytes that were looked at for zeros before, to a part without an MD5. Blocks.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(self.md5.is_none());
        self.crc64.update(bytes);
        self.file.write_all_at(bytes, self.size_bytes)?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Appends `len` zeros, which are not written: to a part without an MD5, since that would have to see them all.
    pub(super) fn skip(&mut self, len: u64) {
        debug_assert!(self.md5.is_none());
        self.size_bytes += len;
        let (mut pieces, rest) = (len / SPARSE_BYTES as u64, len % SPARSE_BYTES as u64);
        self.crc64.update(&ZEROS[..rest as usize]);
        if pieces <= FEW_PIECES {
            (0..pieces).for_each(|_| self.crc64.update(&ZEROS));
            return;
        }
        // The CRC of twice as many zeros comes from that of so many: what is long costs no more than its logarithm.
        let mut run = crc_fast::Digest::new(CRC64);
        run.update(&ZEROS);
        while pieces > 0 {
            if pieces & 1 == 1 {
                self.crc64.combine(&run);
            }
            let half = run;
            run.combine(&half);
            pieces >>= 1;
        }
    }

    /// Makes the part durable. Blocks.
    pub(super) fn finish(self, number: u32) -> io::Result<StoredPart> {
        self.file.set_len(self.size_bytes)?;
        self.file.sync_all()?;
        File::open(&self.guard.files.dir)?.sync_all()?;
        let (size_bytes, crc64) = (self.size_bytes, self.crc64.finalize());
        let md5 = self.md5.map(|md5| hex::encode(md5.finalize()));
        let part = Part {
            id: self.guard.id.clone(),
            region: self.guard.files.region.clone(),
            number,
            size_bytes,
            etag: md5.unwrap_or_else(|| Part::crc64_etag(crc64, size_bytes)),
            crc64,
            stored_at: Timestamp::now(),
        };
        Ok(StoredPart { part, guard: self.guard })
    }
}

/// A part that is durable, and that no row names yet.
pub(super) struct StoredPart {
    pub(super) part: Part,
    guard: Guard,
}

impl StoredPart {
    /// Leaves the file to the rows that are about to name it. Called before their commit: a file too many is removed
    /// at the next start, one too few is lost.
    pub(super) fn keep(mut self) -> Part {
        self.guard.kept = true;
        self.part.clone()
    }
}

/// Keeps files from being removed.
pub(super) struct Pin {
    files: Arc<ObjectFiles>,
    parts: Vec<PartId>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.files.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.parts {
            let Some(pin) = pinned.get_mut(id) else { continue };
            pin.readers -= 1;
            if pin.readers == 0 && pinned.remove(id).is_some_and(|pin| pin.doomed) {
                self.files.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &std::path::Path) -> Arc<ObjectFiles> {
        Arc::new(ObjectFiles::new(RegionId::from_trusted("here"), dir.join("objects")))
    }

    #[test]
    fn a_part_is_what_was_appended_with_its_sums_and_without_its_zeros() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = files(dir.path());
        let mut part = files.create(PartEtag::Md5).expect("created");
        part.append(b"123456789").expect("written");
        part.append(&vec![0; 10 << 20]).expect("written");
        let stored = part.finish(1).expect("durable");
        assert_eq!(stored.part.size_bytes, 9 + (10 << 20));
        let path = files.path(&stored.part.id);
        let bytes = std::fs::read(&path).expect("readable");
        assert!(bytes.len() as u64 == stored.part.size_bytes && bytes.starts_with(b"123456789\0"));
        assert!(std::os::unix::fs::MetadataExt::blocks(&path.metadata().expect("there")) < 1024);
        drop(stored);
        assert!(!path.exists(), "what no row names is gone");
    }

    #[test]
    fn skipped_zeros_count_as_sent_ones_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = files(dir.path());
        for zeros in [0, 1, SPARSE_BYTES, 3 * SPARSE_BYTES + 5, 1000 * SPARSE_BYTES + 12_345] {
            let (mut sent, mut own) = (
                files.create(PartEtag::Md5).expect("created"),
                files.create(PartEtag::Crc64).expect("created"),
            );
            for piece in [&b"before"[..], &vec![0; zeros], &b"after"[..]] {
                sent.append(piece).expect("written");
            }
            own.write(b"before").expect("written");
            own.skip(zeros as u64);
            own.write(b"after").expect("written");
            let (sent, own) = (sent.finish(1).expect("durable"), own.finish(1).expect("durable"));
            assert_eq!((sent.part.crc64, sent.part.size_bytes), (own.part.crc64, own.part.size_bytes));
            let bytes = |stored: &StoredPart| std::fs::read(files.path(&stored.part.id)).expect("readable");
            assert_eq!(bytes(&sent), bytes(&own));
        }
    }

    #[test]
    fn the_crc_is_the_one_of_cos() {
        // The check value of CRC-64/XZ in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc_fast::checksum(CRC64, b"123456789"), 0x995d_c9bb_df19_39fa);
    }

    #[tokio::test]
    async fn a_pinned_file_goes_with_its_last_reader() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = files(dir.path());
        let mut part = files.create(PartEtag::Md5).expect("created");
        part.append(b"x").expect("written");
        let part = part.finish(1).expect("durable").keep();
        let pins = [files.pin(std::slice::from_ref(&part)), files.pin(std::slice::from_ref(&part))];
        files.discard(vec![part.clone()]);
        for pin in pins {
            assert!(files.path(&part.id).exists());
            drop(pin);
        }
        assert!(!files.path(&part.id).exists());
    }
}
