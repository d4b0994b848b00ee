//! The rules that make garbage collection safe, one by one. Random histories are in `references`.

use kiln_catalog::{Catalog, Error, StoreKey, StoreState, StoreTotals, Tx, Unique};
use kiln_model::{ImageEvent, InstanceEvent, Task};

use crate::sample::{
    LEASE_MILLIS, at, beijing, guangzhou, insert_accounts, instance, live_manifest, live_pack, manifest_key,
    normal_image, pack_key, published, running_task, succeed,
};

crate::on_every_database!(
    a_pack_is_registered_sealed_and_counted,
    only_live_packs_can_be_held,
    a_stale_fence_changes_nothing,
    a_manifest_needs_every_pack_kept,
    what_is_referred_to_is_not_condemned,
    condemned_packs_go_after_the_grace_period_only,
    images_instances_and_tasks_keep_a_manifest,
    many_packs_are_published_at_once,
);

async fn started(catalog: &Catalog) -> (Tx, Task) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    (tx, task)
}

/// The state and reference count of something in Guangzhou.
async fn look(tx: &mut Tx, key: StoreKey) -> Option<(StoreState, u64)> {
    let objects = tx.store_objects(&guangzhou()).await.expect("readable");
    objects.into_iter().find(|object| object.key == key).map(|object| (object.state, object.references))
}

async fn garbage_keys(tx: &mut Tx, millis: i64) -> Vec<StoreKey> {
    let found = tx.garbage(&guangzhou(), at(millis), 100).await.expect("readable");
    found.into_iter().map(|object| object.key).collect()
}

async fn a_pack_is_registered_sealed_and_counted(catalog: Catalog) {
    let (mut tx, task) = started(&catalog).await;
    let key = pack_key(1);
    tx.register_pack(&guangzhou(), &key, "account/1", &task.id, task.fence, at(0)).await.expect("a new key");
    assert_eq!(look(&mut tx, StoreKey::Pack(key.clone())).await, Some((StoreState::Pending, 1)));
    let again = tx.register_pack(&beijing(), &key, "public", &task.id, task.fence, at(0)).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::Identifier))), "{again:?}");
    tx.seal_pack(&key, 7, 3, &task.id, task.fence, at(1)).await.expect("it is pending");
    let again = tx.seal_pack(&key, 7, 3, &task.id, task.fence, at(1)).await;
    assert!(matches!(again, Err(Error::Illegal(_))), "{again:?}");
    assert_eq!(
        tx.live_packs(&guangzhou(), &["account/1", "public"]).await.expect("readable"),
        std::slice::from_ref(&key)
    );
    assert!(tx.live_packs(&guangzhou(), &["account/2"]).await.expect("readable").is_empty());
    assert!(tx.live_packs(&beijing(), &["account/1"]).await.expect("readable").is_empty());
    live_manifest(&mut tx, &task, &guangzhou(), 1, &[key]).await;
    tx.register_pack(&guangzhou(), &pack_key(2), "x", &task.id, task.fence, at(0)).await.expect("a new key");
    let expected = StoreTotals {
        live_packs: 1,
        live_pack_bytes: 7,
        live_chunks: 3,
        pending_packs: 1,
        live_manifests: 1,
        live_manifest_bytes: 100,
        disk_bytes: 1 << 30,
        data_bytes: 5000,
        ..StoreTotals::default()
    };
    assert_eq!(tx.store_totals(&guangzhou()).await.expect("readable"), expected);
    assert_eq!(tx.store_totals(&beijing()).await.expect("readable"), StoreTotals::default());
}

async fn only_live_packs_can_be_held(catalog: Catalog) {
    let (mut tx, writer) = started(&catalog).await;
    let (live, doomed) = (live_pack(&mut tx, &writer, 1).await, live_pack(&mut tx, &writer, 2).await);
    let pending = pack_key(3);
    tx.register_pack(&guangzhou(), &pending, "s", &writer.id, writer.fence, at(0)).await.expect("a new key");
    succeed(&mut tx, &writer, 10).await;
    let condemned = tx.condemn_packs(std::slice::from_ref(&doomed), at(10), at(10)).await.expect("runs");
    assert_eq!(condemned, std::slice::from_ref(&doomed));
    let reader = running_task(&mut tx).await;
    let asked = [doomed, live.clone(), pending, pack_key(9)];
    let held = tx.hold_packs(&reader.id, reader.fence, &asked).await.expect("the fence holds");
    assert_eq!(held, std::slice::from_ref(&live));
    let held = tx.hold_packs(&reader.id, reader.fence, &asked).await.expect("holding twice is holding once");
    assert_eq!(held, std::slice::from_ref(&live));
    assert_eq!(look(&mut tx, StoreKey::Pack(live)).await, Some((StoreState::Live, 1)));
}

