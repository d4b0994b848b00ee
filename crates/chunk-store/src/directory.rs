//! Objects as files in a directory.
//!
//! Layout: `packs/<first two digits>/<id>`, `manifests/<first two digits>/<id>`, and `incoming/` for objects that
//! are being written. A finished object is synced, then linked into place (which never replaces a file), then its
//! directory is synced. A file in `incoming/` is locked by its writer; one that nobody holds a lock on was left by
//! a process that died, and is removed when a store is next opened.
//!
//! Invariant: a file under `packs/` or `manifests/` is complete and durable.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Error, ObjectKey, ObjectKind, ObjectStore, ObjectWriter, Result};

/// How many objects a store keeps open for reading. Threads in mid-read may hold a few more.
const MAX_OPEN_FILES: usize = 128;
const INCOMING: &str = "incoming";
/// Younger files in `incoming/` are left alone: their writer may not have locked them yet.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A store in a directory of a local file system.
#[derive(Debug)]
pub struct DirectoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    open_files: Mutex<OpenFiles>,
    /// Subdirectories that are known to exist durably.
    fan_out: Mutex<HashSet<PathBuf>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn storage(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Storage { what: format!("{what} {}", path.display()), source }
}

impl DirectoryStore {
    /// Opens the store at `root`, which is created where it does not exist, and removes what dead writers left.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: &Path) -> Result<Self> {
        for name in [ObjectKind::Pack.prefix(), ObjectKind::Manifest.prefix(), INCOMING] {
            let path = root.join(name);
            let made = std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&path);
            made.map_err(storage("creating", &path))?;
        }
        sync_directory(root).map_err(storage("syncing", root))?;
        let incoming = root.join(INCOMING);
        remove_abandoned(&incoming).map_err(storage("cleaning", &incoming))?;
        let shared = Shared { root: root.into(), open_files: Mutex::default(), fan_out: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }
}

