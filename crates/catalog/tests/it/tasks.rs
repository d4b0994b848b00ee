//! Tasks: claiming, fences, checkpoints, ends.

use kiln_catalog::{Catalog, Error, TaskQuery};
use kiln_model::{
    BucketName, ExportFile, ExportFormat, Failure, ImageId, InstanceId, Task, TaskEvent, TaskId, TaskKind,
    TaskProgress, TaskState,
};
use serde_json::json;

use crate::sample::{
    ALICE, BOB, LEASE_MILLIS, at, beijing, import_kind, insert_accounts, manifest_key, running_task, succeed,
    task,
};

crate::on_every_database!(
    tasks_read_back_and_list,
    the_oldest_of_the_asked_kinds_is_claimed,
    one_owner_never_holds_every_place,
    a_lost_lease_is_claimed_under_a_higher_fence,
    a_stale_fence_records_nothing,
    a_task_ends_once,
    cancelling_is_noted_until_the_end,
    leases_run_out_at_a_restart,
    unfinished_tasks_of_a_kind_are_counted,
);

async fn tasks_read_back_and_list(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let instance = InstanceId::random();
    let kinds = [
        import_kind(),
        TaskKind::CreateImage {
            image: ImageId::random(),
            instance: instance.clone(),
            power_off: true,
            data_disks: Vec::new(),
        },
        TaskKind::LaunchInstance { instance: instance.clone() },
    ];
    let mut rows: Vec<Task> =
        kinds.into_iter().enumerate().map(|(index, kind)| task(kind, index as i64)).collect();
    rows[2].region = beijing();
    rows[2].checkpoint = json!({ "offset": 5 });
    for row in &rows {
        tx.insert_task(row).await.expect("new");
        assert_eq!(tx.task(&row.id).await.expect("readable").as_ref(), Some(row));
    }
    let (listed, total) = tx.tasks(&TaskQuery::default()).await.expect("readable");
    assert_eq!(total, 3);
    rows.reverse();
    assert_eq!(listed, rows, "newest first");
    let all = TaskQuery::default();
    let cases = [
        (TaskQuery { owner: Some(ALICE), ..all.clone() }, 3),
        (TaskQuery { owner: Some(BOB), ..all.clone() }, 0),
        (TaskQuery { region: Some(beijing()), ..all.clone() }, 1),
        (TaskQuery { states: vec![TaskState::Queued, TaskState::Failed], ..all.clone() }, 3),
        (TaskQuery { states: vec![TaskState::Running], ..all.clone() }, 0),
        (TaskQuery { kinds: vec!["create_image", "import_image"], ..all.clone() }, 2),
        (TaskQuery { instance: Some(instance), ..all.clone() }, 2),
        (TaskQuery { image: rows[2].kind.image().cloned(), ..all }, 1),
    ];
    for (query, expected) in cases {
        assert_eq!(tx.tasks(&query).await.expect("readable").1, expected, "{query:?}");
    }
}

async fn one_owner_never_holds_every_place(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let rows: Vec<Task> = (0..3).map(|number| task(import_kind(), number)).collect();
    let other = Task { owner: BOB, ..task(import_kind(), 9) };
    for row in rows.iter().chain([&other]) {
        tx.insert_task(row).await.expect("new");
    }
    for (time, expected) in [(10, Some(&rows[0].id)), (11, Some(&other.id)), (12, None)] {
        let claimed = tx.claim_task(at(time), LEASE_MILLIS, &["import_image"], 1).await.expect("runs");
        assert_eq!(claimed.as_ref().map(|task| &task.id), expected);
    }
    // A lost lease holds no place.
    let claimed =
        tx.claim_task(at(11 + LEASE_MILLIS), LEASE_MILLIS, &["import_image"], 1).await.expect("runs");
    assert_eq!(claimed.map(|task| task.id).as_ref(), Some(&rows[0].id));
}

async fn the_oldest_of_the_asked_kinds_is_claimed(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let launch = task(TaskKind::LaunchInstance { instance: InstanceId::random() }, 0);
    let (older, newer) = (task(import_kind(), 1), task(import_kind(), 2));
    for row in [&newer, &older, &launch] {
        tx.insert_task(row).await.expect("new");
    }
    let kinds = ["import_image", "copy_image"];
    for expected in [&older, &newer] {
        let claimed =
            tx.claim_task(at(10), LEASE_MILLIS, &kinds, u32::MAX).await.expect("runs").expect("one waits");
        assert_eq!(claimed.id, expected.id);
        assert_eq!(claimed.lease_until, at(10 + LEASE_MILLIS));
        assert_eq!((claimed.state, claimed.fence, claimed.attempts), (TaskState::Running, 1, 1));
        assert_eq!(tx.task(&claimed.id).await.expect("readable"), Some(claimed));
    }
    assert_eq!(tx.claim_task(at(10), LEASE_MILLIS, &kinds, u32::MAX).await.expect("runs"), None);
    assert_eq!(tx.claim_task(at(10), LEASE_MILLIS, &[], u32::MAX).await.expect("runs"), None);
}

