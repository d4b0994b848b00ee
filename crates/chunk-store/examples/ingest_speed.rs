//! Measures storing and reading a disk: `cargo run --release --example ingest_speed -- DISK.raw STORE-DIRECTORY`.
//!
//! Without arguments it generates a disk of 2 GiB of mixed compressibility in a temporary directory. Prints what each
//! step took, in all and of CPU time, and the most memory the process had by then. Not a comparison with other programs: `make bench` is that.

use std::error::Error;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kiln_block::{BlockDevice, FileDevice, MemoryDevice, WritableBlockDevice, extents};
use kiln_chunk_store::{
    Amounts, ChunkIndex, ChunkReader, DirectoryStore, Manifest, ManifestDevice, MemoryJob, MemoryLedger,
    MemoryStore, ObjectStore, Scope, Stored, Target, copy, ingest, ingest_overlay,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

type Outcome<T> = Result<T, Box<dyn Error>>;

const GENERATED_BYTES: u64 = 8 << 30;
const GENERATED_DATA_BYTES: u64 = 2 << 30;
const PIECE_BYTES: usize = 1 << 20;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let temporary = tempfile::tempdir()?;
    let disk = match arguments.next() {
        Some(disk) => disk,
        None => generate(&temporary.path().join("disk.raw"))?,
    };
    let store_path = arguments.next().unwrap_or_else(|| temporary.path().join("store"));
    let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(&store_path)?);
    let device = FileDevice::new(File::open(disk)?)?;
    let (ledger, index) = (MemoryLedger::default(), ChunkIndex::new(Scope::new("measured")));
    let data_bytes = read_data(&device)?;

    let first = timed("ingest", data_bytes, || store_disk(&store, &ledger.job(1), &index, &device))?;
    println!("  {:?}, {} packs", first.amounts, first.manifest.packs().len());
    timed("ingest again, index in memory", data_bytes, || {
        store_disk(&store, &ledger.job(2), &index, &device)
    })?;
    let fresh = ChunkIndex::new(Scope::new("measured"));
    timed("load index", 0, || Ok(fresh.load(&*store, first.manifest.packs())))?;
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::default());
    let unknowing = ChunkIndex::new(Scope::new("elsewhere"));
    let elsewhere = MemoryLedger::default();
    let job = elsewhere.job(1);
    let target = target(&memory, &job, &unknowing);
    timed("copy to memory", data_bytes, || Ok(copy(&target, &*store, &first.manifest)?))?;
    drop(memory);

    let manifest = timed("read manifest", 0, || Ok(Manifest::read(&*store, first.manifest_id)?))?;
    let reader = Arc::new(ChunkReader::new(store.clone(), 64 << 20));
    let opened = ManifestDevice::new(reader, Arc::new(manifest));
    for threads in [1, 2] {
        let name = format!("read all, {threads} threads");
        timed(&name, data_bytes, || read_in_parallel(&opened, threads))?;
    }
    let count = 20_000;
    let name = format!("{count} reads of 4 KiB at random, 1 thread");
    timed(&name, count * 4096, || read_at_random(&opened, count))?;
    let overlay = changes(device.size_bytes())?;
    let job = ledger.job(3);
    timed("overlay of 100 MB", 100 << 20, || {
        Ok(ingest_overlay(&self::target(&store, &job, &index), &opened, &overlay)?)
    })?;
    Ok(())
}

fn target<'a>(store: &Arc<dyn ObjectStore>, job: &'a MemoryJob, index: &'a ChunkIndex) -> Target<'a> {
    Target { store: store.clone(), ledger: job, index, also_search: &[], progress: &go_on, threads: 0 }
}

fn go_on(_: Amounts) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn store_disk(
    store: &Arc<dyn ObjectStore>,
    job: &MemoryJob,
    index: &ChunkIndex,
    device: &dyn BlockDevice,
) -> Outcome<Stored> {
    let stored = ingest(&target(store, job, index), device)?;
    job.publish(stored.manifest_id, stored.manifest.packs())?;
    Ok(stored)
}

