//! Transactions side by side: limits hold, snapshots are consistent, what is dropped never happened.

use kiln_catalog::{Catalog, Error};
use kiln_model::{ImageEvent, TaskKind};
use tokio::task::JoinSet;

use crate::sample::{
    ALICE, LEASE_MILLIS, at, guangzhou, image, import_kind, insert_accounts, normal_image, task,
};

crate::on_every_database!(
    no_set_of_requests_gets_past_a_limit,
    a_task_is_claimed_by_one_worker,
    a_reader_sees_one_state,
    a_dropped_transaction_never_happened,
    a_request_can_be_given_up_anywhere,
    a_reader_cannot_write,
);

async fn prepared(catalog: &Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    tx.commit().await.expect("durable");
}

async fn no_set_of_requests_gets_past_a_limit(catalog: Catalog) {
    const LIMIT: u32 = 10;
    prepared(&catalog).await;
    let mut requests = JoinSet::new();
    for number in 0..60 {
        let catalog = catalog.clone();
        requests.spawn(async move {
            let mut tx = catalog.write().await.expect("a turn");
            if tx.count_images(ALICE, &guangzhou()).await.expect("runs") >= LIMIT {
                return false;
            }
            tokio::task::yield_now().await;
            tx.insert_image(&image(ALICE, &guangzhou(), &format!("image {number}"))).await.expect("new");
            tx.commit().await.expect("durable");
            true
        });
    }
    let accepted = requests.join_all().await.into_iter().filter(|accepted| *accepted).count();
    assert_eq!(accepted, LIMIT as usize);
    let mut tx = catalog.read().await.expect("a reader");
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), LIMIT);
}

async fn a_task_is_claimed_by_one_worker(catalog: Catalog) {
    const TASKS: i64 = 20;
    prepared(&catalog).await;
    let mut tx = catalog.write().await.expect("a turn");
    for number in 0..TASKS {
        tx.insert_task(&task(import_kind(), number)).await.expect("new");
    }
    tx.commit().await.expect("durable");
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let catalog = catalog.clone();
        workers.spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let mut tx = catalog.write().await.expect("a turn");
                let task =
                    tx.claim_task(at(0), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("runs");
                tx.commit().await.expect("durable");
                let Some(task) = task else { return claimed };
                assert!(matches!(task.kind, TaskKind::ImportImage { .. }));
                claimed.push(task.id);
            }
        });
    }
    let mut claimed = workers.join_all().await.concat();
    claimed.sort();
    claimed.dedup();
    assert_eq!(claimed.len(), TASKS as usize);
}

async fn a_reader_sees_one_state(catalog: Catalog) {
    prepared(&catalog).await;
    let mut reader = catalog.read().await.expect("a reader");
    assert_eq!(reader.count_images(ALICE, &guangzhou()).await.expect("runs"), 0);
    let mut writer = catalog.write().await.expect("a turn");
    writer.insert_image(&image(ALICE, &guangzhou(), "a")).await.expect("new");
    writer.commit().await.expect("durable");
    assert_eq!(reader.count_images(ALICE, &guangzhou()).await.expect("runs"), 0);
    drop(reader);
    let mut reader = catalog.read().await.expect("a reader");
    assert_eq!(reader.count_images(ALICE, &guangzhou()).await.expect("runs"), 1);
}

async fn a_dropped_transaction_never_happened(catalog: Catalog) {
    prepared(&catalog).await;
    for _ in 0..20 {
        let mut tx = catalog.write().await.expect("a turn");
        tx.insert_image(&image(ALICE, &guangzhou(), "a")).await.expect("the name is free again");
        drop(tx);
    }
    let mut tx = catalog.write().await.expect("a turn");
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), 0);
    let image = normal_image(&mut tx, "b", 1).await;
    tx.commit().await.expect("durable");
    let mut tx = catalog.write().await.expect("a turn");
    tx.transition_image(&image.id, ImageEvent::Deleted, None, at(1)).await.expect("it is ready");
}

/// As when a client goes away: the request's future is dropped wherever it happens to wait.
async fn a_request_can_be_given_up_anywhere(catalog: Catalog) {
    const REQUESTS: u32 = 600;
    prepared(&catalog).await;
    for request in 0..REQUESTS {
        let patience = async {
            for _ in 0..request % 60 {
                std::thread::sleep(std::time::Duration::from_micros(10));
                tokio::task::yield_now().await;
            }
        };
        let work = async {
            let mut tx = catalog.write().await.expect("a turn");
            tx.insert_image(&image(ALICE, &guangzhou(), "a")).await.expect("the name is free");
            std::future::pending::<()>().await;
        };
        tokio::select! { biased; () = work => {}, () = patience => {} }
    }
    let mut tx = catalog.write().await.expect("a turn");
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), 0);
}

async fn a_reader_cannot_write(catalog: Catalog) {
    let mut tx = catalog.read().await.expect("a reader");
    let refused = tx.record_image_operation(ALICE, &guangzhou(), 1).await;
    assert!(matches!(refused, Err(Error::Sql(_))), "{refused:?}");
}
