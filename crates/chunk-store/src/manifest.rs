//! The manifest format: an immutable object that describes one disk.
//!
//! All numbers are little-endian.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | header | 8 | `KILNMANI` |
//! | | 4 | version, 1 |
//! | | 4 | number of packs |
//! | | 8 | number of entries |
//! | | 8 | size of the disk in bytes |
//! | | 32 | root digest |
//! | packs | 16 each | ids of the packs that the entries name by number |
//! | entries | 56 each | offset on the disk (8), number of the pack (4), the chunk's record (44, see [`Chunk`]) |
//! | checksum | 32 | BLAKE3 of everything before |
//!
//! Entries are sorted by offset, do not overlap and lie within the disk; what no entry covers reads as zeros. The
//! root digest is BLAKE3 over the size (8) and over offset (8), length (4) and digest (32) of every entry: it names
//! what is on the disk however that is spread over packs, so a copy elsewhere has the same.
//!
//! A manifest in memory takes 56 bytes an entry: 46 MB for a full disk of 50 GiB in chunks of 64 KiB. It is read and
//! written through a small buffer.

use std::collections::HashSet;
use std::fmt;

use kiln_block::Digest;

use crate::chunk::RECORD_BYTES;
use crate::{Chunk, Error, ManifestId, ObjectKey, ObjectStore, ObjectWriter, PackId, Result};

const MAGIC: &[u8; 8] = b"KILNMANI";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 12 + RECORD_BYTES;
const CHECKSUM_BYTES: usize = 32;
/// The most entries of one disk: 4 TiB of data in chunks of 64 KiB.
const MAX_ENTRIES: u64 = 1 << 26;
/// The most packs of one disk: 32 TiB of stored bytes in packs of the target length.
const MAX_PACKS: u32 = 1 << 20;
/// Entries read, written or hashed at once (229 KB).
const BATCH_ENTRIES: usize = 4096;

/// Where one chunk of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First byte on the disk.
    pub offset: u64,
    /// Number of the pack in [`Manifest::packs`].
    pub pack: u32,
    /// The chunk in that pack.
    pub chunk: Chunk,
}

impl Entry {
    /// The first byte of the disk after the chunk.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.chunk.len)
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.pack.to_le_bytes());
        self.chunk.write_record(out);
    }

    fn read_from(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, &'static str> {
        let (offset, rest) = bytes.split_first_chunk().expect("8 bytes");
        let (pack, rest) = rest.split_first_chunk().expect("4 bytes");
        let chunk = Chunk::from_record(rest.first_chunk().expect("a record"))?;
        Ok(Self { offset: u64::from_le_bytes(*offset), pack: u32::from_le_bytes(*pack), chunk })
    }
}

/// A disk as a sorted list of chunks in packs.
#[derive(Clone, PartialEq, Eq)]
pub struct Manifest {
    size_bytes: u64,
    packs: Vec<PackId>,
    entries: Vec<Entry>,
    root: Digest,
}

/// Without the entries, of which there may be a million.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size_bytes, packs, entries, root } = self;
        write!(f, "Manifest({size_bytes} bytes in {} chunks of {} packs, {root})", entries.len(), packs.len())
    }
}

impl Manifest {
    /// The disk of `size_bytes` with those chunks. Packs that no entry names are left out.
    ///
    /// # Errors
    /// [`Error::Limit`]. Entries that overlap or leave the disk are a mistake of this crate, and panic.
    pub(crate) fn new(size_bytes: u64, packs: &[PackId], mut entries: Vec<Entry>) -> Result<Self> {
        check_limit("a disk's chunks", entries.len() as u64, MAX_ENTRIES)?;
        let packs = keep_used(packs, &mut entries);
        check_limit("a disk's packs", packs.len() as u64, MAX_PACKS.into())?;
        let root = root_of(size_bytes, &entries);
        let mut end = 0;
        for entry in &entries {
            assert!(entry.offset >= end && entry.end() <= size_bytes, "entries overlap or leave the disk");
            end = entry.end();
        }
        Ok(Self { size_bytes, packs, entries, root })
    }

    /// Size of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The packs that the disk's chunks lie in, each once: what must stay alive as long as the manifest.
    pub fn packs(&self) -> &[PackId] {
        &self.packs
    }

