//! Instances: their life, who holds one, lists and ordinals.

use std::net::Ipv4Addr;

use kiln_catalog::{Catalog, Error, InstanceQuery, Unique};
use kiln_model::{
    Failure, Instance, InstanceEvent, InstanceId, InstanceState, LastOperation, LaunchSettings,
    OperationState, TaskId, ZoneId,
};

use crate::sample::{
    ALICE, BOB, at, beijing, guangzhou, insert_accounts, instance, manifest_key, normal_image,
};

crate::on_every_database!(
    instances_read_back,
    an_instance_starts_from_a_live_manifest_only,
    states_change_only_as_the_model_allows,
    one_task_holds_an_instance,
    lists_narrow_by_every_filter,
    ordinals_are_reused_when_free,
);

async fn instances_read_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let mut row = instance(&image, 1);
    row.task = Some(TaskId::random());
    tx.insert_instance(&row).await.expect("new");
    assert_eq!(tx.instance(&row.id).await.expect("readable").as_ref(), Some(&row));

    row.ssh_port = Some(2201);
    row.name = "renamed".to_owned();
    row.settings = LaunchSettings { password: Some("pass".to_owned()), ..LaunchSettings::default() };
    let failure = Failure { code: "FailedOperation".to_owned(), message: "It did not start.".to_owned() };
    row.last_operation = LastOperation {
        action: "StartInstances".to_owned(),
        state: OperationState::Failed,
        request_id: "another".to_owned(),
        failure: Some(failure),
    };
    tx.set_ssh_port(&row.id, row.ssh_port).await.expect("exists");
    tx.rename_instance(&row.id, &row.name).await.expect("exists");
    tx.set_launch_settings(&row.id, &row.settings).await.expect("exists");
    tx.set_last_operation(&row.id, &row.last_operation).await.expect("exists");
    assert_eq!(tx.instance(&row.id).await.expect("readable").as_ref(), Some(&row));
    assert!(matches!(tx.set_ssh_port(&InstanceId::random(), None).await, Err(Error::Stale(_))));
}

async fn an_instance_starts_from_a_live_manifest_only(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let unknown = Instance { base_manifest: manifest_key(9), ..instance(&image, 1) };
    let elsewhere = Instance { region: beijing(), ..instance(&image, 1) };
    for wrong in [unknown, elsewhere] {
        let inserted = tx.insert_instance(&wrong).await;
        assert!(matches!(inserted, Err(Error::Stale(_))), "{inserted:?}");
    }
}

async fn states_change_only_as_the_model_allows(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let row = instance(&image, 1);
    tx.insert_instance(&row).await.expect("new");
    let started = tx.transition_instance(&row.id, InstanceEvent::StartRequested, at(1)).await;
    assert!(matches!(started, Err(Error::Illegal(_))), "{started:?}");
    let ran = tx.transition_instance(&row.id, InstanceEvent::Ran, at(1)).await;
    assert_eq!(ran.expect("it was pending"), InstanceState::Running);
    assert_eq!(tx.count_instances(ALICE, &guangzhou()).await.expect("runs"), 1);
    for event in [InstanceEvent::TerminateRequested, InstanceEvent::Gone] {
        tx.transition_instance(&row.id, event, at(2)).await.expect("the end of a life");
    }
    assert_eq!(tx.count_instances(ALICE, &guangzhou()).await.expect("runs"), 0);
    assert!(tx.living_instances().await.expect("readable").is_empty());
    let stored = tx.instance(&row.id).await.expect("readable").expect("the row stays");
    assert_eq!(stored.state, InstanceState::Terminated);
}

async fn one_task_holds_an_instance(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let row = instance(&image, 1);
    tx.insert_instance(&row).await.expect("new");
    let (first, second) = (TaskId::random(), TaskId::random());
    tx.hold_instance(&row.id, &first).await.expect("it is free");
    assert!(matches!(tx.hold_instance(&row.id, &second).await, Err(Error::Stale(_))));
    assert!(matches!(tx.release_instance(&row.id, &second).await, Err(Error::Stale(_))));
    tx.release_instance(&row.id, &first).await.expect("it holds it");
    tx.hold_instance(&row.id, &second).await.expect("it is free");
}

async fn lists_narrow_by_every_filter(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let images = [normal_image(&mut tx, "a", 1).await, normal_image(&mut tx, "b", 2).await];
    let mut rows = Vec::new();
    for ordinal in 1..=6 {
        let mut row = instance(&images[ordinal as usize % 2], ordinal);
        if ordinal == 6 {
            row.state = InstanceState::Terminated;
        }
        tx.insert_instance(&row).await.expect("new");
        rows.push(row);
    }
    rows.reverse();
    let all = InstanceQuery::all(ALICE, guangzhou());
    let page = InstanceQuery { offset: 1, limit: 2, ..all.clone() };
    assert_eq!(tx.instances(&page).await.expect("readable"), (rows[2..4].to_vec(), 5));
    assert_eq!(tx.living_instances().await.expect("readable").len(), 5);

    let cases = [
        (all.clone(), 5),
        (InstanceQuery::all(BOB, guangzhou()), 0),
        (InstanceQuery::all(ALICE, beijing()), 0),
        (InstanceQuery { ids: Some(vec![rows[1].id.clone(), rows[2].id.clone()]), ..all.clone() }, 2),
        (InstanceQuery { ids: Some(vec![]), ..all.clone() }, 0),
        (InstanceQuery { images: vec![images[1].id.clone()], ..all.clone() }, 3),
        (InstanceQuery { states: vec![InstanceState::Terminated], ..all.clone() }, 1),
        (InstanceQuery { states: vec![InstanceState::Running], ..all.clone() }, 0),
        (InstanceQuery { names: vec!["instance 3".to_owned()], ..all.clone() }, 1),
        (InstanceQuery { private_addresses: vec![Ipv4Addr::new(10, 0, 0, 2)], ..all.clone() }, 1),
        (InstanceQuery { zones: vec![ZoneId::from_trusted("ap-guangzhou-4")], ..all }, 0),
    ];
    for (query, expected) in cases {
        let (found, total) = tx.instances(&query).await.expect("readable");
        assert_eq!((found.len() as u64, total), (expected, expected), "{query:?}");
    }
}

async fn ordinals_are_reused_when_free(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let mut rows = Vec::new();
    for expected in 1..=3 {
        let ordinal = tx.allocate_ordinal().await.expect("runs");
        assert_eq!(ordinal, expected);
        let row = instance(&image, ordinal);
        tx.insert_instance(&row).await.expect("new");
        rows.push(row);
    }
    let taken = tx.insert_instance(&instance(&image, 2)).await;
    assert!(matches!(taken, Err(Error::Conflict(Unique::Ordinal))), "{taken:?}");
    for event in [InstanceEvent::TerminateRequested, InstanceEvent::Gone] {
        tx.transition_instance(&rows[1].id, event, at(1)).await.expect("the end of a life");
    }
    assert_eq!(tx.allocate_ordinal().await.expect("runs"), 2);
}
