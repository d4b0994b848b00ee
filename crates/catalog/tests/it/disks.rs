//! Data disks: their life, their places, what they keep in the store, and the list that shows system disks as well.

use kiln_catalog::{Catalog, DiskQuery, Error, Tx};
use kiln_model::{
    Attachment, Disk, DiskEvent, DiskId, DiskState, DiskUsage, Failure, Instance, InstanceEvent, ManifestKey,
    SnapshotId, TaskId, ZoneId,
};

use crate::sample::{
    ALICE, BOB, at, beijing, guangzhou, idle_manifests, insert_accounts, instance, live_manifest,
    manifest_key, normal_image, running_task, succeed,
};

crate::on_every_database!(
    disks_read_back,
    a_disk_begins_as_a_live_manifest_and_keeps_it,
    a_place_has_one_disk_and_is_forgotten_when_it_is_left,
    a_task_holds_a_disk_that_no_instance_has,
    lists_show_system_disks_and_narrow_by_every_filter,
);

/// An empty disk that no instance has.
fn data_disk(millis: i64) -> Disk {
    Disk {
        id: DiskId::random(),
        region: guangzhou(),
        zone: ZoneId::from_trusted("ap-guangzhou-3"),
        owner: ALICE,
        name: format!("disk {millis}"),
        usage: DiskUsage::Data,
        state: DiskState::Unattached,
        size_bytes: 20 << 30,
        base_manifest: None,
        snapshot: None,
        attachment: None,
        delete_with_instance: false,
        task: None,
        failure: None,
        created_at: at(millis),
    }
}

async fn inserted(tx: &mut Tx, disk: Disk) -> Disk {
    tx.insert_disk(&disk).await.expect("a new disk");
    disk
}

async fn read(tx: &mut Tx, id: &DiskId) -> Disk {
    tx.disk(id).await.expect("readable").expect("it is there")
}

async fn running_instance(tx: &mut Tx, number: u32) -> Instance {
    let image = normal_image(tx, &format!("image {number}"), 100 + u64::from(number)).await;
    let row = instance(&image, number);
    tx.insert_instance(&row).await.expect("a new instance");
    row
}

async fn disks_read_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    let base = live_manifest(&mut tx, &task, &guangzhou(), 1, &[]).await;
    let of = running_instance(&mut tx, 1).await;
    let mut disk = Disk {
        state: DiskState::Attaching,
        base_manifest: Some(base),
        snapshot: Some(SnapshotId::random()),
        attachment: Some(Attachment { instance: of.id, slot: 3 }),
        delete_with_instance: true,
        ..data_disk(1)
    };
    tx.insert_disk(&disk).await.expect("new");
    assert_eq!(read(&mut tx, &disk.id).await, disk);
    let failure = Failure { code: "InternalError".to_owned(), message: "It did not get there.".to_owned() };
    disk.failure = Some(failure);
    tx.set_disk_failure(&disk.id, disk.failure.as_ref()).await.expect("exists");
    assert_eq!(read(&mut tx, &disk.id).await, disk);
    tx.set_disk_failure(&disk.id, None).await.expect("exists");
    assert_eq!(read(&mut tx, &disk.id).await.failure, None);
    assert!(matches!(tx.set_disk_failure(&DiskId::random(), None).await, Err(Error::Stale(_))));
    assert!(matches!(tx.insert_disk(&disk).await, Err(Error::Conflict(_))));
}

async fn a_disk_begins_as_a_live_manifest_and_keeps_it(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    let base = live_manifest(&mut tx, &task, &guangzhou(), 1, &[]).await;
    for (region, manifest) in [(guangzhou(), manifest_key(9)), (beijing(), base.clone())] {
        let wrong = Disk { region, base_manifest: Some(manifest), ..data_disk(1) };
        assert!(matches!(tx.insert_disk(&wrong).await, Err(Error::Stale(_))));
    }
    let disk = inserted(&mut tx, Disk { base_manifest: Some(base.clone()), ..data_disk(1) }).await;
    succeed(&mut tx, &task, 10).await;
    assert_eq!(idle_manifests(&mut tx, 1000).await, Vec::<ManifestKey>::new());
    tx.transition_disk(&disk.id, DiskEvent::Terminated, at(2000)).await.expect("no instance has it");
    assert_eq!(
        idle_manifests(&mut tx, 1999).await,
        Vec::<ManifestKey>::new(),
        "its age began when it was left"
    );
    assert_eq!(idle_manifests(&mut tx, 2000).await, [base]);
}

