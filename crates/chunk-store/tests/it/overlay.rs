//! Disks stored as changes to a stored disk.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kiln_block::{BlockDevice, Extent, ExtentKind, MemoryDevice, WritableBlockDevice};
use kiln_chunk_store::{CHUNK_BYTES, CollectionPolicy, Error, ObjectKey, ingest_overlay};
use rand::Rng;
use rand::rngs::StdRng;

use crate::bed::Bed;
use crate::disks::{assert_same, content, disk, seeded};

const SECTOR: u64 = 512;

/// An overlay with data, zeros and holes by the sector, and the number of its bytes that were read.
struct Overlay {
    size_bytes: u64,
    sectors: BTreeMap<u64, Vec<u8>>,
    read_bytes: Mutex<u64>,
}

impl Overlay {
    fn random(rng: &mut StdRng, size_bytes: u64) -> Self {
        let mut sectors = BTreeMap::new();
        for _ in 0..15 {
            let first = rng.random_range(0..size_bytes / SECTOR);
            let count = rng.random_range(1..400).min(size_bytes / SECTOR - first);
            let is_zero = rng.random_bool(0.3);
            for sector in first..first + count {
                sectors.insert(sector, if is_zero { Vec::new() } else { content(rng, SECTOR as usize) });
            }
        }
        Self { size_bytes, sectors, read_bytes: Mutex::new(0) }
    }

    /// What a guest sees with `base` below.
    fn over(&self, base: &MemoryDevice) -> MemoryDevice {
        let merged = MemoryDevice::new(self.size_bytes);
        merged.write_all_at(&crate::disks::read_all(base), 0).expect("the base is not larger");
        for (sector, bytes) in &self.sectors {
            let zeros = [0; SECTOR as usize];
            let bytes = if bytes.is_empty() { &zeros } else { &bytes[..] };
            merged.write_all_at(bytes, sector * SECTOR).expect("in bounds");
        }
        merged
    }

    fn kind(&self, sector: u64) -> ExtentKind {
        match self.sectors.get(&sector) {
            None => ExtentKind::Hole,
            Some(bytes) if bytes.is_empty() => ExtentKind::Zero,
            Some(_) => ExtentKind::Data,
        }
    }
}

impl BlockDevice for Overlay {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        *self.read_bytes.lock().expect("not poisoned") += buf.len() as u64;
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = offset + i as u64;
            let sector = &self.sectors[&(at / SECTOR)];
            *byte = sector[(at % SECTOR) as usize];
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        let kind = self.kind(offset / SECTOR);
        let mut end = (offset / SECTOR + 1) * SECTOR;
        while end < offset + len && self.kind(end / SECTOR) == kind {
            end += SECTOR;
        }
        Ok(Extent { offset, len: (end - offset).min(len), kind })
    }
}

#[test]
fn an_overlay_reads_back_as_the_guest_saw_it() {
    let mut rng = seeded();
    for grown_bytes in [0, SECTOR, 5 << 20] {
        let bed = Bed::in_memory();
        let size_bytes = (6 << 20) + 7 * SECTOR;
        let base = disk(&mut rng, size_bytes);
        let base_stored = bed.ingest(1, &base).expect("stored");
        let overlay = Overlay::random(&mut rng, size_bytes + grown_bytes);
        let job = bed.ledger.job(2);
        let opened = bed.open(base_stored.manifest_id);
        let stored = ingest_overlay(&bed.target(&job), &opened, &overlay).expect("stored");
        assert_eq!(stored.amounts.processed_bytes, overlay.size_bytes);
        let expected = overlay.over(&base);
        assert_same(&mut rng, &bed.open(stored.manifest_id), &expected);
        // The same content stored from scratch is cut alike, unless the base ended within a chunk.
        let whole = bed.ingest(3, &expected).expect("stored");
        assert!(whole.manifest.root() == stored.manifest.root() || grown_bytes > 0);
    }
}

#[test]
fn only_what_the_overlay_holds_is_read_and_stored() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let base = disk(&mut rng, 64 << 20);
    let base_stored = bed.ingest(1, &base).expect("stored");
    let mut overlay = Overlay { size_bytes: 64 << 20, sectors: BTreeMap::new(), read_bytes: Mutex::new(0) };
    overlay.sectors.insert(1000, vec![0x5A; SECTOR as usize]);
    let job = bed.ledger.job(2);
    let stored =
        ingest_overlay(&bed.target(&job), &bed.open(base_stored.manifest_id), &overlay).expect("stored");
    assert_eq!(stored.amounts.new_chunks, 1);
    assert!(stored.amounts.stored_bytes <= CHUNK_BYTES);
    assert_eq!(*overlay.read_bytes.lock().expect("not poisoned"), SECTOR);
    assert_same(&mut rng, &bed.open(stored.manifest_id), &overlay.over(&base));
}

#[test]
fn an_empty_overlay_is_the_base() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let base_stored = bed.ingest(1, &disk(&mut rng, 3 << 20)).expect("stored");
    let job = bed.ledger.job(2);
    let overlay = MemoryDevice::new(3 << 20);
    let stored =
        ingest_overlay(&bed.target(&job), &bed.open(base_stored.manifest_id), &overlay).expect("stored");
    assert_eq!(stored.manifest, base_stored.manifest);
    assert_ne!(stored.manifest_id, base_stored.manifest_id);
}

#[test]
fn a_base_that_is_being_deleted_is_refused_and_so_is_shrinking() {
    let mut rng = seeded();
    let bed = Bed::in_memory();
    let base_stored = bed.ingest(1, &disk(&mut rng, 3 << 20)).expect("stored");
    let opened = bed.open(base_stored.manifest_id);
    let job = bed.ledger.job(2);
    let smaller = ingest_overlay(&bed.target(&job), &opened, &MemoryDevice::new(2 << 20));
    assert!(matches!(smaller, Err(Error::OverlayShrinks { .. })));
    bed.ledger.unpublish(base_stored.manifest_id);
    let pack = base_stored.manifest.packs()[0];
    assert!(
        bed.ledger.condemn(ObjectKey::Pack(pack), &CollectionPolicy { min_age_ms: 0, ..Default::default() })
    );
    let refused = ingest_overlay(&bed.target(&job), &opened, &MemoryDevice::new(3 << 20));
    assert!(matches!(refused, Err(Error::PackNotLive(found)) if found == pack));
}
