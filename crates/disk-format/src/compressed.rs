//! Compressed clusters (VMDK calls them grains): reading, decompressing, and a small cache for readers that take
//! less than a cluster.
//!
//! Invariants: a cluster never becomes more than a cluster, whatever its stream says; decoders write into the
//! cluster's own buffer and so need no window of their own; no lock is held during I/O or decompression.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use kiln_block::BlockDevice;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// A bare deflate stream that makes a whole cluster; what follows that is ignored, as QEMU does.
    Deflate,
    /// A deflate stream in zlib's envelope, which must be whole. The disk may end within its last cluster.
    Zlib,
    /// Zstandard frames that make a whole cluster.
    Zstd,
}

/// Most bytes of decompressed clusters kept for one image.
const CACHE_BYTES: usize = 4 << 20;
/// Most clusters kept, however small.
const CACHE_CLUSTERS: usize = 64;
/// Most decoders kept while nobody uses them; more threads than this make their own.
const IDLE_DECODERS: usize = 16;

/// The compressed clusters of one image.
pub(crate) struct CompressedClusters {
    compression: Compression,
    cluster_bytes: usize,
    idle: Mutex<Vec<Decoder>>,
    /// The clusters used last, the latest at the end.
    cache: Mutex<VecDeque<Cluster>>,
}

/// A decompressed cluster and where it came from.
#[derive(Clone)]
struct Cluster {
    host: u64,
    len: u64,
    bytes: Arc<[u8]>,
}

/// A decoder with its buffer for compressed bytes.
struct Decoder {
    codec: Codec,
    input: Vec<u8>,
}

enum Codec {
    Deflate(Decompress),
    Zlib(Decompress),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl CompressedClusters {
    pub(crate) fn new(compression: Compression, cluster_bytes: u64) -> Self {
        let cluster_bytes = cluster_bytes as usize;
        Self { compression, cluster_bytes, idle: Mutex::default(), cache: Mutex::default() }
    }

    /// Fills `buf` with the bytes at `within` of the cluster whose stream lies within `len` bytes at `host`.
    pub(crate) fn read(
        &self,
        device: &dyn BlockDevice,
        (host, len): (u64, u64),
        within: usize,
        buf: &mut [u8],
    ) -> kiln_block::Result<()> {
        if buf.len() == self.cluster_bytes {
            let made = self.decompress(device, host, len, buf)?;
            return check_made(made, buf.len(), host);
        }
        let bytes = match self.cached(host, len) {
            Some(bytes) => bytes,
            None => {
                let mut cluster = vec![0; self.cluster_bytes];
                let made = self.decompress(device, host, len, &mut cluster)?;
                cluster.truncate(made);
                let bytes: Arc<[u8]> = cluster.into();
                self.keep(Cluster { host, len, bytes: Arc::clone(&bytes) });
                bytes
            }
        };
        check_made(bytes.len(), within + buf.len(), host)?;
        buf.copy_from_slice(&bytes[within..within + buf.len()]);
        Ok(())
    }

    fn cached(&self, host: u64, len: u64) -> Option<Arc<[u8]>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let at = cache.iter().rposition(|cluster| cluster.host == host && cluster.len == len)?;
        let cluster = cache.remove(at)?;
        cache.push_back(cluster.clone());
        Some(cluster.bytes)
    }

    fn keep(&self, cluster: Cluster) {
        let capacity = (CACHE_BYTES / self.cluster_bytes).clamp(1, CACHE_CLUSTERS);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        while cache.len() >= capacity {
            cache.pop_front();
        }
        cache.push_back(cluster);
    }

    /// Fills the beginning of `cluster` and returns how much of it.
    fn decompress(
        &self,
        device: &dyn BlockDevice,
        host: u64,
        len: u64,
        cluster: &mut [u8],
    ) -> kiln_block::Result<usize> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut decoder = match idle {
            Some(decoder) => decoder,
            None => Decoder::new(self.compression)?,
        };
        decoder.input.resize(len as usize, 0);
        device.read_exact_at(&mut decoder.input, host)?;
        let made = decoder.codec.decode(&decoder.input, cluster).map_err(|reason| corrupt(host, reason))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_DECODERS {
            idle.push(decoder);
        }
        Ok(made)
    }
}

/// Refuses a cluster of `made` bytes where `needed` are asked for.
fn check_made(made: usize, needed: usize, host: u64) -> kiln_block::Result<()> {
    if made < needed {
        return Err(corrupt(host, format!("it holds {made} of {needed} bytes")));
    }
    Ok(())
}

fn corrupt(host: u64, reason: String) -> kiln_block::Error {
    kiln_block::Error::Corrupt { offset: host, reason: format!("compressed cluster: {reason}") }
}

