//! Compares chunk lengths on a disk and on the same disk after an upgrade:
//! `cargo run --release -p kiln-chunk-store --example chunk_lengths -- BEFORE.raw AFTER.raw [ZSTD-LEVEL]`.
//!
//! `bench/upgrade-pair` makes such disks. For each length: what the first disk takes in the store with everything that
//! describes it, what the second adds, how fast one core stores and reads, and what 4 KiB at random cost. Rates are of
//! CPU time, so that they hold on a machine that others use too. Not a part of `make bench`:
//! docs/decisions/0002-chunk-length.md is where its figures went.

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;

use kiln_block::{BlockDevice, Digest, FileDevice, extents};

type Outcome<T> = Result<T, Box<dyn Error>>;

const LENGTHS_KIB: [u64; 6] = [4, 16, 32, 64, 128, 256];
const DEFAULT_LEVEL: i32 = 1;
/// Bytes that describe a chunk: its record in the pack's index, and its entry in the manifest.
const RECORD_BYTES: usize = 44;
const ENTRY_BYTES: usize = 56;
const USAGE: &str = "usage: chunk_lengths BEFORE.raw AFTER.raw [ZSTD-LEVEL]";

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let open = |path: &OsString| -> Outcome<FileDevice> { Ok(FileDevice::new(File::open(path)?)?) };
    let (before, after) = match arguments.as_slice() {
        [before, after, ..] => (open(before)?, open(after)?),
        _ => return Err(USAGE.into()),
    };
    let level = arguments.get(2).map(|level| level.to_string_lossy().parse()).transpose()?;
    let level = level.unwrap_or(DEFAULT_LEVEL);
    // Once without looking at the clock, so that both disks are in the page cache.
    store(&before, 1 << 20, level, &mut HashSet::new())?;
    store(&after, 1 << 20, level, &mut HashSet::new())?;
    println!("length    stored   ratio  upgrade adds  store MB/s  read MB/s  4 KiB read  index in memory");
    for length in LENGTHS_KIB {
        measure(&before, &after, length << 10, level)?;
    }
    Ok(())
}

fn measure(before: &FileDevice, after: &FileDevice, length: u64, level: i32) -> Outcome<()> {
    let mut known = HashSet::new();
    let start = cpu_seconds()?;
    let first = store(before, length, level, &mut known)?;
    let storing = cpu_seconds()? - start;
    let start = cpu_seconds()?;
    first.read_back(length)?;
    let reading = cpu_seconds()? - start;
    let second = store(after, length, level, &mut known)?;
    let chunks = first.new_chunks.len();
    println!(
        "{:>4} KiB  {:>4.0} MB  {:>6.3}  {:>9.1} MB  {:>10.0}  {:>9.0}  {:>7.1} us  {:>12.1} MB",
        length >> 10,
        first.kept_bytes() as f64 / 1e6,
        first.kept_bytes() as f64 / first.data_bytes as f64,
        second.kept_bytes() as f64 / 1e6,
        first.data_bytes as f64 / storing / 1e6,
        first.new_bytes() as f64 / reading / 1e6,
        reading * 1e6 / chunks as f64,
        (chunks * 64) as f64 / 1e6,
    );
    Ok(())
}

/// What storing one disk came to.
#[derive(Default)]
struct Stored {
    data_bytes: usize,
    entries: usize,
    /// Digest, length, and length as stored, which is the same where compression gains too little.
    new_chunks: Vec<(Digest, usize, usize)>,
    /// The new chunks as stored, one after the other.
    bytes: Vec<u8>,
}

impl Stored {
    /// Everything that the store keeps for the disk.
    fn kept_bytes(&self) -> usize {
        self.bytes.len() + self.new_chunks.len() * RECORD_BYTES + self.entries * ENTRY_BYTES
    }

    fn new_bytes(&self) -> usize {
        self.new_chunks.iter().map(|(_, len, _)| len).sum()
    }

    /// Reads every stored chunk back and verifies it.
    fn read_back(&self, length: u64) -> Outcome<()> {
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        let mut back = vec![0; length as usize];
        let mut rest = &self.bytes[..];
        for (digest, len, stored_len) in &self.new_chunks {
            let (stored, after) = rest.split_at(*stored_len);
            rest = after;
            if stored_len == len {
                back[..*len].copy_from_slice(stored);
            } else {
                decompressor.decompress_to_buffer(stored, &mut back[..*len])?;
            }
            assert_eq!(Digest::of(&back[..*len]), *digest, "a chunk reads back as it was");
        }
        Ok(())
    }
}

/// Stores, in memory, the disk's chunks that are not `known`, on this thread.
fn store(disk: &FileDevice, length: u64, level: i32, known: &mut HashSet<Digest>) -> Outcome<Stored> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    let mut stored = Stored::default();
    let mut buffer = vec![0; length as usize];
    let mut out = vec![0; length as usize];
    for start in chunk_starts(disk, length)? {
        let len = (disk.size_bytes() - start).min(length) as usize;
        let chunk = &mut buffer[..len];
        disk.read_exact_at(chunk, start)?;
        if chunk.iter().all(|byte| *byte == 0) {
            continue;
        }
        stored.data_bytes += len;
        stored.entries += 1;
        let digest = Digest::of(chunk);
        if !known.insert(digest) {
            continue;
        }
        let worthwhile = len - len.div_ceil(20);
        let kept = match compressor.compress_to_buffer(chunk, &mut out[..worthwhile]) {
            Ok(compressed) => &out[..compressed],
            Err(_) => chunk,
        };
        stored.bytes.extend_from_slice(kept);
        stored.new_chunks.push((digest, len, kept.len()));
    }
    Ok(stored)
}

/// Where the chunks begin that hold data: an extent may begin or end within one.
fn chunk_starts(disk: &FileDevice, length: u64) -> Outcome<Vec<u64>> {
    let mut starts = Vec::new();
    let mut next = 0;
    for extent in extents(disk, 0, disk.size_bytes()) {
        let extent = extent?;
        if !extent.kind.reads_as_zeros() {
            let first = (extent.offset / length * length).max(next);
            starts.extend((first..extent.end()).step_by(length as usize));
            next = extent.end().next_multiple_of(length);
        }
    }
    Ok(starts)
}

/// CPU time of the process so far.
fn cpu_seconds() -> Outcome<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of proc(5), of which the first two are cut off.
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}
