//! The compressions that an initramfs may have, as streams with bounded memory.
//!
//! Source: the kernel's `lib/decompress*.c` for which there are and how each begins.

use std::io::{self, BufRead, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use serde::{Deserialize, Serialize};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Compression {
    None,
    Gzip,
    Xz,
    Lzma,
    Zstd,
    Lz4,
    Bzip2,
    /// Recognised, not read.
    Lzo,
}

/// What the decoders of xz and lzma may take: `xz -9` asks for 65 MiB.
const LZMA_MEMORY_BYTES: u64 = 96 << 20;
/// The largest window of a zstd stream, as a power of two: 128 MiB, what `zstd --ultra -22` makes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The block of the legacy format, the only one that the kernel reads.
const LZ4_BLOCK_BYTES: usize = 8 << 20;
const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];
/// As many bytes as [`detect`] looks at.
pub(crate) const MAGIC_BYTES: usize = 6;

/// Tells a compression by the first bytes.
pub(crate) fn detect(head: &[u8]) -> Option<Compression> {
    const MAGICS: [(&[u8], Compression); 10] = [
        (b"070701", Compression::None),
        (b"070702", Compression::None),
        (&[0x1F, 0x8B], Compression::Gzip),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
        (&[0x5D, 0, 0], Compression::Lzma),
        (&[0x28, 0xB5, 0x2F, 0xFD], Compression::Zstd),
        (&LZ4_LEGACY_MAGIC, Compression::Lz4),
        (&[0x04, 0x22, 0x4D, 0x18], Compression::Lz4),
        (b"BZh", Compression::Bzip2),
        (&[0x89, b'L', b'Z', b'O'], Compression::Lzo),
    ];
    MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, compression)| *compression)
}

/// A decoder of one compressed piece of the input; what follows the piece stays in the input.
pub(crate) fn decoder<'a>(
    compression: Compression,
    input: &'a mut dyn BufRead,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
        Compression::Xz => {
            Box::new(XzDecoder::new_stream(input, Stream::new_stream_decoder(LZMA_MEMORY_BYTES, 0)?))
        }
        Compression::Lzma => {
            Box::new(XzDecoder::new_stream(input, Stream::new_lzma_decoder(LZMA_MEMORY_BYTES)?))
        }
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Lz4 => lz4(input)?,
        Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        Compression::Lzo => return Err(io::ErrorKind::Unsupported.into()),
    })
}

fn lz4<'a>(input: &'a mut dyn BufRead) -> io::Result<Box<dyn Read + 'a>> {
    if input.fill_buf()?.starts_with(&LZ4_LEGACY_MAGIC) {
        input.consume(LZ4_LEGACY_MAGIC.len());
        return Ok(Box::new(LegacyLz4 { input, block: Vec::new(), position: 0 }));
    }
    Ok(Box::new(lz4_flex::frame::FrameDecoder::new(input)))
}

/// Blocks, each after its length; no length, a length of nothing, or another magic is the end.
struct LegacyLz4<'a> {
    input: &'a mut dyn BufRead,
    block: Vec<u8>,
    position: usize,
}

impl LegacyLz4<'_> {
    fn next_block(&mut self) -> io::Result<bool> {
        let mut word = [0; 4];
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.input.read_exact(&mut word)?;
        if word == LZ4_LEGACY_MAGIC {
            self.input.read_exact(&mut word)?;
        }
        let len = u32::from_le_bytes(word) as usize;
        // The kernel's build appends the archive's length, and padding is zeros.
        if len == 0 || len > lz4_flex::block::get_maximum_output_size(LZ4_BLOCK_BYTES) {
            return Ok(false);
        }
        let mut compressed = Vec::new();
        (&mut *self.input).take(len as u64).read_to_end(&mut compressed)?;
        if compressed.len() < len {
            return Ok(false);
        }
        self.block.resize(LZ4_BLOCK_BYTES, 0);
        let count = lz4_flex::block::decompress_into(&compressed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(count);
        self.position = 0;
        Ok(count > 0)
    }
}

impl Read for LegacyLz4<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position == self.block.len() && !self.next_block()? {
            self.block.clear();
            self.position = 0;
            return Ok(0);
        }
        let count = buf.len().min(self.block.len() - self.position);
        buf[..count].copy_from_slice(&self.block[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}
