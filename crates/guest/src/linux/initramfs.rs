//! The initramfs of a kernel: which drivers are in it.
//!
//! It is a chain of cpio archives, plain (processor microcode comes first) or compressed, with zeros between. Only
//! names are looked at, in a stream: memory does not grow with the archive, and output counts against the budget.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::cpio::{self, End};
use super::decompress::{self, Compression, MAGIC_BYTES};
use crate::budget::Budget;
use crate::error::{Error, Result};

/// What was seen in an initramfs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initramfs {
    /// Its file.
    pub path: String,
    /// How its archives are compressed, in their order, as far as it was read.
    pub compressions: Vec<Compression>,
    /// Those of the wanted drivers that are in it.
    pub drivers: Vec<String>,
}

const INPUT_BYTES: usize = 64 << 10;
/// Archives in one initramfs.
const ARCHIVES_MAX: usize = 64;

/// Looks for drivers, by their module's name (`virtio_blk`); stops as soon as all were seen.
pub(crate) fn find_drivers(source: &mut dyn Read, budget: &Budget, wanted: &[&str]) -> Result<Initramfs> {
    let mut input = Input { source, budget, buffer: Vec::new(), position: 0 };
    let mut found = Initramfs::default();
    for _ in 0..ARCHIVES_MAX {
        if !input.skip_zeros()? {
            return Ok(found);
        }
        let head = input.peek()?;
        let Some(compression) = decompress::detect(head) else {
            // What follows the last archive is padding of some kind, unless there was none.
            if found.compressions.is_empty() {
                return Err(Error::Damaged("the initramfs begins like no archive".to_owned()));
            }
            return Ok(found);
        };
        if compression == Compression::Lzo {
            return Err(Error::Unsupported("an initramfs compressed with lzo".to_owned()));
        }
        found.compressions.push(compression);
        let decoder = decompress::decoder(compression, &mut input).map_err(Error::from_io)?;
        let mut output = Output { decoder, budget };
        let mut visit = |name: &str| note(name, wanted, &mut found.drivers);
        let end = if compression == Compression::None {
            cpio::walk(&mut output, budget, &mut visit)?
        } else {
            walk_archives(&mut output, budget, &mut visit)?
        };
        match end {
            End::Trailer => {}
            End::Stopped => return Ok(found),
            End::Truncated => return Err(Error::Damaged("the initramfs ends in the middle".to_owned())),
        }
    }
    Ok(found)
}

/// Notes a wanted driver; breaks off once all were seen.
fn note(name: &str, wanted: &[&str], drivers: &mut Vec<String>) -> ControlFlow<()> {
    if let Some(driver) = wanted.iter().find(|driver| is_module(name, driver))
        && !drivers.iter().any(|known| known == driver)
    {
        drivers.push((*driver).to_owned());
    }
    if drivers.len() == wanted.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// The archives in one piece of compressed output: there may be several, with zeros between. It is read to its end,
/// so that what follows it in the input is found where it begins.
fn walk_archives(
    output: &mut dyn Read,
    budget: &Budget,
    visit: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<End> {
    let mut inner = Input { source: output, budget, buffer: Vec::new(), position: 0 };
    let mut first = true;
    while inner.skip_zeros()? {
        if !first && decompress::detect(inner.peek()?) != Some(Compression::None) {
            io::copy(&mut inner, &mut io::sink()).map_err(Error::from_io)?;
            break;
        }
        first = false;
        match cpio::walk(&mut inner, budget, visit)? {
            End::Trailer => {}
            early => return Ok(early),
        }
    }
    Ok(End::Trailer)
}

/// Whether a path is a module's, compressed or not. Modules' names may have dashes for underscores.
pub(crate) fn is_module(path: &str, driver: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, suffix)) = name.split_once(".ko") else {
        return false;
    };
    matches!(suffix, "" | ".gz" | ".xz" | ".zst" | ".bz2") && stem.replace('-', "_") == driver
}

/// The file, with a look at its next bytes.
struct Input<'a> {
    source: &'a mut dyn Read,
    budget: &'a Budget,
    buffer: Vec<u8>,
    position: usize,
}

