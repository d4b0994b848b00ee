//! Storing whole disks and reading them back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_block::{BlockDevice, MemoryDevice, WritableBlockDevice};
use kiln_chunk_store::{
    Amounts, CHUNK_BYTES, ChunkIndex, DirectoryStore, Error, ObjectKey, ObjectKind, ObjectState, Scope,
    Target, ingest,
};
use rand::Rng;

use crate::bed::{Bed, go_on};
use crate::disks::{assert_same, content, disk, seeded};

#[test]
fn any_disk_reads_back() {
    let mut rng = seeded();
    let directory = tempfile::tempdir().expect("temporary directory");
    let bed = Bed::new(Arc::new(DirectoryStore::open(directory.path()).expect("opens")));
    for size_bytes in [1, 511, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_000_001, 8 << 20] {
        let device = disk(&mut rng, size_bytes);
        let stored = bed.ingest(1, &device).expect("stored");
        assert_eq!(stored.amounts.processed_bytes, size_bytes);
        assert_same(&mut rng, &bed.open(stored.manifest_id), &device);
    }
}

#[test]
fn an_empty_disk_stores_no_pack() {
    let bed = Bed::in_memory();
    let device = MemoryDevice::new(50 << 30);
    device.write_all_at(&[0; 8192], 7 << 30).expect("in bounds");
    let stored = bed.ingest(1, &device).expect("stored");
    assert!(stored.manifest.packs().is_empty() && stored.manifest.entries().is_empty());
    assert_eq!(stored.amounts.processed_bytes, 50 << 30);
    let mut bytes = [1; 100];
    bed.open(stored.manifest_id).read_exact_at(&mut bytes, 7 << 30).expect("readable");
    assert_eq!(bytes, [0; 100]);
}

#[test]
fn the_same_disk_again_stores_nothing_new_and_has_the_same_root() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = disk(&mut rng, 6 << 20);
    let first = bed.ingest(1, &device).expect("stored");
    let again = bed.ingest(2, &device).expect("stored");
    assert_eq!((again.amounts.new_chunks, again.amounts.stored_bytes), (0, 0));
    assert_eq!(again.manifest.root(), first.manifest.root());
    assert_eq!(bed.store.list(ObjectKind::Pack).expect("listed").len(), first.manifest.packs().len());
}

#[test]
fn equal_chunks_within_a_disk_are_stored_once() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    rng.fill(&mut chunk[..]);
    let device = MemoryDevice::new(100 * CHUNK_BYTES);
    (0..100).for_each(|i| device.write_all_at(&chunk, i * CHUNK_BYTES).expect("in bounds"));
    let stored = bed.ingest(1, &device).expect("stored");
    assert_eq!((stored.amounts.new_chunks, stored.amounts.reused_chunks), (1, 99));
    assert_same(&mut rng, &bed.open(stored.manifest_id), &device);
}

#[test]
fn a_disk_of_many_packs_reads_back() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = MemoryDevice::new(80 << 20);
    let mut bytes = vec![0; 80 << 20];
    rng.fill(&mut bytes[..]);
    device.write_all_at(&bytes, 0).expect("in bounds");
    let stored = bed.ingest(1, &device).expect("stored");
    assert_eq!(stored.manifest.packs().len(), 3);
    assert_eq!(stored.amounts.stored_bytes, 80 << 20, "random bytes are stored raw");
    assert_same(&mut rng, &bed.open(stored.manifest_id), &device);
}

#[test]
fn another_scope_is_not_searched_and_a_public_one_is() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = disk(&mut rng, 4 << 20);
    let first = bed.ingest(1, &device).expect("stored");
    let other = ChunkIndex::new(Scope::new("other"));
    let job = bed.ledger.job(2);
    let apart = Target { index: &other, ..bed.target(&job) };
    let stored = ingest(&apart, &device).expect("stored");
    assert_eq!(stored.amounts.new_chunks, first.amounts.new_chunks);
    assert!(stored.manifest.packs().iter().all(|pack| !first.manifest.packs().contains(pack)));

    let third = ChunkIndex::new(Scope::new("third"));
    let public = ChunkIndex::new(Scope::new("public"));
    let report = public.load(&*bed.store, first.manifest.packs());
    assert_eq!((report.loaded, report.unreadable.len()), (first.manifest.packs().len(), 0));
    let shared = Target { index: &third, also_search: &[&public], ..bed.target(&job) };
    let stored = ingest(&shared, &device).expect("stored");
    assert_eq!(stored.amounts.new_chunks, 0);
    assert_eq!(stored.manifest.packs(), first.manifest.packs());
}

