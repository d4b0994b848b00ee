//! Stores that fail, and objects that rot.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kiln_block::{BlockDevice, Extent, MemoryDevice};
use kiln_chunk_store::{
    Error, MemoryStore, ObjectKey, ObjectKind, ObjectState, ObjectStore, ObjectWriter, Result, ingest,
};

use crate::bed::Bed;
use crate::disks::{assert_same, disk, read_all, seeded};

/// A memory store with limited room, and whose reads can be damaged.
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    /// Bytes that can still be written.
    room_bytes: Arc<AtomicI64>,
    /// A byte of every pack that reads wrong; negative for none.
    bad_byte: AtomicI64,
}

impl FaultyStore {
    pub(crate) fn with_room(bytes: i64) -> Self {
        let room_bytes = Arc::new(AtomicI64::new(bytes));
        Self { inner: MemoryStore::default(), room_bytes, bad_byte: AtomicI64::new(-1) }
    }

    fn damage(&self, byte: i64) {
        self.bad_byte.store(byte, Ordering::Relaxed);
    }
}

impl ObjectStore for FaultyStore {
    fn create(&self, key: ObjectKey) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(FaultyWriter {
            key,
            inner: self.inner.create(key)?,
            room_bytes: self.room_bytes.clone(),
        }))
    }

    fn read_exact_at(&self, key: ObjectKey, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_exact_at(key, buf, offset)?;
        let bad =
            u64::try_from(self.bad_byte.load(Ordering::Relaxed)).ok().and_then(|bad| bad.checked_sub(offset));
        if let Some(byte) =
            bad.and_then(|bad| buf.get_mut(bad as usize)).filter(|_| key.kind() == ObjectKind::Pack)
        {
            *byte ^= 0x10;
        }
        Ok(())
    }

    fn len(&self, key: ObjectKey) -> Result<u64> {
        self.inner.len(key)
    }

    fn delete(&self, key: ObjectKey) -> Result<()> {
        self.inner.delete(key)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectKey>> {
        self.inner.list(kind)
    }
}

struct FaultyWriter {
    key: ObjectKey,
    inner: Box<dyn ObjectWriter>,
    room_bytes: Arc<AtomicI64>,
}

impl ObjectWriter for FaultyWriter {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        if self.room_bytes.fetch_sub(bytes.len() as i64, Ordering::Relaxed) < bytes.len() as i64 {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(Error::StorageFull { key: self.key, source });
        }
        self.inner.write_all(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.inner.finish()
    }
}

#[test]
fn a_full_store_is_said_to_be_full_wherever_it_fills_up_and_a_retry_succeeds() {
    let mut rng = seeded();
    let device = disk(&mut rng, 6 << 20);
    let needed = Bed::in_memory().ingest(1, &device).expect("stored").amounts;
    let chunk_bytes = needed.stored_bytes as i64;
    let pack_bytes = 16 + chunk_bytes + 44 * needed.new_chunks as i64 + 56;
    // The header, the chunks, the index and the manifest in turn are what does not fit.
    for room_bytes in [0, 16, chunk_bytes / 2, chunk_bytes + 16, pack_bytes, pack_bytes + 100] {
        let store = Arc::new(FaultyStore::with_room(room_bytes));
        let bed = Bed::new(store.clone());
        let failed = bed.ingest(1, &device);
        assert!(matches!(failed, Err(Error::StorageFull { .. })), "{room_bytes}: {failed:?}");
        assert!(bed.store.list(ObjectKind::Manifest).expect("listed").is_empty());
        let live = bed.ledger.rows().into_iter().filter(|row| row.state == ObjectState::Live).count();
        assert_eq!(bed.store.list(ObjectKind::Pack).expect("listed").len(), live, "no half object stays");
        store.room_bytes.store(1 << 30, Ordering::Relaxed);
        let stored = bed.ingest(1, &device).expect("stored");
        assert_same(&mut rng, &bed.open(stored.manifest_id), &device);
    }
}

#[test]
fn a_damaged_chunk_is_never_handed_out() {
    let mut rng = seeded();
    let store = Arc::new(FaultyStore::with_room(i64::MAX));
    let bed = Bed::new(store.clone());
    let device = disk(&mut rng, 4 << 20);
    let stored = bed.ingest(1, &device).expect("stored");
    let expected = read_all(&device);
    for entry in stored.manifest.entries() {
        let opened = bed.open(stored.manifest_id);
        store.damage(i64::from(entry.chunk.position));
        let mut bytes = vec![0; entry.chunk.len as usize];
        let read = opened.read_exact_at(&mut bytes, entry.offset);
        store.damage(-1);
        match read {
            Err(kiln_block::Error::Corrupt { offset, reason }) => {
                assert_eq!(offset, entry.offset);
                assert!(reason.contains(&stored.manifest.pack_of(entry).to_string()), "{reason}");
            }
            // Some damage to a compressed frame changes no byte of what it decodes to.
            Ok(()) => assert!(bytes == expected[entry.offset as usize..entry.end() as usize]),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A disk that fails in the middle.
struct FailingDevice(MemoryDevice);

impl BlockDevice for FailingDevice {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        if offset >= self.size_bytes() / 2 {
            return Err(std::io::Error::other("broken").into());
        }
        self.0.read_exact_at(buf, offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        self.0.extent_at(offset, len)
    }
}

#[test]
fn a_source_that_fails_is_named_as_the_cause() {
    let bed = Bed::in_memory();
    let device = FailingDevice(MemoryDevice::from_bytes(&vec![3; 20 << 20]));
    let job = bed.ledger.job(1);
    assert!(matches!(ingest(&bed.target(&job), &device), Err(Error::Source(_))));
    assert!(bed.store.list(ObjectKind::Manifest).expect("listed").is_empty());
}