    /// The chunks, by offset.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Digest of the disk's size and content: equal for copies of a disk, however their packs differ.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Bytes of the disk that lie in chunks; the others are zero.
    pub fn data_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.chunk.len)).sum()
    }

    /// The pack that holds the chunk of an entry of this manifest.
    pub fn pack_of(&self, entry: &Entry) -> PackId {
        self.packs[entry.pack as usize]
    }

    /// Writes the manifest as the object `id`. Returns its length in bytes.
    ///
    /// # Errors
    /// What the store says.
    pub fn write(&self, store: &dyn ObjectStore, id: ManifestId) -> Result<u64> {
        let mut writer = store.create(id.into())?;
        let mut hasher = blake3::Hasher::new();
        let mut written = 0;
        let mut write = |writer: &mut dyn ObjectWriter, bytes: &[u8]| {
            hasher.update(bytes);
            written += bytes.len() as u64;
            writer.write_all(bytes)
        };
        let mut buffer = self.header();
        self.packs.iter().for_each(|pack| buffer.extend_from_slice(pack.as_bytes()));
        write(&mut *writer, &buffer)?;
        for batch in self.entries.chunks(BATCH_ENTRIES) {
            buffer.clear();
            batch.iter().for_each(|entry| entry.write_to(&mut buffer));
            write(&mut *writer, &buffer)?;
        }
        writer.write_all(hasher.finalize().as_bytes())?;
        writer.finish()?;
        Ok(written + CHECKSUM_BYTES as u64)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES + self.packs.len() * PackId::LEN);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&u32::try_from(self.packs.len()).expect("checked by new").to_le_bytes());
        header.extend_from_slice(&(self.entries.len() as u64).to_le_bytes());
        header.extend_from_slice(&self.size_bytes.to_le_bytes());
        header.extend_from_slice(self.root.as_bytes());
        header
    }

    /// Reads and verifies the manifest `id`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] where anything is not as it must be.
    pub fn read(store: &dyn ObjectStore, id: ManifestId) -> Result<Self> {
        let len = store.len(id.into())?;
        Reader { store, key: id.into(), len, position: 0, hasher: blake3::Hasher::new() }.read_all()
    }
}

fn check_limit(what: &'static str, found: u64, limit: u64) -> Result<()> {
    if found <= limit { Ok(()) } else { Err(Error::Limit { what, limit, found }) }
}

/// The packs that entries name, in their order, with the entries renumbered accordingly.
fn keep_used(packs: &[PackId], entries: &mut [Entry]) -> Vec<PackId> {
    let mut used = vec![false; packs.len()];
    entries.iter().for_each(|entry| used[entry.pack as usize] = true);
    let mut kept = Vec::new();
    let mut numbers = Vec::with_capacity(packs.len());
    for (pack, used) in packs.iter().zip(used) {
        numbers.push(u32::try_from(kept.len()).expect("as many as there were"));
        if used {
            kept.push(*pack);
        }
    }
    if kept.len() < packs.len() {
        entries.iter_mut().for_each(|entry| entry.pack = numbers[entry.pack as usize]);
    }
    kept
}

fn root_of(size_bytes: u64, entries: &[Entry]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size_bytes.to_le_bytes());
    let mut buffer = Vec::with_capacity(entries.len().min(BATCH_ENTRIES) * (12 + Digest::LEN));
    for batch in entries.chunks(BATCH_ENTRIES) {
        buffer.clear();
        for Entry { offset, chunk, .. } in batch {
            buffer.extend_from_slice(&offset.to_le_bytes());
            buffer.extend_from_slice(&chunk.len.to_le_bytes());
            buffer.extend_from_slice(chunk.digest.as_bytes());
        }
        hasher.update(&buffer);
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Reads a manifest front to back.
struct Reader<'a> {
    store: &'a dyn ObjectStore,
    key: ObjectKey,
    len: u64,
    position: u64,
    hasher: blake3::Hasher,
}

