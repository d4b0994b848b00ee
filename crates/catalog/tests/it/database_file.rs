//! SQLite's file: its mode, reopening it, other processes, and values that nothing should have stored.

use std::os::unix::fs::PermissionsExt;

use kiln_catalog::{Catalog, Error};
use sqlx::{Connection, SqliteConnection};

use crate::sample::{ALICE, account, insert_accounts};

async fn open(dir: &tempfile::TempDir) -> Catalog {
    Catalog::open_sqlite(&dir.path().join("catalog.db")).await.expect("the database opens")
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    for round in 0..3 {
        let catalog = open(&dir).await;
        let mut tx = catalog.write().await.expect("a turn");
        if round == 0 {
            insert_accounts(&mut tx).await;
        }
        assert_eq!(tx.accounts().await.expect("readable").len(), 3);
        tx.commit().await.expect("durable");
        catalog.close().await;
    }
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let catalog = open(&dir).await;
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    tx.commit().await.expect("durable");
    let files: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").collect();
    assert_eq!(files.len(), 3, "the database, its log and its shared memory");
    for file in files {
        let file = file.expect("readable");
        let mode = file.metadata().expect("readable").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn two_processes_take_turns() {
    let dir = tempfile::tempdir().expect("a directory");
    let (here, there) = (open(&dir).await, open(&dir).await);
    let mut tx = here.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let waiting = tokio::spawn(async move { there.write().await.expect("a turn").accounts().await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    tx.commit().await.expect("durable");
    assert_eq!(waiting.await.expect("ran").expect("readable").len(), 3);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("catalog.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("written");
    let opened = Catalog::open_sqlite(&path).await;
    assert!(matches!(opened, Err(Error::Sql(_) | Error::Migrate(_))), "{opened:?}");
    let opened = Catalog::open_sqlite(&dir.path().join("absent/catalog.db")).await;
    assert!(matches!(opened, Err(Error::File(_))), "{opened:?}");
}

#[tokio::test]
async fn an_unreadable_value_names_its_column() {
    let dir = tempfile::tempdir().expect("a directory");
    let catalog = open(&dir).await;
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    tx.commit().await.expect("durable");
    let url = format!("sqlite://{}", dir.path().join("catalog.db").display());
    let mut raw = SqliteConnection::connect(&url).await.expect("connects");
    for (damage, damaged) in [
        ("UPDATE accounts SET role = 'king' WHERE uin = $1", "role"),
        ("UPDATE accounts SET role = 'main', app_id = -1 WHERE uin = $1", "app_id"),
        ("UPDATE accounts SET app_id = 1, created_at = 'noon' WHERE uin = $1", "created_at"),
    ] {
        sqlx::query(damage).bind(ALICE.0 as i64).execute(&mut raw).await.expect("damaged");
        let mut tx = catalog.read().await.expect("a reader");
        let read = tx.account(ALICE).await;
        assert!(matches!(read, Err(Error::Corrupt { column, .. }) if column == damaged), "{read:?}");
    }
    let large =
        kiln_model::Account { app_id: kiln_model::AppId(u64::MAX), ..account(ALICE, kiln_model::Role::Main) };
    let mut tx = catalog.write().await.expect("a turn");
    assert!(matches!(tx.insert_account(&large).await, Err(Error::TooLarge("app_id"))));
}
