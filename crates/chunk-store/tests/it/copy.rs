//! Copies in another store, and packs rewritten within one.

use std::sync::Arc;

use kiln_block::{MemoryDevice, WritableBlockDevice};
use kiln_chunk_store::{CHUNK_BYTES, DirectoryStore, Error, ManifestDevice, ObjectKind, copy, rewrite};
use rand::Rng;

use crate::bed::Bed;
use crate::disks::{assert_same, disk, scribble, seeded};

#[test]
fn a_copy_is_the_same_disk_and_moves_only_what_is_lacking() {
    let mut rng = seeded();
    let source = Bed::in_memory();
    let directory = tempfile::tempdir().expect("temporary directory");
    let destination = Bed::new(Arc::new(DirectoryStore::open(directory.path()).expect("opens")));
    let device = disk(&mut rng, 8 << 20);
    let original = source.ingest(1, &device).expect("stored");
    let job = destination.ledger.job(1);
    let copied = copy(&destination.target(&job), &*source.store, &original.manifest).expect("copied");
    job.publish(copied.manifest_id, copied.manifest.packs()).expect("published");
    assert_eq!(copied.manifest.root(), original.manifest.root());
    assert_eq!(copied.amounts.stored_bytes, original.amounts.stored_bytes, "compressed as they were");
    assert_eq!(copied.amounts.processed_bytes, original.manifest.data_bytes());

    scribble(&mut rng, &device, 2, 100_000);
    let changed = source.ingest(2, &device).expect("stored");
    let job = destination.ledger.job(2);
    let second = copy(&destination.target(&job), &*source.store, &changed.manifest).expect("copied");
    assert!(second.amounts.new_chunks <= changed.amounts.new_chunks);
    assert_same(&mut rng, &destination.open(second.manifest_id), &device);
}

#[test]
fn a_damaged_chunk_is_not_copied() {
    let mut rng = seeded();
    let source = Bed::in_memory();
    let original = source.ingest(1, &disk(&mut rng, 4 << 20)).expect("stored");
    let pack = original.manifest.packs()[0];
    let mut bytes = vec![0; source.store.len(pack.into()).expect("there") as usize];
    source.store.read_exact_at(pack.into(), &mut bytes, 0).expect("read");
    bytes[17] ^= 0xFF;
    source.store.delete(pack.into()).expect("deleted");
    let mut writer = source.store.create(pack.into()).expect("created");
    writer.write_all(&bytes).and_then(|()| writer.finish()).expect("written");

    let destination = Bed::in_memory();
    let job = destination.ledger.job(1);
    let refused = copy(&destination.target(&job), &*source.store, &original.manifest);
    assert!(matches!(refused, Err(Error::Corrupt { key, .. }) if key == pack.into()));
    assert!(destination.store.list(ObjectKind::Manifest).expect("listed").is_empty());
}

#[test]
fn manifests_read_the_same_without_the_sparse_pack() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let device = MemoryDevice::new(64 * CHUNK_BYTES);
    let mut bytes = vec![0; 64 * CHUNK_BYTES as usize];
    rng.fill(&mut bytes[..]);
    device.write_all_at(&bytes, 0).expect("in bounds");
    let first = bed.ingest(1, &device).expect("stored");
    // Two disks that share little with the first one, whose pack is then sparse.
    let mut disks = Vec::new();
    for job in 2..4 {
        let other = MemoryDevice::new(80 * CHUNK_BYTES);
        other.write_all_at(&bytes[..3 * CHUNK_BYTES as usize], 10 * CHUNK_BYTES).expect("in bounds");
        scribble(&mut rng, &other, 3, 100_000);
        let stored = bed.ingest(job, &other).expect("stored");
        disks.push((stored.manifest_id, other));
    }
    bed.ledger.unpublish(first.manifest_id);
    let sparse = first.manifest.packs();
    let manifests: Vec<_> = disks.iter().map(|(id, _)| *id).collect();
    let job = bed.ledger.job(9);
    let rewritten = rewrite(&bed.target(&job), &manifests, sparse).expect("rewritten");
    bed.store.delete(sparse[0].into()).expect("deleted");
    for (rewritten, (old, device)) in rewritten.iter().zip(&disks) {
        assert_eq!(rewritten.old, *old);
        assert!(!rewritten.packs.contains(&sparse[0]));
        let opened: ManifestDevice = bed.open(rewritten.new);
        assert_eq!(opened.manifest().packs(), rewritten.packs);
        assert_same(&mut rng, &opened, device);
    }
}
