//! One chunk: its record in packs and manifests, and how its bytes are stored.
//!
//! A record is 44 bytes, little-endian: digest (32), logical length (4), position in the pack (4), stored form (4:
//! the stored length, with bit 31 set where the chunk is compressed with zstd).
//!
//! Invariants of a record that was read: logical length is 1 to [`MAX_CHUNK_BYTES`], a raw chunk is stored in as many
//! bytes as it has, a compressed one in fewer.

use kiln_block::Digest;

/// Length and alignment of the chunks that are written, in bytes. Readers take any length.
pub const CHUNK_BYTES: u64 = 64 * 1024;
/// The longest chunk a reader accepts, in bytes.
pub const MAX_CHUNK_BYTES: u32 = 1 << 20;
/// Length of a chunk's record in packs and manifests, in bytes.
pub(crate) const RECORD_BYTES: usize = 44;
/// Where the CPU is the limit, this level stores the most bytes a second.
const ZSTD_LEVEL: i32 = 1;
const ZSTD_BIT: u32 = 1 << 31;

/// How the bytes of a chunk are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// One zstd frame (RFC 8878).
    Zstd,
}

/// Stored length and encoding in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredForm(u32);

impl StoredForm {
    pub(crate) const fn raw(len: u32) -> Self {
        Self(len)
    }

    pub(crate) const fn zstd(len: u32) -> Self {
        Self(len | ZSTD_BIT)
    }

    /// Length of the stored bytes.
    pub const fn len_bytes(self) -> u32 {
        self.0 & !ZSTD_BIT
    }

    /// What the stored bytes are.
    pub const fn encoding(self) -> Encoding {
        if self.0 & ZSTD_BIT == 0 { Encoding::Raw } else { Encoding::Zstd }
    }
}

/// A chunk in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Digest of the chunk's bytes, uncompressed.
    pub digest: Digest,
    /// Length in bytes, uncompressed.
    pub len: u32,
    /// Position of the stored bytes in the pack.
    pub position: u32,
    /// Their length and encoding.
    pub stored: StoredForm,
}

impl Chunk {
    /// The first byte of the pack after the stored bytes.
    pub fn stored_end(&self) -> u64 {
        u64::from(self.position) + u64::from(self.stored.len_bytes())
    }

    pub(crate) fn write_record(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.digest.as_bytes());
        for word in [self.len, self.position, self.stored.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads a record, or says what is wrong with it.
    pub(crate) fn from_record(record: &[u8; RECORD_BYTES]) -> Result<Self, &'static str> {
        let (digest, words) = record.split_first_chunk().expect("a record begins with a digest");
        let word = |at: usize| u32::from_le_bytes(*words[at..].first_chunk().expect("three words follow"));
        let digest = Digest::from_bytes(*digest);
        let chunk = Self { digest, len: word(0), position: word(4), stored: StoredForm(word(8)) };
        let stored_len = chunk.stored.len_bytes();
        if chunk.len == 0 || chunk.len > MAX_CHUNK_BYTES {
            return Err("a chunk's length is out of range");
        }
        match chunk.stored.encoding() {
            Encoding::Raw if stored_len != chunk.len => Err("a raw chunk's two lengths differ"),
            Encoding::Zstd if stored_len == 0 || stored_len >= chunk.len => {
                Err("a compressed chunk's stored length is out of range")
            }
            _ => Ok(chunk),
        }
    }
}

/// Whether all of `bytes` are zero. Stops at the first block that is not.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const BLOCK: usize = 256;
    let mut blocks = bytes.chunks_exact(BLOCK);
    blocks.all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
        && blocks.remainder().iter().all(|byte| *byte == 0)
}

/// Compresses chunks. Keeps its working memory, so a thread keeps its encoder.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)? })
    }

    /// Stores `bytes` at the beginning of `out`, which is at least as long. Chunks that compression makes less than
    /// 5 % shorter are stored as they are.
    pub(crate) fn encode(&mut self, bytes: &[u8], out: &mut [u8]) -> StoredForm {
        let len = u32::try_from(bytes.len()).expect("a chunk is at most 1 MiB long");
        let worthwhile = bytes.len() - bytes.len().div_ceil(20);
        // Given no more room than is worth using, the compressor gives up where it does not gain enough.
        match self.zstd.compress_to_buffer(bytes, &mut out[..worthwhile]) {
            Ok(stored) => StoredForm::zstd(u32::try_from(stored).expect("shorter than the chunk")),
            Err(_) => {
                out[..bytes.len()].copy_from_slice(bytes);
                StoredForm::raw(len)
            }
        }
    }
}

/// Decompresses and verifies chunks. Keeps its working memory, so a thread keeps its decoder.
pub(crate) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decoder {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()? })
    }

    /// Fills `out`, of the chunk's length, from its stored bytes, and verifies the digest; or says what is wrong.
    pub(crate) fn decode(
        &mut self,
        chunk: &Chunk,
        stored: &[u8],
        out: &mut [u8],
    ) -> Result<(), &'static str> {
        debug_assert_eq!(out.len(), chunk.len as usize);
        match chunk.stored.encoding() {
            Encoding::Raw => out.copy_from_slice(stored),
            Encoding::Zstd => match self.zstd.decompress_to_buffer(stored, out) {
                Ok(len) if len == out.len() => {}
                Ok(_) => return Err("a chunk decompresses to fewer bytes than it has"),
                Err(_) => return Err("a chunk does not decompress"),
            },
        }
        if Digest::of(out) == chunk.digest {
            Ok(())
        } else {
            Err("a chunk's digest does not match its bytes")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(bytes: &[u8]) -> StoredForm {
        let mut out = vec![0; bytes.len()];
        let stored = Encoder::new().expect("encoder").encode(bytes, &mut out);
        let chunk = Chunk { digest: Digest::of(bytes), len: bytes.len() as u32, position: 16, stored };
        let mut record = Vec::new();
        chunk.write_record(&mut record);
        assert_eq!(Chunk::from_record(record[..].try_into().expect("44 bytes")), Ok(chunk));
        let mut decoded = vec![0; bytes.len()];
        let out = &out[..stored.len_bytes() as usize];
        Decoder::new().expect("decoder").decode(&chunk, out, &mut decoded).expect("verified");
        assert_eq!(decoded, bytes);
        stored
    }

    #[test]
    fn chunks_read_back_whether_or_not_they_compress() {
        assert_eq!(round_trip(&[7; 65536]).encoding(), Encoding::Zstd);
        let random: Vec<u8> = (0..65536).map(|_| rand::random()).collect();
        assert_eq!(round_trip(&random).encoding(), Encoding::Raw);
        for len in 1..50 {
            round_trip(&vec![9; len]);
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let bytes: Vec<u8> = (0..65536u32).map(|i| (i / 5) as u8).collect();
        let mut out = vec![0; bytes.len()];
        let stored = Encoder::new().expect("encoder").encode(&bytes, &mut out);
        let chunk = Chunk { digest: Digest::of(&bytes), len: 65536, position: 16, stored };
        out[stored.len_bytes() as usize / 2] ^= 1;
        let out = &out[..stored.len_bytes() as usize];
        assert!(Decoder::new().expect("decoder").decode(&chunk, out, &mut vec![0; 65536]).is_err());
    }

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        for len in [0, 1, 255, 256, 4096, 5000] {
            assert!(is_zero(&vec![0; len]));
            for at in (0..len).step_by(61) {
                let mut bytes = vec![0; len];
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
            }
        }
    }
}