impl Decoder {
    fn new(compression: Compression) -> kiln_block::Result<Self> {
        let codec = match compression {
            Compression::Deflate => Codec::Deflate(Decompress::new(false)),
            Compression::Zlib => Codec::Zlib(Decompress::new(true)),
            Compression::Zstd => Codec::Zstd(zstd::bulk::Decompressor::new()?),
        };
        Ok(Self { codec, input: Vec::new() })
    }
}

impl Codec {
    /// Fills the beginning of `output` and returns how much of it. The input is longer than the stream: its length
    /// is known in sectors only.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, String> {
        match self {
            Self::Deflate(inflate) => {
                inflate.reset(false);
                decode_stream(inflate, input, output)?;
                Ok(inflate.total_out() as usize)
            }
            Self::Zlib(inflate) => {
                inflate.reset(true);
                match decode_stream(inflate, input, output)? {
                    Status::StreamEnd => Ok(inflate.total_out() as usize),
                    _ => Err("its stream does not end with the cluster".to_owned()),
                }
            }
            Self::Zstd(decoder) => {
                decode_frames(decoder, input, output)?;
                Ok(output.len())
            }
        }
    }
}

fn decode_stream(inflate: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<Status, String> {
    inflate.decompress(input, output, FlushDecompress::Finish).map_err(|error| error.to_string())
}

/// Fills `output` from one or more frames, as QEMU does.
fn decode_frames(
    decoder: &mut zstd::bulk::Decompressor<'_>,
    mut input: &[u8],
    output: &mut [u8],
) -> Result<(), String> {
    let mut filled = 0;
    while filled < output.len() {
        let frame_len = zstd::zstd_safe::find_frame_compressed_size(input)
            .map_err(|code| zstd::zstd_safe::get_error_name(code).to_owned())?;
        let (frame, rest) = input.split_at(frame_len);
        let produced =
            decoder.decompress_to_buffer(frame, &mut output[filled..]).map_err(|error| error.to_string())?;
        filled += produced;
        input = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use kiln_block::MemoryDevice;

    use super::*;

    const CLUSTER: usize = 65536;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 % 251) as u8).collect()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
    }

    fn read(compression: Compression, stored: &[u8]) -> kiln_block::Result<Vec<u8>> {
        let device = MemoryDevice::from_bytes(stored);
        let clusters = CompressedClusters::new(compression, CLUSTER as u64);
        let mut whole = vec![0; CLUSTER];
        clusters.read(&device, (0, stored.len() as u64), 0, &mut whole)?;
        let mut part = [0; 100];
        clusters.read(&device, (0, stored.len() as u64), 5000, &mut part)?;
        assert_eq!(part, whole[5000..5100]);
        Ok(whole)
    }

    #[test]
    fn both_compressions_read_back_with_rubbish_after_the_stream() {
        let bytes = content(CLUSTER);
        let mut deflated = deflate(&bytes);
        deflated.extend([0xee; 300]);
        assert_eq!(read(Compression::Deflate, &deflated).expect("reads"), bytes);
        let mut frames = zstd::bulk::compress(&bytes[..1000], 1).expect("memory");
        frames.extend(zstd::bulk::compress(&bytes[1000..], 1).expect("memory"));
        frames.extend([0xee; 300]);
        assert_eq!(read(Compression::Zstd, &frames).expect("reads"), bytes);
    }

    #[test]
    fn a_zlib_stream_may_be_short_but_must_be_whole() {
        let bytes = content(CLUSTER);
        let zlib = |bytes: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
        };
        assert_eq!(read(Compression::Zlib, &zlib(&bytes)).expect("reads"), bytes);
        let part = |stored: &[u8], len: usize| {
            let device = MemoryDevice::from_bytes(stored);
            let clusters = CompressedClusters::new(Compression::Zlib, CLUSTER as u64);
            clusters.read(&device, (0, stored.len() as u64), 0, &mut vec![0; len])
        };
        let short = zlib(&bytes[..1024]);
        assert!(part(&short, 1024).is_ok());
        assert!(part(&short, 1025).is_err());
        assert!(part(&short[..short.len() - 1], 1024).is_err());
        assert!(part(&zlib(&vec![0; CLUSTER + 1]), 1024).is_err(), "more than a cluster");
    }

    #[test]
    fn streams_that_are_short_or_too_long_are_corrupt() {
        let short = content(CLUSTER - 1);
        assert!(read(Compression::Deflate, &deflate(&short)).is_err());
        assert!(read(Compression::Zstd, &zstd::bulk::compress(&short, 1).expect("memory")).is_err());
        let bomb = vec![0; 64 << 20];
        assert!(read(Compression::Zstd, &zstd::bulk::compress(&bomb, 1).expect("memory")).is_err());
        // Like QEMU, of a deflate stream only the first cluster is taken.
        assert_eq!(read(Compression::Deflate, &deflate(&bomb)).expect("reads"), vec![0; CLUSTER]);
        assert!(read(Compression::Deflate, &[0xff; 512]).is_err());
        assert!(read(Compression::Zstd, &[0xff; 512]).is_err());
    }
}
