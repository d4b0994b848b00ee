//! Snapshots: their life, what they keep in the store, what is made of them, and their list.

use kiln_catalog::{Catalog, Error, SnapshotQuery, SnapshotTotals, Tx};
use kiln_model::{
    DiskId, DiskUsage, ImageId, ManifestKey, Snapshot, SnapshotEvent, SnapshotId, SnapshotState, TaskId,
    ZoneId,
};

use crate::sample::{
    ALICE, BOB, at, beijing, guangzhou, idle_manifests, insert_accounts, live_manifest, manifest_key,
    normal_image, running_task, succeed,
};

crate::on_every_database!(
    a_snapshot_is_published_once_and_keeps_its_manifest,
    an_images_own_snapshots_are_told_apart,
    lists_narrow_by_every_filter,
    disks_know_the_sum_of_their_snapshots,
);

/// A snapshot of a data disk that is being made.
fn snapshot(millis: i64) -> Snapshot {
    Snapshot {
        id: SnapshotId::random(),
        region: guangzhou(),
        zone: Some(ZoneId::from_trusted("ap-guangzhou-3")),
        owner: ALICE,
        name: format!("snapshot {millis}"),
        state: SnapshotState::Creating,
        usage: DiskUsage::Data,
        disk: Some(DiskId::random()),
        manifest: None,
        size_bytes: 10 << 30,
        source_image: None,
        of_image: None,
        task: TaskId::random(),
        created_at: at(millis),
    }
}

async fn inserted(tx: &mut Tx, snapshot: Snapshot) -> Snapshot {
    tx.insert_snapshot(&snapshot).await.expect("a new snapshot");
    snapshot
}

async fn a_snapshot_is_published_once_and_keeps_its_manifest(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    let content = live_manifest(&mut tx, &task, &guangzhou(), 1, &[]).await;
    let elsewhere = live_manifest(&mut tx, &task, &beijing(), 2, &[]).await;
    let mut made = inserted(&mut tx, snapshot(1)).await;
    assert_eq!(tx.snapshot(&made.id).await.expect("readable").as_ref(), Some(&made));
    for wrong in [manifest_key(9), elsewhere.clone()] {
        let published = tx.publish_snapshot(&made.id, &wrong, 5 << 30).await;
        assert!(matches!(published, Err(Error::Stale(_))), "{published:?}");
    }
    tx.publish_snapshot(&made.id, &content, 5 << 30).await.expect("its content is there");
    made = Snapshot {
        state: SnapshotState::Normal,
        manifest: Some(content.clone()),
        size_bytes: 5 << 30,
        ..made
    };
    assert_eq!(tx.snapshot(&made.id).await.expect("readable").as_ref(), Some(&made));
    assert!(matches!(tx.publish_snapshot(&made.id, &content, 1).await, Err(Error::Illegal(_))));

    succeed(&mut tx, &task, 10).await;
    assert_eq!(idle_manifests(&mut tx, 1000).await, Vec::<ManifestKey>::new());
    tx.transition_snapshot(&made.id, SnapshotEvent::Deleted, at(2000)).await.expect("it is normal");
    assert_eq!(
        idle_manifests(&mut tx, 1999).await,
        Vec::<ManifestKey>::new(),
        "its age began when it was left"
    );
    assert_eq!(idle_manifests(&mut tx, 2000).await, [content]);
    let again = tx.transition_snapshot(&made.id, SnapshotEvent::Deleted, at(2000)).await;
    assert!(matches!(again, Err(Error::Illegal(_))), "{again:?}");
    let unknown = tx.transition_snapshot(&SnapshotId::random(), SnapshotEvent::Failed, at(1)).await;
    assert!(matches!(unknown, Err(Error::Stale(_))), "{unknown:?}");
}