async fn a_stale_fence_changes_nothing(catalog: Catalog) {
    let (mut tx, lost) = started(&catalog).await;
    let pack = live_pack(&mut tx, &lost, 1).await;
    let (pending, manifest) = (pack_key(2), manifest_key(1));
    tx.register_pack(&guangzhou(), &pending, "s", &lost.id, lost.fence, at(0)).await.expect("a new key");
    tx.register_manifest(&guangzhou(), &manifest, &lost.id, lost.fence, at(0)).await.expect("a new key");
    let claimed =
        tx.claim_task(at(LEASE_MILLIS), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
    let claimed = claimed.expect("its lease ran out");
    let before = tx.store_objects(&guangzhou()).await.expect("readable");
    let (id, fence, now) = (&lost.id, lost.fence, at(LEASE_MILLIS));
    let refused = [
        tx.register_pack(&guangzhou(), &pack_key(7), "s", id, fence, now).await,
        tx.seal_pack(&pending, 1, 1, id, fence, now).await,
        tx.hold_packs(id, fence, std::slice::from_ref(&pack)).await.map(drop),
        tx.register_manifest(&guangzhou(), &manifest_key(7), id, fence, now).await,
        tx.publish_manifest(&published(&manifest, std::slice::from_ref(&pack)), id, fence, now).await,
        tx.hold_manifest(id, fence, &manifest).await.map(drop),
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(Error::Stale(_)))), "{refused:?}");
    assert_eq!(tx.store_objects(&guangzhou()).await.expect("readable"), before);
    let published = published(&manifest, &[pack]);
    tx.publish_manifest(&published, id, claimed.fence, now).await.expect("the new holder goes on");
}

async fn a_manifest_needs_every_pack_kept(catalog: Catalog) {
    let (mut tx, first) = started(&catalog).await;
    let (kept, loose) = (live_pack(&mut tx, &first, 1).await, live_pack(&mut tx, &first, 2).await);
    live_manifest(&mut tx, &first, &guangzhou(), 1, std::slice::from_ref(&kept)).await;
    let pending = pack_key(3);
    tx.register_pack(&guangzhou(), &pending, "s", &first.id, first.fence, at(0)).await.expect("a new key");
    succeed(&mut tx, &first, 10).await;
    tx.commit().await.expect("durable");

    for (wrong, why) in [(loose.clone(), "not kept"), (pending, "pending"), (pack_key(9), "unknown")] {
        let mut tx = catalog.write().await.expect("a turn");
        let second = running_task(&mut tx).await;
        let key = manifest_key(2);
        tx.register_manifest(&guangzhou(), &key, &second.id, second.fence, at(20)).await.expect("a new key");
        let manifest = published(&key, &[kept.clone(), wrong]);
        let result = tx.publish_manifest(&manifest, &second.id, second.fence, at(20)).await;
        assert!(matches!(result, Err(Error::Stale(_))), "{why}: {result:?}");
    }
    let mut tx = catalog.write().await.expect("a turn");
    let second = running_task(&mut tx).await;
    tx.hold_packs(&second.id, second.fence, std::slice::from_ref(&loose)).await.expect("the fence holds");
    let there = tx.register_manifest(&beijing(), &manifest_key(3), &second.id, second.fence, at(20)).await;
    there.expect("a new key");
    let elsewhere = published(&manifest_key(3), std::slice::from_ref(&loose));
    let result = tx.publish_manifest(&elsewhere, &second.id, second.fence, at(20)).await;
    assert!(matches!(result, Err(Error::Stale(_))), "another region's pack: {result:?}");
    let key = live_manifest(&mut tx, &second, &guangzhou(), 2, &[kept.clone(), loose.clone()]).await;
    let packs = tx.manifest_packs(&key).await.expect("readable");
    assert_eq!(packs, [(kept, 400), (loose, 400)]);
    let row = tx.manifest(&key).await.expect("readable").expect("exists");
    assert_eq!((row.state, row.size_bytes, row.task), (StoreState::Live, 1 << 30, second.id));
}

async fn what_is_referred_to_is_not_condemned(catalog: Catalog) {
    let (mut tx, task) = started(&catalog).await;
    let (held, used) = (live_pack(&mut tx, &task, 1).await, live_pack(&mut tx, &task, 2).await);
    live_manifest(&mut tx, &task, &guangzhou(), 1, std::slice::from_ref(&used)).await;
    let both = [held.clone(), used.clone()];
    assert!(garbage_keys(&mut tx, 1000).await.is_empty());
    assert!(tx.condemn_packs(&both, at(1000), at(1000)).await.expect("runs").is_empty());
    succeed(&mut tx, &task, 1000).await;
    assert!(garbage_keys(&mut tx, 1099).await.is_empty(), "too young since the task let go");
    let garbage = garbage_keys(&mut tx, 1100).await;
    assert_eq!(garbage, [StoreKey::Manifest(manifest_key(1)), StoreKey::Pack(held.clone())]);
    assert!(tx.condemn_packs(&both, at(999), at(1100)).await.expect("runs").is_empty(), "too young");
    assert_eq!(tx.condemn_packs(&both, at(1000), at(1100)).await.expect("runs"), [held]);
    assert_eq!(look(&mut tx, StoreKey::Pack(used)).await, Some((StoreState::Live, 1)));
}

