//! Objects in memory: for tests, and for measuring without a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, ObjectKey, ObjectKind, ObjectStore, ObjectWriter, Result};

type Objects = BTreeMap<ObjectKey, Arc<[u8]>>;

/// A store that lasts as long as the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
}

fn lock(objects: &Mutex<Objects>) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStore {
    fn object(&self, key: ObjectKey) -> Result<Arc<[u8]>> {
        lock(&self.objects).get(&key).cloned().ok_or(Error::NotFound(key))
    }
}

impl ObjectStore for MemoryStore {
    fn create(&self, key: ObjectKey) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(MemoryWriter { key, bytes: Vec::new(), objects: self.objects.clone() }))
    }

    fn read_exact_at(&self, key: ObjectKey, buf: &mut [u8], offset: u64) -> Result<()> {
        let object = self.object(key)?;
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| object.get(start..start.checked_add(buf.len())?));
        let range = range.ok_or_else(|| Error::corrupt(key, offset, "the object ends too early"))?;
        buf.copy_from_slice(range);
        Ok(())
    }

    fn len(&self, key: ObjectKey) -> Result<u64> {
        Ok(self.object(key)?.len() as u64)
    }

    fn delete(&self, key: ObjectKey) -> Result<()> {
        lock(&self.objects).remove(&key);
        Ok(())
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectKey>> {
        Ok(lock(&self.objects).keys().filter(|key| key.kind() == kind).copied().collect())
    }
}

struct MemoryWriter {
    key: ObjectKey,
    bytes: Vec<u8>,
    objects: Arc<Mutex<Objects>>,
}

impl ObjectWriter for MemoryWriter {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { key, bytes, objects } = *self;
        let mut objects = lock(&objects);
        if objects.contains_key(&key) {
            return Err(Error::AlreadyExists(key));
        }
        objects.insert(key, bytes.into());
        Ok(())
    }
}