async fn a_lost_lease_is_claimed_under_a_higher_fence(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let first = running_task(&mut tx).await;
    let claim_at = [at(LEASE_MILLIS - 1), at(LEASE_MILLIS)];
    assert_eq!(
        tx.claim_task(claim_at[0], LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs"),
        None
    );
    let second = tx.claim_task(claim_at[1], LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
    let second = second.expect("its lease ran out");
    assert_eq!((second.id, second.fence, second.attempts), (first.id, 2, 2));
}

async fn a_stale_fence_records_nothing(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let row = running_task(&mut tx).await;
    let (id, fence, stale) = (&row.id, row.fence, row.fence - 1);
    let progress =
        TaskProgress { stage: "fetch".to_owned(), bytes_done: 1, bytes_total: 2, bytes_per_second: 3 };
    let refused = [
        tx.assert_fence(id, stale).await,
        tx.save_checkpoint(id, stale, &json!(1)).await,
        tx.save_progress(id, stale, &progress).await,
        tx.renew_lease(id, stale, at(9)).await.map(drop),
        tx.finish_task(id, stale, TaskEvent::Succeeded, None, at(9)).await.map(drop),
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(Error::Stale(_)))), "{refused:?}");
    assert_eq!(tx.task(id).await.expect("readable").as_ref(), Some(&row));

    tx.assert_fence(id, fence).await.expect("it holds");
    tx.save_checkpoint(id, fence, &json!({ "step": 2 })).await.expect("it holds");
    tx.save_progress(id, fence, &progress).await.expect("it holds");
    assert!(!tx.renew_lease(id, fence, at(99)).await.expect("it holds"));
    let expected = Task { checkpoint: json!({ "step": 2 }), progress, lease_until: at(99), ..row.clone() };
    assert_eq!(tx.task(id).await.expect("readable"), Some(expected));
}

async fn a_task_ends_once(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let waiting = task(import_kind(), 0);
    tx.insert_task(&waiting).await.expect("new");
    let early = tx.finish_task(&waiting.id, 0, TaskEvent::Succeeded, None, at(1)).await;
    assert!(matches!(early, Err(Error::Illegal(_))), "{early:?}");
    let cancelled = tx.finish_task(&waiting.id, 0, TaskEvent::Cancelled, None, at(1)).await;
    assert_eq!(cancelled.expect("it waits"), TaskState::Cancelled);

    let row = running_task(&mut tx).await;
    let failure = Failure { code: "FailedOperation".to_owned(), message: "Why.".to_owned() };
    let failed = tx.finish_task(&row.id, row.fence, TaskEvent::Failed, Some(&failure), at(2)).await;
    assert_eq!(failed.expect("it runs"), TaskState::Failed);
    let stored = tx.task(&row.id).await.expect("readable").expect("exists");
    assert_eq!((stored.failure, stored.finished_at), (Some(failure), Some(at(2))));
    let again = tx.finish_task(&row.id, row.fence, TaskEvent::Succeeded, None, at(3)).await;
    assert!(matches!(again, Err(Error::Illegal(_))), "{again:?}");
    assert!(matches!(tx.assert_fence(&row.id, row.fence).await, Err(Error::Stale(_))));
}

async fn cancelling_is_noted_until_the_end(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let row = running_task(&mut tx).await;
    assert_eq!(tx.request_cancel(&row.id).await.expect("exists"), TaskState::Running);
    assert!(tx.renew_lease(&row.id, row.fence, at(99)).await.expect("it holds"));
    let other = running_task(&mut tx).await;
    succeed(&mut tx, &other, 1).await;
    assert_eq!(tx.request_cancel(&other.id).await.expect("exists"), TaskState::Succeeded);
    assert!(!tx.task(&other.id).await.expect("readable").expect("exists").cancel_requested);
    assert!(matches!(tx.request_cancel(&TaskId::random()).await, Err(Error::Stale(_))));
}

async fn leases_run_out_at_a_restart(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let row = running_task(&mut tx).await;
    assert_eq!(tx.release_leases(at(5)).await.expect("runs"), 1);
    let claimed = tx.claim_task(at(5), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
    assert_eq!(claimed.map(|task| (task.id, task.fence)), Some((row.id, row.fence + 1)));
}

async fn unfinished_tasks_of_a_kind_are_counted(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let kind = TaskKind::ExportImages {
        bucket: BucketName::from_trusted("exports-1250000001"),
        format: ExportFormat::Vmdk,
        files: vec![ExportFile {
            image: ImageId::random(),
            manifest: manifest_key(1),
            size_bytes: 1 << 30,
            key: "disk.vmdk".to_owned(),
        }],
    };
    let rows: Vec<Task> = (0..3).map(|index| task(kind.clone(), index)).collect();
    for row in &rows {
        tx.insert_task(row).await.expect("new");
    }
    tx.insert_task(&task(import_kind(), 9)).await.expect("new");
    let claimed =
        tx.claim_task(at(5), LEASE_MILLIS, &[TaskKind::EXPORT_IMAGES], u32::MAX).await.expect("runs");
    assert_eq!(claimed.expect("one waits").kind, kind);
    assert_eq!(tx.count_unfinished_tasks(ALICE, TaskKind::EXPORT_IMAGES).await.expect("readable"), 3);
    tx.finish_task(&rows[1].id, 0, TaskEvent::Cancelled, None, at(6)).await.expect("it waits");
    assert_eq!(tx.count_unfinished_tasks(ALICE, TaskKind::EXPORT_IMAGES).await.expect("readable"), 2);
    assert_eq!(tx.count_unfinished_tasks(BOB, TaskKind::EXPORT_IMAGES).await.expect("readable"), 0);
}