async fn condemned_packs_go_after_the_grace_period_only(catalog: Catalog) {
    let (mut tx, task) = started(&catalog).await;
    let pack = live_pack(&mut tx, &task, 1).await;
    let manifest = live_manifest(&mut tx, &task, &guangzhou(), 1, std::slice::from_ref(&pack)).await;
    succeed(&mut tx, &task, 10).await;
    assert!(matches!(tx.forget_pack(&pack, at(9999)).await, Err(Error::Stale(_))), "it is live");
    let condemned = tx.condemn_manifests(std::slice::from_ref(&manifest), at(10), at(200)).await;
    assert_eq!(condemned.expect("runs"), std::slice::from_ref(&manifest));
    let packs = tx.condemn_packs(std::slice::from_ref(&pack), at(200), at(200)).await.expect("runs");
    assert!(packs.is_empty(), "a condemned manifest keeps its packs until it is forgotten");
    assert!(tx.condemned_before(&guangzhou(), at(199)).await.expect("readable").is_empty());
    assert_eq!(tx.condemned_before(&guangzhou(), at(200)).await.expect("readable").len(), 1);
    tx.commit().await.expect("durable");

    let mut tx = catalog.write().await.expect("a turn");
    let early = tx.forget_manifest(&manifest, at(199), at(300)).await;
    assert!(matches!(early, Err(Error::Stale(_))), "{early:?}");
    drop(tx);
    let mut tx = catalog.write().await.expect("a turn");
    assert_eq!(look(&mut tx, StoreKey::Pack(pack.clone())).await, Some((StoreState::Live, 1)));
    tx.forget_manifest(&manifest, at(200), at(300)).await.expect("its time has come");
    assert_eq!(tx.manifest(&manifest).await.expect("readable"), None);
    assert_eq!(garbage_keys(&mut tx, 399).await, [], "the pack lost its reference at 300");
    let packs = tx.condemn_packs(std::slice::from_ref(&pack), at(300), at(400)).await.expect("runs");
    assert_eq!(packs, std::slice::from_ref(&pack));
    tx.forget_pack(&pack, at(400)).await.expect("its time has come");
    assert!(tx.store_objects(&guangzhou()).await.expect("readable").is_empty());
}

async fn images_instances_and_tasks_keep_a_manifest(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let row = instance(&image, 1);
    tx.insert_instance(&row).await.expect("new");
    let (reader, key) = (running_task(&mut tx).await, manifest_key(1));
    assert!(tx.hold_manifest(&reader.id, reader.fence, &key).await.expect("the fence holds"));
    let store_key = StoreKey::Manifest(key.clone());
    assert_eq!(look(&mut tx, store_key.clone()).await, Some((StoreState::Live, 3)));
    tx.transition_image(&image.id, ImageEvent::Deleted, None, at(10)).await.expect("it is ready");
    assert_eq!(look(&mut tx, store_key.clone()).await, Some((StoreState::Live, 2)));
    for event in [InstanceEvent::TerminateRequested, InstanceEvent::Gone] {
        tx.transition_instance(&row.id, event, at(20)).await.expect("the end of a life");
    }
    assert_eq!(look(&mut tx, store_key.clone()).await, Some((StoreState::Live, 1)));
    assert!(garbage_keys(&mut tx, 1000).await.is_empty());
    succeed(&mut tx, &reader, 30).await;
    assert!(garbage_keys(&mut tx, 129).await.is_empty());
    assert_eq!(garbage_keys(&mut tx, 130).await, [store_key]);
    tx.condemn_manifests(std::slice::from_ref(&key), at(30), at(130)).await.expect("runs");
    let late = running_task(&mut tx).await;
    assert!(!tx.hold_manifest(&late.id, late.fence, &key).await.expect("the fence holds"));
    assert!(!tx.keep_manifest(&late.id, &key).await.expect("runs"));
}

async fn many_packs_are_published_at_once(catalog: Catalog) {
    const PACKS: u64 = 1_201;
    let (mut tx, task) = started(&catalog).await;
    let mut packs = Vec::new();
    for number in 0..PACKS {
        packs.push(live_pack(&mut tx, &task, number).await);
    }
    let held = tx.hold_packs(&task.id, task.fence, &packs).await.expect("the fence holds");
    assert_eq!(held, packs);
    let key = live_manifest(&mut tx, &task, &guangzhou(), 1, &packs).await;
    assert_eq!(tx.manifest_packs(&key).await.expect("readable").len() as u64, PACKS);
}