async fn a_place_has_one_disk_and_is_forgotten_when_it_is_left(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let of = running_instance(&mut tx, 1).await;
    let (first, second) = (inserted(&mut tx, data_disk(1)).await, inserted(&mut tx, data_disk(2)).await);
    let place = Attachment { instance: of.id.clone(), slot: 0 };
    tx.attach_disk(&first.id, &place, true).await.expect("a free place");
    assert!(matches!(tx.attach_disk(&first.id, &place, true).await, Err(Error::Illegal(_))));
    assert!(matches!(tx.attach_disk(&second.id, &place, false).await, Err(Error::Conflict(_))));
    tx.attach_disk(&second.id, &Attachment { slot: 1, ..place.clone() }, false).await.expect("another place");
    let found = tx.data_disks_of([&of.id]).await.expect("readable");
    let found: Vec<_> = found.iter().map(|disk| (&disk.id, disk.state)).collect();
    assert_eq!(found, [(&first.id, DiskState::Attaching), (&second.id, DiskState::Attaching)]);
    for event in [DiskEvent::Attached, DiskEvent::DetachRequested] {
        tx.transition_disk(&first.id, event, at(1)).await.expect("a step of a normal life");
        assert_eq!(read(&mut tx, &first.id).await.attachment, Some(place.clone()));
    }
    let ended =
        tx.transition_disk(&first.id, DiskEvent::Detached, at(1)).await.expect("it was being detached");
    assert_eq!(ended, DiskState::Unattached);
    assert_eq!(read(&mut tx, &first.id).await, first, "as if it had never been anywhere");
    let unknown = tx.transition_disk(&of.system_disk, DiskEvent::DetachRequested, at(1)).await;
    assert!(matches!(unknown, Err(Error::Stale(_))), "a system disk has no life of its own");
}

async fn a_task_holds_a_disk_that_no_instance_has(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let of = running_instance(&mut tx, 1).await;
    let disk = inserted(&mut tx, data_disk(1)).await;
    let (task, other) = (TaskId::random(), TaskId::random());
    tx.hold_disk(&disk.id, &task).await.expect("free");
    assert!(matches!(tx.hold_disk(&disk.id, &other).await, Err(Error::Stale(_))));
    assert!(matches!(tx.release_disk(&disk.id, &other).await, Err(Error::Stale(_))));
    assert_eq!(read(&mut tx, &disk.id).await.task, Some(task.clone()));
    tx.release_disk(&disk.id, &task).await.expect("it holds it");
    tx.attach_disk(&disk.id, &Attachment { instance: of.id, slot: 0 }, false).await.expect("a free place");
    assert!(matches!(tx.hold_disk(&disk.id, &task).await, Err(Error::Stale(_))));
}

async fn lists_show_system_disks_and_narrow_by_every_filter(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let of = running_instance(&mut tx, 1).await;
    let attached = Disk {
        state: DiskState::Attached,
        attachment: Some(Attachment { instance: of.id.clone(), slot: 0 }),
        ..data_disk(3)
    };
    let attached = inserted(&mut tx, attached).await;
    let elsewhere =
        Disk { zone: ZoneId::from_trusted("ap-guangzhou-4"), name: "b".to_owned(), ..data_disk(2) };
    let free = inserted(&mut tx, elsewhere).await;
    inserted(&mut tx, Disk { owner: BOB, ..data_disk(4) }).await;
    inserted(&mut tx, Disk { region: beijing(), ..data_disk(5) }).await;
    let gone = inserted(&mut tx, data_disk(6)).await;
    tx.transition_disk(&gone.id, DiskEvent::Terminated, at(7)).await.expect("no instance has it");

    let all = DiskQuery::all(ALICE, guangzhou());
    let system = &of.system_disk;
    let queries = [
        (all.clone(), vec![&attached.id, &free.id, system]),
        (DiskQuery { oldest_first: true, ..all.clone() }, vec![system, &free.id, &attached.id]),
        (DiskQuery { usages: vec![DiskUsage::System], ..all.clone() }, vec![system]),
        (DiskQuery { states: vec![DiskState::Unattached], ..all.clone() }, vec![&free.id]),
        (DiskQuery { instances: vec![of.id.clone()], ..all.clone() }, vec![&attached.id, system]),
        (DiskQuery { zones: vec![free.zone.clone()], ..all.clone() }, vec![&free.id]),
        (DiskQuery { names: vec!["b".to_owned()], ..all.clone() }, vec![&free.id]),
        (DiskQuery { ids: Some(vec![gone.id.clone(), system.clone()]), ..all.clone() }, vec![system]),
        (DiskQuery { ids: Some(Vec::new()), ..all.clone() }, vec![]),
    ];
    for (query, expected) in queries {
        let (found, total) = tx.disks(&query).await.expect("readable");
        assert_eq!(found.iter().map(|disk| &disk.id).collect::<Vec<_>>(), expected, "{query:?}");
        assert_eq!(total, expected.len() as u64, "{query:?}");
    }
    let (page, total) = tx.disks(&DiskQuery { offset: 1, limit: 1, ..all.clone() }).await.expect("readable");
    assert_eq!((page.iter().map(|disk| &disk.id).collect::<Vec<_>>(), total), (vec![&free.id], 3));
    assert_eq!(tx.count_disks(ALICE, &guangzhou()).await.expect("readable"), 2, "system disks do not count");
    for event in [InstanceEvent::TerminateRequested, InstanceEvent::Gone] {
        tx.transition_instance(&of.id, event, at(8)).await.expect("a step of its end");
    }
    let (found, _) = tx.disks(&all).await.expect("readable");
    assert!(found.iter().all(|disk| disk.id != *system), "it went with its instance");
}