fn remove_abandoned(incoming: &Path) -> io::Result<()> {
    for found in std::fs::read_dir(incoming)? {
        let path = found?.path();
        // Another process may remove, finish or write the same file meanwhile: then it is not ours to remove.
        let Ok(file) = File::open(&path) else { continue };
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age >= ABANDONED_AFTER && file.try_lock().is_ok() {
            tracing::info!(path = %path.display(), "removing an unfinished object");
            std::fs::remove_file(&path).ok();
        }
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Shared {
    /// The two levels of directories an object lies in.
    fn directory(&self, key: ObjectKey) -> PathBuf {
        self.root.join(key.kind().prefix()).join(&key.id_text()[..2])
    }

    fn path(&self, key: ObjectKey) -> PathBuf {
        self.directory(key).join(key.id_text())
    }

    /// The object's directory, durably there.
    fn ensure_directory(&self, key: ObjectKey) -> io::Result<PathBuf> {
        let path = self.directory(key);
        let mut known = lock(&self.fan_out);
        if known.contains(&path) {
            return Ok(path);
        }
        match std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(&self.root.join(key.kind().prefix()))?,
        }
        known.insert(path.clone());
        Ok(path)
    }

    fn open(&self, key: ObjectKey) -> io::Result<Arc<File>> {
        if let Some(file) = lock(&self.open_files).get(key) {
            return Ok(file);
        }
        let file = Arc::new(File::open(self.path(key))?);
        lock(&self.open_files).insert(key, file.clone());
        Ok(file)
    }
}

/// The files opened last, in two generations: a file used while it is old becomes young again, and when the young
/// ones are half of the limit, the old ones are closed.
#[derive(Debug, Default)]
struct OpenFiles {
    young: HashMap<ObjectKey, Arc<File>>,
    old: HashMap<ObjectKey, Arc<File>>,
}

impl OpenFiles {
    fn get(&mut self, key: ObjectKey) -> Option<Arc<File>> {
        if let Some(file) = self.young.get(&key) {
            return Some(file.clone());
        }
        let file = self.old.remove(&key)?;
        self.insert(key, file.clone());
        Some(file)
    }

    fn insert(&mut self, key: ObjectKey, file: Arc<File>) {
        if self.young.len() >= MAX_OPEN_FILES / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, file);
    }

    fn remove(&mut self, key: ObjectKey) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

impl ObjectStore for DirectoryStore {
    fn create(&self, key: ObjectKey) -> Result<Box<dyn ObjectWriter>> {
        let name = format!("{}-{}", key.id_text(), hex::encode(rand::random::<[u8; 4]>()));
        let path = self.shared.root.join(INCOMING).join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = opened.map_err(|error| Error::writing(key, error))?;
        let writer = FileWriter { key, path, file, shared: self.shared.clone() };
        writer.file.lock().map_err(|error| Error::writing(key, error))?;
        Ok(Box::new(writer))
    }

    fn read_exact_at(&self, key: ObjectKey, buf: &mut [u8], offset: u64) -> Result<()> {
        let read = self.shared.open(key).and_then(|file| file.read_exact_at(buf, offset));
        read.map_err(|error| Error::reading(key, offset, error))
    }

    fn len(&self, key: ObjectKey) -> Result<u64> {
        let metadata = std::fs::metadata(self.shared.path(key));
        metadata.map(|found| found.len()).map_err(|error| Error::reading(key, 0, error))
    }

    fn delete(&self, key: ObjectKey) -> Result<()> {
        let path = self.shared.path(key);
        lock(&self.shared.open_files).remove(key);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(storage("removing", &path)(error)),
            Ok(()) => sync_directory(&self.shared.directory(key)).map_err(storage("syncing", &path)),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectKey>> {
        let top = self.shared.root.join(kind.prefix());
        let mut keys = Vec::new();
        for found in entries_of(&top)? {
            let subdirectory = found.map_err(storage("listing", &top))?.path();
            if !subdirectory.is_dir() {
                continue;
            }
            for found in entries_of(&subdirectory)? {
                let name = found.map_err(storage("listing", &subdirectory))?.file_name();
                let key = name.to_str().and_then(|name| ObjectKey::from_parts(kind, name).ok());
                keys.extend(key.filter(|key| self.shared.directory(*key) == subdirectory));
            }
        }
        Ok(keys)
    }
}

fn entries_of(path: &Path) -> Result<ReadDir> {
    std::fs::read_dir(path).map_err(storage("listing", path))
}

/// An object being written in `incoming/`.
struct FileWriter {
    key: ObjectKey,
    path: PathBuf,
    file: File,
    shared: Arc<Shared>,
}

impl FileWriter {
    fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = self.shared.ensure_directory(self.key)?;
        std::fs::hard_link(&self.path, self.shared.path(self.key))?;
        sync_directory(&directory)
    }
}

impl ObjectWriter for FileWriter {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::writing(self.key, error))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.publish().map_err(|error| Error::writing(self.key, error))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // Finished or given up, the name in `incoming/` goes. What cannot be removed now goes at the next opening.
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PackId;

    #[test]
    fn open_files_are_bounded_and_the_used_ones_stay() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = Arc::new(File::open(directory.path()).expect("opens"));
        let mut files = OpenFiles::default();
        let favourite = ObjectKey::Pack(PackId::random());
        files.insert(favourite, file.clone());
        for _ in 0..10 * MAX_OPEN_FILES {
            files.insert(ObjectKey::Pack(PackId::random()), file.clone());
            assert!(files.get(favourite).is_some());
            assert!(files.young.len() + files.old.len() <= MAX_OPEN_FILES);
        }
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_and_what_a_live_one_writes_is_kept() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = DirectoryStore::open(directory.path()).expect("opens");
        let key = ObjectKey::Pack(PackId::random());
        let mut live = store.create(key).expect("created");
        live.write_all(b"half").expect("written");
        let dead = directory.path().join(INCOMING).join("dead");
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED_AFTER;
        for path in std::fs::read_dir(directory.path().join(INCOMING)).expect("listed") {
            let file = File::options().write(true).open(path.expect("entry").path()).expect("opens");
            file.set_modified(long_ago).expect("time set");
        }
        File::create(&dead).and_then(|file| file.set_modified(long_ago)).expect("made");
        DirectoryStore::open(directory.path()).expect("opens again");
        assert!(!dead.exists());
        live.finish().expect("still there");
        assert_eq!(store.len(key).expect("visible"), 4);
    }
}
