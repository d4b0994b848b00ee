//! The conformance suite of object stores, run on every implementation.

use std::sync::Arc;

use kiln_chunk_store::{
    DirectoryStore, Error, ManifestId, MemoryStore, ObjectKey, ObjectKind, ObjectStore, PackId,
};

fn write(store: &dyn ObjectStore, key: ObjectKey, parts: &[&[u8]]) -> Result<(), Error> {
    let mut writer = store.create(key)?;
    for part in parts {
        writer.write_all(part)?;
    }
    writer.finish()
}

fn conforms(store: &dyn ObjectStore) {
    let (pack, manifest) = (ObjectKey::Pack(PackId::random()), ObjectKey::Manifest(ManifestId::random()));
    assert!(matches!(store.len(pack), Err(Error::NotFound(key)) if key == pack));
    assert!(matches!(store.read_exact_at(pack, &mut [0], 0), Err(Error::NotFound(_))));

    let mut unfinished = store.create(pack).expect("created");
    unfinished.write_all(b"half").expect("written");
    assert!(store.len(pack).is_err(), "nothing is visible before the end");
    assert!(store.list(ObjectKind::Pack).expect("listed").is_empty());
    drop(unfinished);

    write(store, pack, &[b"hello, ", b"", b"store"]).expect("written");
    write(store, manifest, &[]).expect("an empty object is one");
    assert_eq!(store.len(pack).expect("there"), 12);
    let mut buf = [0; 5];
    store.read_exact_at(pack, &mut buf, 7).expect("within");
    assert_eq!(&buf, b"store");
    for offset in [8, 12, 1 << 40] {
        assert!(
            matches!(store.read_exact_at(pack, &mut buf, offset), Err(Error::Corrupt { .. })),
            "{offset}"
        );
    }

    assert!(matches!(write(store, pack, &[b"other"]), Err(Error::AlreadyExists(key)) if key == pack));
    assert_eq!(store.len(pack).expect("still there"), 12);
    assert_eq!(store.list(ObjectKind::Pack).expect("listed"), [pack]);
    assert_eq!(store.list(ObjectKind::Manifest).expect("listed"), [manifest]);

    store.delete(pack).expect("deleted");
    store.delete(pack).expect("deleting again is no error");
    assert!(matches!(store.len(pack), Err(Error::NotFound(_))));
    assert!(matches!(store.read_exact_at(pack, &mut buf, 0), Err(Error::NotFound(_))));
    assert!(store.list(ObjectKind::Pack).expect("listed").is_empty());
}

#[test]
fn the_memory_store_conforms() {
    conforms(&MemoryStore::default());
}

#[test]
fn the_directory_store_conforms_and_leaves_no_other_files() {
    let directory = tempfile::tempdir().expect("temporary directory");
    conforms(&DirectoryStore::open(directory.path()).expect("opens"));
    let incoming = std::fs::read_dir(directory.path().join("incoming")).expect("listed");
    assert_eq!(incoming.count(), 0);
}

#[test]
fn a_directory_store_keeps_its_objects_and_ignores_strange_files() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = DirectoryStore::open(directory.path()).expect("opens");
    let keys: Vec<_> = (0..600).map(|_| ObjectKey::Pack(PackId::random())).collect();
    for key in &keys {
        write(&store, *key, &[key.to_string().as_bytes()]).expect("written");
    }
    std::fs::write(directory.path().join("packs/lost+found"), b"").expect("written");
    std::fs::write(directory.path().join("packs").join(&keys[0].id_text()[..2]).join("x"), b"")
        .expect("written");
    let store = Arc::new(DirectoryStore::open(directory.path()).expect("opens again"));
    let mut listed = store.list(ObjectKind::Pack).expect("listed");
    let mut expected = keys.clone();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    // More objects than the store keeps open, from several threads.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in &keys {
                    let mut text = vec![0; key.to_string().len()];
                    store.read_exact_at(*key, &mut text, 0).expect("read");
                    assert_eq!(text, key.to_string().as_bytes());
                }
            });
        }
    });
}