impl Reader<'_> {
    fn corrupt(&self, reason: &'static str) -> Error {
        Error::corrupt(self.key, self.position, reason)
    }

    /// Fills `buf` with the next bytes and hashes them.
    fn next(&mut self, buf: &mut [u8]) -> Result<()> {
        self.store.read_exact_at(self.key, buf, self.position)?;
        self.hasher.update(buf);
        self.position += buf.len() as u64;
        Ok(())
    }

    fn read_all(mut self) -> Result<Manifest> {
        let mut header = [0; HEADER_BYTES];
        self.next(&mut header)?;
        let number = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("within the header"));
        if header[..8] != *MAGIC || header[8..12] != VERSION.to_le_bytes() {
            return Err(self.corrupt("the header is not that of a manifest of a known version"));
        }
        let pack_count = u32::from_le_bytes(*header[12..].first_chunk().expect("within the header"));
        let (entry_count, size_bytes) = (number(16), number(24));
        let root = Digest::from_bytes(*header[32..].first_chunk().expect("within the header"));
        let fits = pack_count <= MAX_PACKS && entry_count <= MAX_ENTRIES && {
            let body = u64::from(pack_count) * PackId::LEN as u64 + entry_count * ENTRY_BYTES as u64;
            self.len == body + (HEADER_BYTES + CHECKSUM_BYTES) as u64
        };
        if !fits {
            return Err(self.corrupt("the counts do not fit the object's length"));
        }
        let packs = self.read_packs(pack_count as usize)?;
        let entries = self.read_entries(entry_count as usize, size_bytes, pack_count)?;
        let mut checksum = [0; CHECKSUM_BYTES];
        self.store.read_exact_at(self.key, &mut checksum, self.position)?;
        if self.hasher.finalize() != checksum {
            return Err(self.corrupt("the checksum does not match"));
        }
        if root != root_of(size_bytes, &entries) {
            return Err(self.corrupt("the root digest does not match the entries"));
        }
        Ok(Manifest { size_bytes, packs, entries, root })
    }

    fn read_packs(&mut self, count: usize) -> Result<Vec<PackId>> {
        let mut bytes = vec![0; count * PackId::LEN];
        self.next(&mut bytes)?;
        let (ids, _) = bytes.as_chunks();
        let packs: Vec<_> = ids.iter().map(|id| PackId::from_bytes(*id)).collect();
        let distinct: HashSet<_> = packs.iter().collect();
        if distinct.len() == packs.len() { Ok(packs) } else { Err(self.corrupt("a pack is listed twice")) }
    }

    fn read_entries(&mut self, count: usize, size_bytes: u64, pack_count: u32) -> Result<Vec<Entry>> {
        // The object is at least as long as this allocation: the caller has compared them.
        let mut entries = Vec::with_capacity(count);
        let mut buffer = vec![0; count.min(BATCH_ENTRIES) * ENTRY_BYTES];
        let mut end = 0;
        while entries.len() < count {
            let batch = (count - entries.len()).min(BATCH_ENTRIES);
            self.next(&mut buffer[..batch * ENTRY_BYTES])?;
            let (records, _) = buffer[..batch * ENTRY_BYTES].as_chunks();
            for record in records {
                let entry = Entry::read_from(record).map_err(|reason| self.corrupt(reason))?;
                let after = entry.offset.checked_add(entry.chunk.len.into());
                let fits = after.is_some_and(|after| entry.offset >= end && after <= size_bytes);
                if !fits || entry.pack >= pack_count {
                    return Err(
                        self.corrupt("an entry overlaps another, or leaves the disk or the pack table")
                    );
                }
                end = entry.end();
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, StoredForm};

    fn sample(count: u64) -> Manifest {
        let packs: Vec<_> = (0..3).map(|_| PackId::random()).collect();
        let entries = (0..count).map(|i| {
            let digest = Digest::of(&i.to_le_bytes());
            let chunk = Chunk { digest, len: 1000, position: 16, stored: StoredForm::zstd(300) };
            Entry { offset: i * 1500, pack: [0, 2][i as usize % 2], chunk }
        });
        Manifest::new(count * 1500, &packs, entries.collect()).expect("within limits")
    }

    fn stored_bytes(manifest: &Manifest) -> Vec<u8> {
        let (store, id) = (MemoryStore::default(), ManifestId::random());
        let len = manifest.write(&store, id).expect("written");
        let mut bytes = vec![0; len as usize];
        store.read_exact_at(id.into(), &mut bytes, 0).expect("read");
        assert_eq!(store.len(id.into()).expect("there"), len);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Manifest> {
        let (store, id) = (MemoryStore::default(), ManifestId::random());
        let mut writer = store.create(id.into()).expect("created");
        writer.write_all(bytes).and_then(|()| writer.finish()).expect("written");
        Manifest::read(&store, id)
    }

    #[test]
    fn a_manifest_reads_back_without_the_packs_it_does_not_use() {
        for count in [0, 1, 2, 2 * BATCH_ENTRIES as u64 + 1] {
            let manifest = sample(count);
            assert_eq!(manifest.packs().len() as u64, count.min(2));
            assert_eq!(read(&stored_bytes(&manifest)).expect("well formed"), manifest);
        }
    }

    #[test]
    fn every_flipped_bit_and_truncation_is_noticed() {
        let good = stored_bytes(&sample(5));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(matches!(read(&bad), Err(Error::Corrupt { .. })), "byte {at}");
            assert!(matches!(read(&good[..at]), Err(Error::Corrupt { .. })), "{at} bytes");
        }
    }

    #[test]
    fn the_root_names_the_content_not_the_place() {
        let (one, two) = (sample(9), sample(9));
        assert_ne!(one.packs(), two.packs());
        assert_eq!(one.root(), two.root());
        assert_ne!(one.root(), sample(10).root());
    }
}