async fn an_images_own_snapshots_are_told_apart(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "whole", 1).await;
    let of_image = image.system_disk().expect("it has one").snapshot.clone();
    let free = inserted(&mut tx, snapshot(1)).await;
    let made_with = tx.snapshots_made_with(&image.id).await.expect("readable");
    assert_eq!(made_with, std::slice::from_ref(&of_image));
    assert_eq!(
        tx.count_snapshots(ALICE, &guangzhou()).await.expect("readable"),
        1,
        "the image's own is not counted"
    );
    let of = tx.images_of_snapshots([&of_image, &free.id]).await.expect("readable");
    assert_eq!(of, [(of_image, image.id, "whole".to_owned())]);
    let missing = Snapshot { of_image: Some(ImageId::random()), ..snapshot(2) };
    assert!(matches!(tx.insert_snapshot(&missing).await, Err(Error::Missing)));
}

async fn lists_narrow_by_every_filter(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    let content = live_manifest(&mut tx, &task, &guangzhou(), 1, &[]).await;
    let first = inserted(&mut tx, snapshot(1)).await;
    tx.publish_snapshot(&first.id, &content, 1 << 30).await.expect("its content is there");
    let second = Snapshot { usage: DiskUsage::System, name: "b".to_owned(), ..snapshot(2) };
    let second = inserted(&mut tx, second).await;
    inserted(&mut tx, Snapshot { owner: BOB, ..snapshot(3) }).await;
    inserted(&mut tx, Snapshot { region: beijing(), ..snapshot(4) }).await;
    let failed = inserted(&mut tx, snapshot(5)).await;
    tx.transition_snapshot(&failed.id, SnapshotEvent::Failed, at(6)).await.expect("it is being made");

    let all = SnapshotQuery::all(ALICE, guangzhou());
    let of_disk = first.disk.clone().expect("it is of a disk");
    let queries = [
        (all.clone(), vec![&second.id, &first.id]),
        (SnapshotQuery { oldest_first: true, ..all.clone() }, vec![&first.id, &second.id]),
        (SnapshotQuery { states: vec![SnapshotState::Normal], ..all.clone() }, vec![&first.id]),
        (SnapshotQuery { usages: vec![DiskUsage::System], ..all.clone() }, vec![&second.id]),
        (SnapshotQuery { names: vec!["b".to_owned()], ..all.clone() }, vec![&second.id]),
        (SnapshotQuery { disks: vec![of_disk], ..all.clone() }, vec![&first.id]),
        (
            SnapshotQuery { ids: Some(vec![first.id.clone(), failed.id.clone()]), ..all.clone() },
            vec![&first.id],
        ),
        (SnapshotQuery { ids: Some(Vec::new()), ..all.clone() }, vec![]),
    ];
    for (query, expected) in queries {
        let (found, total) = tx.snapshots(&query).await.expect("readable");
        assert_eq!(found.iter().map(|snapshot| &snapshot.id).collect::<Vec<_>>(), expected, "{query:?}");
        assert_eq!(total, expected.len() as u64, "{query:?}");
    }
    let (page, total) = tx.snapshots(&SnapshotQuery { offset: 1, limit: 1, ..all }).await.expect("readable");
    assert_eq!((page.iter().map(|found| &found.id).collect::<Vec<_>>(), total), (vec![&first.id], 2));
}

async fn disks_know_the_sum_of_their_snapshots(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let (disk, other) = (DiskId::random(), DiskId::random());
    for millis in 0..3 {
        inserted(&mut tx, Snapshot { disk: Some(disk.clone()), ..snapshot(millis) }).await;
    }
    let failed = inserted(&mut tx, Snapshot { disk: Some(disk.clone()), ..snapshot(4) }).await;
    tx.transition_snapshot(&failed.id, SnapshotEvent::Failed, at(6)).await.expect("it is being made");
    let totals = tx.snapshot_totals([&disk, &other]).await.expect("readable");
    assert_eq!(totals.get(&disk), Some(&SnapshotTotals { count: 3, size_bytes: 30 << 30 }));
    assert_eq!(totals.get(&other), None);
}
