//! The check of a whole store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kiln_chunk_store::{
    CheckMode, CheckReport, DirectoryStore, KnownObjects, ManifestId, ObjectKey, ObjectStore, PackId,
    Problem, Stored, check,
};

use crate::bed::{Bed, go_on};
use crate::disks::{disk, seeded};

fn known(disks: &[Stored]) -> KnownObjects {
    let packs = disks.iter().flat_map(|stored| stored.manifest.packs()).map(|id| ObjectKey::Pack(*id));
    let manifests = disks.iter().map(|stored| ObjectKey::Manifest(stored.manifest_id));
    let references: HashMap<_, _> =
        disks.iter().map(|stored| (stored.manifest_id, stored.manifest.packs().to_vec())).collect();
    KnownObjects { present: packs.chain(manifests).collect(), possible: HashSet::new(), references }
}

fn run(bed: &Bed, known: &KnownObjects, mode: CheckMode) -> CheckReport {
    check(&*bed.store, known, mode, &go_on).expect("the check runs")
}

fn put(store: &dyn ObjectStore, key: ObjectKey, bytes: &[u8]) {
    let mut writer = store.create(key).expect("created");
    writer.write_all(bytes).and_then(|()| writer.finish()).expect("written");
}

#[test]
fn a_sound_store_is_sound_and_every_kind_of_damage_is_found() {
    let mut rng = seeded();
    let directory = tempfile::tempdir().expect("temporary directory");
    let bed = Bed::new(Arc::new(DirectoryStore::open(directory.path()).expect("opens")));
    let disks: Vec<_> =
        (0..3).map(|job| bed.ingest(job, &disk(&mut rng, 4 << 20)).expect("stored")).collect();
    let mut known = known(&disks);
    let report = run(&bed, &known, CheckMode::EveryByte);
    assert!(report.is_sound() && report.unknown.is_empty(), "{report:?}");
    assert_eq!(report.manifests, 3);
    assert_eq!(report.chunks, disks.iter().map(|stored| stored.amounts.new_chunks).sum::<u64>());

    // A byte of a chunk: only the thorough check sees it.
    let pack = disks[0].manifest.packs()[0];
    let path = directory.path().join("packs").join(&pack.to_string()[..2]).join(pack.to_string());
    let good = std::fs::read(&path).expect("read");
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(&path, &bad).expect("written");
    assert!(run(&bed, &known, CheckMode::References).is_sound());
    let report = run(&bed, &known, CheckMode::EveryByte);
    assert!(
        matches!(&report.problems[..], [Problem::Unreadable(key, _)] if *key == pack.into()),
        "{report:?}"
    );

    // An index: the pack, and every reference into it.
    std::fs::write(&path, &good[..good.len() - 1]).expect("written");
    let report = run(&bed, &known, CheckMode::References);
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::NoSuchChunk { .. })));
    assert!(
        report
            .problems
            .iter()
            .any(|problem| matches!(problem, Problem::Unreadable(key, _) if *key == pack.into()))
    );
    std::fs::write(&path, &good).expect("written");

    // What the ledger knows and the store does not, and the other way about.
    let missing = ObjectKey::Manifest(ManifestId::random());
    let unknown = ObjectKey::Pack(PackId::random());
    let pending = ObjectKey::Pack(PackId::random());
    known.present.insert(missing);
    known.possible.insert(pending);
    put(&*bed.store, unknown, b"?");
    put(&*bed.store, pending, b"?");
    known.references.insert(disks[1].manifest_id, Vec::new());
    let report = run(&bed, &known, CheckMode::References);
    assert_eq!(report.unknown, [unknown]);
    assert!(matches!(&report.problems[0], Problem::Missing(key) if *key == missing), "{report:?}");
    assert!(matches!(&report.problems[1], Problem::NotReferenced { .. }), "{report:?}");
    assert_eq!(report.problem_count, 1 + disks[1].manifest.packs().len() as u64);
    assert!(bed.store.len(unknown).is_ok(), "a check deletes nothing");
}
