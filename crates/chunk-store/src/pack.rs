//! The pack format: an immutable object that holds chunks.
//!
//! All numbers are little-endian.
//!
//! | part | bytes | what |
//! |---|---|---|
//! | header | 8 | `KILNPACK` |
//! | | 4 | version, 1 |
//! | | 4 | zero |
//! | chunks | | the stored bytes of all chunks, without gaps |
//! | index | 44 each | a record of each chunk, in the order of their positions (see [`Chunk`]) |
//! | footer | 8 | position of the index |
//! | | 4 | number of chunks, at least 1 |
//! | | 4 | zero |
//! | | 32 | BLAKE3 of the header, the index and the 16 bytes of footer before this |
//! | | 8 | `KILNPEND` |
//!
//! The chunks themselves are covered by their digests. A reader takes the footer first, at the object's end, checks
//! every number against the object's length before it allocates, and uses nothing before the checksum matched.
//! Scope and references are no part of a pack: the ledger holds them.

use crate::chunk::RECORD_BYTES;
use crate::{Chunk, Error, ObjectStore, PackId, Result};

/// A pack is sealed when its stored chunks reach this length, in bytes.
pub const PACK_TARGET_BYTES: u64 = 32 << 20;
/// The longest pack a reader accepts, in bytes.
const MAX_PACK_BYTES: u64 = 1 << 30;
/// The most chunks in a pack that a reader accepts (46 MB of index).
const MAX_PACK_CHUNKS: u32 = 1 << 20;
/// Length of the header, and so the position of the first chunk.
pub(crate) const HEADER_BYTES: u32 = 16;
const FOOTER_BYTES: usize = 56;
const MAGIC: &[u8; 8] = b"KILNPACK";
const END_MAGIC: &[u8; 8] = b"KILNPEND";
const VERSION: u32 = 1;

/// The bytes before the first chunk.
pub(crate) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header
}

/// The bytes after the last chunk: index and footer.
pub(crate) fn trailer(chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunks.len() * RECORD_BYTES + FOOTER_BYTES);
    chunks.iter().for_each(|chunk| chunk.write_record(&mut bytes));
    let index_position = chunks.last().map_or(u64::from(HEADER_BYTES), Chunk::stored_end);
    bytes.extend_from_slice(&index_position.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(chunks.len()).expect("a pack has few chunks").to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes.extend_from_slice(END_MAGIC);
    bytes
}

fn checksum(index_and_footer: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&header()).update(index_and_footer).finalize().as_bytes()
}

/// Reads and verifies the index of a pack: its chunks, in the order of their positions.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Corrupt`] where anything about header, index or footer is not as it must be.
pub fn read_index(store: &dyn ObjectStore, id: PackId) -> Result<Vec<Chunk>> {
    let corrupt = |offset: u64, reason: &str| Error::corrupt(id.into(), offset, reason);
    let len = store.len(id.into())?;
    let footer_position = len.checked_sub(FOOTER_BYTES as u64).filter(|_| len <= MAX_PACK_BYTES);
    let footer_position = footer_position.ok_or_else(|| corrupt(len, "a pack of impossible length"))?;
    let mut header_found = [0; HEADER_BYTES as usize];
    store.read_exact_at(id.into(), &mut header_found, 0)?;
    if header_found != header() {
        return Err(corrupt(0, "the header is not that of a pack of a known version"));
    }
    let mut footer = [0; FOOTER_BYTES];
    store.read_exact_at(id.into(), &mut footer, footer_position)?;
    let index_position = u64::from_le_bytes(*footer.first_chunk().expect("8 bytes"));
    let count = u32::from_le_bytes(*footer[8..].first_chunk().expect("4 bytes"));
    let index_bytes = u64::from(count) * RECORD_BYTES as u64;
    if footer[48..] != *END_MAGIC
        || count == 0
        || count > MAX_PACK_CHUNKS
        || index_position.checked_add(index_bytes) != Some(footer_position)
    {
        return Err(corrupt(footer_position, "the footer does not fit the object"));
    }
    let mut index = vec![0; index_bytes as usize + 16];
    store.read_exact_at(id.into(), &mut index, index_position)?;
    if checksum(&index) != footer[16..48] {
        return Err(corrupt(index_position, "the checksum of the index does not match"));
    }
    parse_index(&index[..index_bytes as usize], index_position)
        .map_err(|reason| corrupt(index_position, reason))
}

fn parse_index(records: &[u8], index_position: u64) -> Result<Vec<Chunk>, &'static str> {
    let mut chunks = Vec::with_capacity(records.len() / RECORD_BYTES);
    let mut position = u64::from(HEADER_BYTES);
    let (records, _) = records.as_chunks::<RECORD_BYTES>();
    for record in records {
        let chunk = Chunk::from_record(record)?;
        if u64::from(chunk.position) != position {
            return Err("the chunks do not follow each other without gaps");
        }
        position = chunk.stored_end();
        chunks.push(chunk);
    }
    if position == index_position { Ok(chunks) } else { Err("the chunks do not reach up to the index") }
}

#[cfg(test)]
mod tests {
    use kiln_block::Digest;

    use super::*;
    use crate::{MemoryStore, StoredForm};

    fn pack_bytes() -> Vec<u8> {
        let mut bytes = header().to_vec();
        let mut chunks = Vec::new();
        for len in [100u32, 1, 65536] {
            let content = vec![len as u8; len as usize];
            let position = bytes.len() as u32;
            chunks.push(Chunk { digest: Digest::of(&content), len, position, stored: StoredForm::raw(len) });
            bytes.extend_from_slice(&content);
        }
        bytes.extend_from_slice(&trailer(&chunks));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Chunk>> {
        let store = MemoryStore::default();
        let id = PackId::random();
        let mut writer = store.create(id.into()).expect("created");
        writer.write_all(bytes).and_then(|()| writer.finish()).expect("written");
        read_index(&store, id)
    }

    #[test]
    fn the_index_reads_back() {
        let chunks = read(&pack_bytes()).expect("well formed");
        assert_eq!(chunks.iter().map(|chunk| chunk.len).collect::<Vec<_>>(), [100, 1, 65536]);
    }

    #[test]
    fn every_flipped_bit_outside_the_chunks_is_noticed() {
        let good = pack_bytes();
        let index_position = good.len() - FOOTER_BYTES - 3 * RECORD_BYTES;
        for at in (0..HEADER_BYTES as usize).chain(index_position..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(matches!(read(&bad), Err(Error::Corrupt { .. })), "byte {at}");
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let good = pack_bytes();
        for len in (0..good.len()).step_by(997).chain(good.len() - 200..good.len()) {
            assert!(matches!(read(&good[..len]), Err(Error::Corrupt { .. })), "{len} bytes");
        }
    }
}