fn timed<T>(name: &str, bytes: u64, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let (start, cpu_before) = (Instant::now(), cpu_seconds()?);
    let result = work()?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    println!(
        "{name}: {seconds:.3} s, {:.0} MB/s ({cpu:.2} s of CPU; {})",
        bytes as f64 / seconds / 1e6,
        most_memory()?
    );
    Ok(result)
}

/// CPU time of the process so far: on a machine that others use too, what a step costs.
fn cpu_seconds() -> Outcome<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of proc(5), of which the first two are cut off.
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

/// The most memory the process ever had.
fn most_memory() -> Outcome<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Reads all data once, so that it is in the page cache; returns how much it is.
fn read_data(device: &dyn BlockDevice) -> Outcome<u64> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut data_bytes = 0;
    for extent in extents(device, 0, device.size_bytes()) {
        let extent = extent?;
        if extent.kind.reads_as_zeros() {
            continue;
        }
        data_bytes += extent.len;
        for offset in (extent.offset..extent.end()).step_by(PIECE_BYTES) {
            let len = (extent.end() - offset).min(PIECE_BYTES as u64) as usize;
            device.read_exact_at(&mut buffer[..len], offset)?;
        }
    }
    Ok(data_bytes)
}

fn read_in_parallel(device: &ManifestDevice, threads: u64) -> Outcome<()> {
    std::thread::scope(|scope| {
        let read = |thread: u64| {
            let mut buffer = vec![0; PIECE_BYTES];
            let size_bytes = device.size_bytes() / PIECE_BYTES as u64;
            for piece in (thread..size_bytes).step_by(threads as usize) {
                let offset = piece * PIECE_BYTES as u64;
                if device.extent_at(offset, PIECE_BYTES as u64)?.len == PIECE_BYTES as u64
                    && device.extent_at(offset, PIECE_BYTES as u64)?.kind.reads_as_zeros()
                {
                    continue;
                }
                device.read_exact_at(&mut buffer, offset)?;
            }
            kiln_block::Result::Ok(())
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || read(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    Ok(())
}

fn read_at_random(device: &ManifestDevice, count: u64) -> Outcome<()> {
    let mut rng = StdRng::seed_from_u64(1);
    let entries = device.manifest().entries();
    let mut buffer = [0; 4096];
    for _ in 0..count {
        let entry = entries[rng.random_range(0..entries.len())];
        device.read_exact_at(&mut buffer, entry.offset)?;
    }
    Ok(())
}

/// An overlay with 100 MiB of changes, in runs of 64 KiB to 1 MiB all over the disk.
fn changes(size_bytes: u64) -> Outcome<MemoryDevice> {
    let overlay = MemoryDevice::new(size_bytes);
    let mut rng = StdRng::seed_from_u64(2);
    let mut left = 100 << 20;
    while left > 0 {
        let len = rng.random_range(65_536..PIECE_BYTES).min(left);
        let offset = rng.random_range(0..(size_bytes - len as u64) / 4096) * 4096;
        overlay.write_all_at(&mixed(&mut rng, len), offset)?;
        left -= len;
    }
    Ok(overlay)
}

/// Words of a small vocabulary, or random bytes.
fn mixed(rng: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes[..]);
    if rng.random_bool(0.75) {
        let vocabulary: Vec<u64> = (0..512).map(|_| rng.random()).collect();
        for word in bytes.chunks_exact_mut(8) {
            let chosen = vocabulary[usize::from(word[0]) * 2 + usize::from(word[1] & 1)];
            word.copy_from_slice(&chosen.to_le_bytes());
        }
    }
    bytes
}

fn generate(path: &Path) -> Outcome<PathBuf> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    file.set_len(GENERATED_BYTES)?;
    let device = FileDevice::new(file)?;
    let mut rng = StdRng::seed_from_u64(0);
    let spread = GENERATED_BYTES / GENERATED_DATA_BYTES;
    for offset in (0..GENERATED_BYTES).step_by(PIECE_BYTES * spread as usize) {
        device.write_all_at(&mixed(&mut rng, PIECE_BYTES), offset)?;
    }
    device.sync()?;
    Ok(path.into())
}
