//! Random histories of packs, manifests, images, instances and tasks against a plain model in memory.
//!
//! After every step, the catalogue and the model agree on every object's state and reference count, and nothing
//! that an image, an instance or a task relies on is condemned or gone. A failure prints its seed; `KILN_TEST_SEED`
//! runs that history again.

use std::collections::{BTreeMap, BTreeSet};

use kiln_catalog::{Catalog, Error, StoreKey, StoreState, Tx};
use kiln_model::{
    Image, ImageEvent, ImageState, Instance, InstanceEvent, InstanceState, ManifestKey, PackKey, Task,
    TaskEvent, Timestamp,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::sample::{
    ALICE, LEASE_MILLIS, at, disk, guangzhou, image, import_kind, insert_accounts, instance, manifest_key,
    pack_key, published, task,
};

crate::on_every_database!(random_histories_agree_with_a_plain_model);

const STEPS: usize = 700;
const MIN_AGE_MILLIS: i64 = 30;
const GRACE_MILLIS: i64 = 50;

#[derive(Debug, Clone, PartialEq)]
struct Object {
    state: StoreState,
    since: i64,
    maker: usize,
}

#[derive(Default)]
struct Model {
    now: i64,
    keys: u64,
    packs: BTreeMap<PackKey, Object>,
    manifests: BTreeMap<ManifestKey, Object>,
    manifest_packs: BTreeSet<(ManifestKey, PackKey)>,
    task_packs: BTreeSet<(usize, PackKey)>,
    task_manifests: BTreeSet<(usize, ManifestKey)>,
    tasks: Vec<Option<Task>>,
    images: Vec<Image>,
    instances: Vec<Instance>,
}

impl Model {
    fn time(&self) -> Timestamp {
        at(self.now)
    }

    fn pack_references(&self, key: &PackKey) -> u64 {
        let manifests = self.manifest_packs.iter().filter(|(_, pack)| pack == key).count();
        (manifests + self.task_packs.iter().filter(|(_, pack)| pack == key).count()) as u64
    }

    fn manifest_references(&self, key: &ManifestKey) -> u64 {
        let on_it = |image: &&Image| image.disks.iter().any(|disk| disk.manifest == *key);
        let images = self.images.iter().filter(|image| image.state != ImageState::Deleted).filter(on_it);
        let instances = self.instances.iter().filter(|row| row.state != InstanceState::Terminated);
        let instances = instances.filter(|row| row.base_manifest == *key);
        let tasks = self.task_manifests.iter().filter(|(_, manifest)| manifest == key);
        (images.count() + instances.count() + tasks.count()) as u64
    }

    fn next_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    fn touch_manifest(&mut self, key: &ManifestKey) {
        let now = self.now;
        if let Some(object) =
            self.manifests.get_mut(key).filter(|object| object.state != StoreState::Condemned)
        {
            object.since = now;
        }
    }

    fn touch_pack(&mut self, key: &PackKey) {
        let now = self.now;
        if let Some(object) = self.packs.get_mut(key).filter(|object| object.state != StoreState::Condemned) {
            object.since = now;
        }
    }

    fn end_task(&mut self, index: usize) {
        self.tasks[index] = None;
        let packs: Vec<_> = self.task_packs.iter().filter(|(task, _)| *task == index).cloned().collect();
        for held in packs {
            self.task_packs.remove(&held);
            self.touch_pack(&held.1);
        }
        let manifests: Vec<_> =
            self.task_manifests.iter().filter(|(task, _)| *task == index).cloned().collect();
        for held in manifests {
            self.task_manifests.remove(&held);
            self.touch_manifest(&held.1);
        }
    }
}

fn any_key<K: Clone, V>(rng: &mut StdRng, map: &BTreeMap<K, V>) -> Option<K> {
    let keys: Vec<&K> = map.keys().collect();
    keys.choose(rng).map(|key| (*key).clone())
}

async fn random_histories_agree_with_a_plain_model(catalog: Catalog) {
    let seed = match std::env::var("KILN_TEST_SEED") {
        Ok(text) => text.parse().expect("KILN_TEST_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("KILN_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut model = Model::default();
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    for step in 0..STEPS {
        model.now += rng.random_range(0..5);
        act(&mut tx, &mut model, &mut rng).await;
        compare(&mut tx, &model, step).await;
    }
    assert!(model.keys > 20, "the history did something");
}

async fn act(tx: &mut Tx, model: &mut Model, rng: &mut StdRng) {
    let running: Vec<usize> = (0..model.tasks.len()).filter(|index| model.tasks[*index].is_some()).collect();
    let Some(&index) = running.choose(rng).filter(|_| running.len() > 3 || rng.random_bool(0.9)) else {
        return begin_task(tx, model).await;
    };
    match rng.random_range(0..16) {
        0..=2 => register_pack(tx, model, index).await,
        3..=5 => seal_pack(tx, model, rng, index).await,
        6 => hold_packs(tx, model, rng, index).await,
        7..=8 => publish_manifest(tx, model, rng, index).await,
        9 => hold_manifest(tx, model, rng, index).await,
        10 => make_image(tx, model, rng).await,
        11 => change_image_or_instance(tx, model, rng).await,
        12 => finish_task(tx, model, index).await,
        13 => condemn(tx, model).await,
        14 => forget(tx, model).await,
        _ => lose_lease(tx, model, index).await,
    }
}

async fn begin_task(tx: &mut Tx, model: &mut Model) {
    tx.insert_task(&task(import_kind(), model.now)).await.expect("new");
    let claimed = tx.claim_task(at(0), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
    model.tasks.push(claimed);
}

fn holder(model: &Model, index: usize) -> Task {
    model.tasks[index].clone().expect("a running task was chosen")
}

/// Another worker takes the task over; the old fence is of no use from then on.
async fn lose_lease(tx: &mut Tx, model: &mut Model, index: usize) {
    let old = holder(model, index);
    tx.renew_lease(&old.id, old.fence, at(-1)).await.expect("the fence holds");
    let claimed = tx.claim_task(at(0), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
    let claimed = claimed.expect("its lease ran out");
    assert_eq!(claimed.id, old.id);
    let pack = pack_key(model.next_key());
    let refused = tx.register_pack(&guangzhou(), &pack, "s", &old.id, old.fence, model.time()).await;
    assert!(matches!(refused, Err(Error::Stale(_))), "{refused:?}");
    model.tasks[index] = Some(claimed);
}

async fn register_pack(tx: &mut Tx, model: &mut Model, index: usize) {
    let (task, key) = (holder(model, index), pack_key(model.next_key()));
    tx.register_pack(&guangzhou(), &key, "s", &task.id, task.fence, model.time()).await.expect("a new key");
    let object = Object { state: StoreState::Pending, since: model.now, maker: index };
    model.packs.insert(key.clone(), object);
    model.task_packs.insert((index, key));
}

async fn seal_pack(tx: &mut Tx, model: &mut Model, rng: &mut StdRng, index: usize) {
    let task = holder(model, index);
    let own = model.packs.iter().filter(|(_, object)| object.maker == index && rng.random_bool(0.8));
    let Some(key) = own.map(|(key, _)| key.clone()).last() else { return };
    let sealed = tx.seal_pack(&key, 10, 1, &task.id, task.fence, model.time()).await;
    let now = model.now;
    let object = model.packs.get_mut(&key).expect("it was just found");
    if object.state == StoreState::Pending {
        sealed.expect("it was pending");
        (object.state, object.since) = (StoreState::Live, now);
    } else {
        assert!(matches!(sealed, Err(Error::Illegal(_))), "{sealed:?}");
    }
}

async fn hold_packs(tx: &mut Tx, model: &mut Model, rng: &mut StdRng, index: usize) {
    let task = holder(model, index);
    let asked: Vec<PackKey> = model.packs.keys().filter(|_| rng.random_bool(0.4)).cloned().collect();
    let held = tx.hold_packs(&task.id, task.fence, &asked).await.expect("the fence holds");
    let live = asked.into_iter().filter(|key| model.packs[key].state == StoreState::Live);
    assert_eq!(held, live.collect::<Vec<_>>());
    model.task_packs.extend(held.into_iter().map(|key| (index, key)));
}

async fn publish_manifest(tx: &mut Tx, model: &mut Model, rng: &mut StdRng, index: usize) {
    let (task, key) = (holder(model, index), manifest_key(model.next_key()));
    tx.register_manifest(&guangzhou(), &key, &task.id, task.fence, model.time()).await.expect("a new key");
    let object = Object { state: StoreState::Pending, since: model.now, maker: index };
    model.manifests.insert(key.clone(), object);
    model.task_manifests.insert((index, key.clone()));
    let kept = |pack: &&PackKey| {
        let by_manifest = model
            .manifest_packs
            .iter()
            .any(|(manifest, used)| used == *pack && model.manifests[manifest].state == StoreState::Live);
        model.packs[*pack].state == StoreState::Live
            && (by_manifest || model.task_packs.contains(&(index, (*pack).clone())))
    };
    let packs: Vec<PackKey> =
        model.packs.keys().filter(kept).filter(|_| rng.random_bool(0.6)).cloned().collect();
    let loose: Vec<PackKey> = model.packs.keys().filter(|pack| !kept(pack)).cloned().collect();
    if let Some(loose) = loose.choose(rng) {
        let refused = tx
            .publish_manifest(
                &published(&key, std::slice::from_ref(loose)),
                &task.id,
                task.fence,
                model.time(),
            )
            .await;
        assert!(matches!(refused, Err(Error::Stale(_))), "{refused:?}");
    }
    if rng.random_bool(0.8) {
        let manifest = published(&key, &packs);
        tx.publish_manifest(&manifest, &task.id, task.fence, model.time()).await.expect("every pack is kept");
        model.manifest_packs.extend(packs.into_iter().map(|pack| (key.clone(), pack)));
        model.manifests.get_mut(&key).expect("just added").state = StoreState::Live;
    }
}

async fn hold_manifest(tx: &mut Tx, model: &mut Model, rng: &mut StdRng, index: usize) {
    let task = holder(model, index);
    let Some(key) = any_key(rng, &model.manifests) else { return };
    let held = tx.hold_manifest(&task.id, task.fence, &key).await.expect("the fence holds");
    assert_eq!(held, model.manifests[&key].state == StoreState::Live);
    if held {
        model.task_manifests.insert((index, key));
    }
}

/// Makes an image of a manifest, and perhaps an instance of it.
async fn make_image(tx: &mut Tx, model: &mut Model, rng: &mut StdRng) {
    let Some(key) = any_key(rng, &model.manifests) else { return };
    let mut row = image(ALICE, &guangzhou(), &format!("image {}", model.next_key()));
    (row.state, row.disks) = (ImageState::Normal, vec![disk(&key)]);
    if model.manifests[&key].state != StoreState::Live {
        row.state = ImageState::ImportFailed;
        let refused = tx.insert_image(&row).await;
        assert!(matches!(refused, Err(Error::Stale(_))), "{refused:?}");
        return;
    }
    tx.insert_image(&row).await.expect("its manifest is live");
    if rng.random_bool(0.5) {
        let ordinal = tx.allocate_ordinal().await.expect("runs");
        let launched = instance(&row, ordinal);
        tx.insert_instance(&launched).await.expect("its manifest is live");
        model.instances.push(launched);
    }
    model.images.push(row);
}

async fn change_image_or_instance(tx: &mut Tx, model: &mut Model, rng: &mut StdRng) {
    let now = model.time();
    let image = model.images.iter_mut().rfind(|row| row.state == ImageState::Normal);
    let instance = model.instances.iter_mut().rfind(|row| row.state != InstanceState::Terminated);
    let manifest = match (image, instance) {
        (Some(image), _) if rng.random_bool(0.5) => {
            image.state =
                tx.transition_image(&image.id, ImageEvent::Deleted, None, now).await.expect("it is ready");
            image.disks[0].manifest.clone()
        }
        (_, Some(row)) if rng.random_bool(0.3) => {
            let Some(new) = any_key(rng, &model.manifests) else { return };
            let reinstalled = Instance { base_manifest: new.clone(), ..row.clone() };
            if model.manifests[&new].state != StoreState::Live {
                // The transaction is not dropped here, as a use case drops it: the old base's age has begun anew.
                let refused = tx.reinstall_instance(&reinstalled, now).await;
                assert!(matches!(refused, Err(Error::Stale(_))), "{refused:?}");
                row.base_manifest.clone()
            } else {
                tx.reinstall_instance(&reinstalled, now).await.expect("its new manifest is live");
                std::mem::replace(&mut row.base_manifest, new)
            }
        }
        (_, Some(row)) => {
            for event in [InstanceEvent::TerminateRequested, InstanceEvent::Gone] {
                row.state = tx.transition_instance(&row.id, event, now).await.expect("the end of a life");
            }
            row.base_manifest.clone()
        }
        _ => return,
    };
    model.touch_manifest(&manifest);
}

async fn finish_task(tx: &mut Tx, model: &mut Model, index: usize) {
    let task = holder(model, index);
    let ended = tx.finish_task(&task.id, task.fence, TaskEvent::Failed, None, model.time()).await;
    ended.expect("the fence holds");
    model.end_task(index);
}

async fn condemn(tx: &mut Tx, model: &mut Model) {
    let (now, idle_since) = (model.time(), at(model.now - MIN_AGE_MILLIS));
    let can = |object: &Object, references: u64| {
        object.state != StoreState::Condemned && references == 0 && at(object.since) <= idle_since
    };
    let packs = model.packs.iter().filter(|(key, object)| can(object, model.pack_references(key)));
    let packs: Vec<PackKey> = packs.map(|(key, _)| key.clone()).collect();
    let manifests =
        model.manifests.iter().filter(|(key, object)| can(object, model.manifest_references(key)));
    let manifests: Vec<ManifestKey> = manifests.map(|(key, _)| key.clone()).collect();

    let garbage = tx.garbage(&guangzhou(), now, MIN_AGE_MILLIS).await.expect("readable");
    let mut garbage: Vec<StoreKey> = garbage.into_iter().map(|object| object.key).collect();
    garbage.sort();
    let expected = packs.iter().cloned().map(StoreKey::Pack);
    assert_eq!(
        garbage,
        expected.chain(manifests.iter().cloned().map(StoreKey::Manifest)).collect::<Vec<_>>()
    );

    let all_packs: Vec<PackKey> = model.packs.keys().cloned().collect();
    let all_manifests: Vec<ManifestKey> = model.manifests.keys().cloned().collect();
    assert_eq!(tx.condemn_packs(&all_packs, idle_since, now).await.expect("runs"), packs);
    assert_eq!(tx.condemn_manifests(&all_manifests, idle_since, now).await.expect("runs"), manifests);
    let condemned = Object { state: StoreState::Condemned, since: model.now, maker: usize::MAX };
    model.packs.extend(packs.into_iter().map(|key| (key, condemned.clone())));
    model.manifests.extend(manifests.into_iter().map(|key| (key, condemned.clone())));
}

async fn forget(tx: &mut Tx, model: &mut Model) {
    let (now, before) = (model.time(), at(model.now - GRACE_MILLIS));
    for object in tx.condemned_before(&guangzhou(), before).await.expect("readable") {
        assert_eq!(object.references, 0, "{object:?}");
        match object.key {
            StoreKey::Pack(key) => {
                tx.forget_pack(&key, before).await.expect("its time has come");
                model.packs.remove(&key);
            }
            StoreKey::Manifest(key) => {
                tx.forget_manifest(&key, before, now).await.expect("its time has come");
                model.manifests.remove(&key);
                let packs: Vec<_> =
                    model.manifest_packs.iter().filter(|(manifest, _)| *manifest == key).cloned().collect();
                for reference in packs {
                    model.manifest_packs.remove(&reference);
                    model.touch_pack(&reference.1);
                }
            }
        }
    }
}

async fn compare(tx: &mut Tx, model: &Model, step: usize) {
    let stored = tx.store_objects(&guangzhou()).await.expect("readable");
    let stored: BTreeMap<StoreKey, (StoreState, u64, Timestamp)> =
        stored.into_iter().map(|row| (row.key, (row.state, row.references, row.since))).collect();
    let packs = model.packs.iter().map(|(key, object)| {
        (StoreKey::Pack(key.clone()), (object.state, model.pack_references(key), at(object.since)))
    });
    let manifests = model.manifests.iter().map(|(key, object)| {
        (StoreKey::Manifest(key.clone()), (object.state, model.manifest_references(key), at(object.since)))
    });
    let expected: BTreeMap<_, _> = packs.chain(manifests).collect();
    assert_eq!(stored, expected, "after step {step}");
    for (key, (state, references, _)) in &stored {
        assert!(
            *references == 0 || *state != StoreState::Condemned,
            "{key:?} is relied on, after step {step}"
        );
    }
    for (manifest, pack) in &model.manifest_packs {
        assert_eq!(model.packs[pack].state, StoreState::Live, "{manifest:?}, after step {step}");
    }
}