impl Input<'_> {
    /// Passes over zeros; `false` where the input ends with them.
    fn skip_zeros(&mut self) -> Result<bool> {
        loop {
            self.budget.charge_step()?;
            let buffer = self.fill_buf().map_err(Error::from_io)?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            let all = zeros == buffer.len();
            self.consume(zeros);
            if !all {
                return Ok(true);
            }
        }
    }

    /// The next bytes, as many as a magic has unless the input ends.
    fn peek(&mut self) -> Result<&[u8]> {
        while self.buffer.len() - self.position < MAGIC_BYTES {
            let mut more = vec![0; INPUT_BYTES];
            let count = self.source.read(&mut more).map_err(Error::from_io)?;
            if count == 0 {
                break;
            }
            self.buffer.drain(..self.position);
            self.position = 0;
            self.buffer.extend_from_slice(&more[..count]);
        }
        Ok(&self.buffer[self.position..])
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.buffer.len() {
            self.buffer.resize(INPUT_BYTES, 0);
            self.position = 0;
            let outcome = self.source.read(&mut self.buffer);
            self.buffer.truncate(*outcome.as_ref().unwrap_or(&0));
            outcome?;
        }
        Ok(&self.buffer[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position = (self.position + amount).min(self.buffer.len());
    }
}

/// Decoded bytes, counted.
struct Output<'a> {
    decoder: Box<dyn Read + 'a>,
    budget: &'a Budget,
}

impl Read for Output<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buf)?;
        self.budget.charge_decompressed(count as u64).map_err(|what| Error::from(what).into_io())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::budget::{Exhausted, Limits};
    use crate::linux::cpio::tests::archive;

    const WANTED: [&str; 2] = ["virtio_blk", "virtio_net"];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn lz4_legacy(bytes: &[u8]) -> Vec<u8> {
        let mut out = LZ4.to_vec();
        for block in bytes.chunks(8 << 20) {
            let compressed = lz4_flex::block::compress(block);
            out.extend((compressed.len() as u32).to_le_bytes());
            out.extend(compressed);
        }
        out
    }

    const LZ4: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];

    fn find(bytes: &[u8]) -> Result<Initramfs> {
        find_drivers(&mut { bytes }, &Budget::new(Limits::default()), &WANTED)
    }

    #[test]
    fn drivers_are_found_behind_every_compression() {
        let members = archive(&["usr/lib/modules/6.1/kernel/virtio_net.ko.xz", "x/virtio-blk.ko", "z"], 5000);
        let xz = liblzma::encode_all(members.as_slice(), 6).expect("memory");
        let zstd = zstd::encode_all(members.as_slice(), 3).expect("memory");
        let mut bzip2 = Vec::new();
        bzip2::read::BzEncoder::new(members.as_slice(), bzip2::Compression::fast())
            .read_to_end(&mut bzip2)
            .expect("memory");
        let packed = [members.clone(), gzip(&members), xz, zstd, lz4_legacy(&members), bzip2];
        for (packed, compression) in packed.iter().zip([
            Compression::None,
            Compression::Gzip,
            Compression::Xz,
            Compression::Zstd,
            Compression::Lz4,
            Compression::Bzip2,
        ]) {
            let found = find(packed).expect("an initramfs");
            assert_eq!(found.drivers, ["virtio_net", "virtio_blk"], "{compression:?}");
            assert_eq!(found.compressions, [compression]);
            let mut chained = archive(&["kernel/x86/microcode/GenuineIntel.bin"], 3000);
            chained.resize(chained.len().next_multiple_of(512), 0);
            chained.extend(packed);
            let found = find(&chained).expect("an initramfs");
            assert_eq!((found.drivers.len(), found.compressions[1]), (2, compression), "{compression:?}");
        }
    }

    #[test]
    fn compressed_pieces_may_follow_each_other() {
        let mut chained = gzip(&archive(&["virtio_blk.ko"], 10));
        chained.extend(zstd::encode_all(archive(&["virtio_net.ko"], 10).as_slice(), 3).expect("memory"));
        assert_eq!(find(&chained).expect("an initramfs").drivers, ["virtio_blk", "virtio_net"]);
    }

    #[test]
    fn a_bomb_ends_with_the_budget() {
        let bomb = gzip(&archive(&["a"], 64 << 20));
        let budget = Budget::new(Limits { decompressed_bytes: 1 << 20, ..Limits::default() });
        let outcome = find_drivers(&mut bomb.as_slice(), &budget, &WANTED);
        assert!(matches!(outcome, Err(Error::Exhausted(Exhausted::DecompressedBytes))), "{outcome:?}");
    }

    #[test]
    fn nonsense_is_damage() {
        assert!(matches!(find(b"nonsense"), Err(Error::Damaged(_))));
        assert_eq!(find(&[0; 9000]).expect("empty").drivers, Vec::<String>::new());
        assert!(find(&gzip(&[b'x'; 200])).is_err());
        let whole = archive(&["a"], 1000);
        assert!(matches!(find(&whole[..500]), Err(Error::Damaged(_))));
        assert!(matches!(find(&gzip(&whole[..500])), Err(Error::Damaged(_))));
    }
}