#[test]
fn chunks_of_a_condemned_pack_are_stored_again() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = disk(&mut rng, 4 << 20);
    let first = bed.ingest(1, &device).expect("stored");
    bed.ledger.unpublish(first.manifest_id);
    let policy = kiln_chunk_store::CollectionPolicy { min_age_ms: 0, ..Default::default() };
    for pack in first.manifest.packs() {
        assert!(bed.ledger.condemn(ObjectKey::Pack(*pack), &policy));
    }
    let second = bed.ingest(2, &device).expect("stored");
    assert_eq!(second.amounts.new_chunks, first.amounts.new_chunks);
    assert!(first.manifest.packs().iter().all(|pack| !bed.index.contains_pack(*pack)));
    let third = bed.ingest(3, &device).expect("stored");
    assert_eq!((third.amounts.new_chunks, third.manifest.packs()), (0, second.manifest.packs()));
}

#[test]
fn a_cancelled_ingest_goes_on_from_the_packs_it_has_sealed() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = MemoryDevice::new(100 << 20);
    let mut bytes = vec![0; 100 << 20];
    rng.fill(&mut bytes[..]);
    device.write_all_at(&bytes, 0).expect("in bounds");
    let job = bed.ledger.job(1);
    let stop = |amounts: Amounts| {
        if amounts.processed_bytes > 90 << 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = ingest(&Target { progress: &stop, ..bed.target(&job) }, &device);
    assert!(matches!(stopped, Err(Error::Cancelled)));

    // As after a restart: nothing is known but the ledger's rows.
    let job = bed.ledger.job(1);
    let fresh = ChunkIndex::new(Scope::new("account"));
    let sealed = bed.ledger.rows().into_iter().filter(|row| row.state == ObjectState::Live).count();
    assert!(sealed >= 1);
    let report = fresh.load(&*bed.store, &job.held_packs());
    assert_eq!(report.loaded, sealed);
    let stored = ingest(&Target { index: &fresh, ..bed.target(&job) }, &device).expect("stored");
    assert!(stored.amounts.reused_chunks >= 512, "{:?}", stored.amounts);
    assert_same(&mut rng, &bed.open(stored.manifest_id), &device);
}

#[test]
fn a_lost_lease_ends_the_ingest() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = disk(&mut rng, 4 << 20);
    let job = bed.ledger.job(1);
    let other_worker = bed.ledger.job(1);
    assert!(matches!(ingest(&bed.target(&job), &device), Err(Error::LeaseLost)));
    assert!(bed.store.list(ObjectKind::Pack).expect("listed").is_empty());
    ingest(&bed.target(&other_worker), &device).expect("the new worker goes on");
}

#[test]
fn progress_reaches_the_total_and_never_passes_it() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = MemoryDevice::new((64 << 20) + 777);
    device.write_all_at(&content(&mut rng, 5 << 20), 20 << 20).expect("in bounds");
    let most = AtomicU64::new(0);
    let watch = |amounts: Amounts| {
        assert!(amounts.processed_bytes <= amounts.total_bytes);
        most.fetch_max(amounts.processed_bytes, Ordering::Relaxed);
        go_on(amounts)
    };
    let job = bed.ledger.job(1);
    ingest(&Target { progress: &watch, ..bed.target(&job) }, &device).expect("stored");
    assert_eq!(most.into_inner(), device.size_bytes());
}

#[test]
fn readers_in_many_threads_see_the_same_disk() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = disk(&mut rng, 16 << 20);
    let stored = bed.ingest(1, &device).expect("stored");
    let opened = bed.open(stored.manifest_id);
    let expected = crate::disks::read_all(&device);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (opened, expected) = (&opened, &expected);
            scope.spawn(move || {
                let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(thread);
                for _ in 0..300 {
                    let offset = rng.random_range(0..expected.len() - 4096);
                    let mut bytes = [0; 4096];
                    opened.read_exact_at(&mut bytes, offset as u64).expect("readable");
                    assert!(bytes == expected[offset..offset + 4096]);
                }
            });
        }
    });
}
