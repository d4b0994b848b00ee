//! Opening the database, and its transactions. What is asked inside one is in the other files, by noun.
//!
//! Invariants: one transaction writes at a time, and from its start (`BEGIN IMMEDIATE`), so that what it read still
//! holds when it commits; a commit is on the disk before it returns (`synchronous = FULL`); a transaction that is
//! dropped leaves nothing behind.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Transaction};

use crate::column::{Db, Query, Row};
use crate::{Error, Result};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Transactions that read at the same time; more wait.
const MAX_READERS: u32 = 8;
/// How long a transaction waits for its turn in this process before it is [`Error::Busy`].
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement waits for another process that writes.
const OTHER_PROCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory that each connection caches pages in, in KiB (negative: SQLite's way to say so).
const CACHE_KIB: &str = "-8192";
/// The file holds secret keys: its owner's only.
const FILE_MODE: u32 = 0o600;

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Catalog {
    writer: SqlitePool,
    readers: SqlitePool,
    generation: Arc<AtomicU64>,
}

impl Catalog {
    /// Opens the SQLite database at `path`, creating the file (mode 0600) and bringing its tables up to date.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Migrate`], [`Error::Sql`] where it is no database or cannot be read or written.
    pub async fn open_sqlite(path: &Path) -> Result<Self> {
        // SQLite gives the files beside it (write-ahead log, shared memory) the mode of the database itself.
        OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(OTHER_PROCESS_TIMEOUT)
            .pragma("cache_size", CACHE_KIB);
        // An idle connection can be in a transaction: where a caller went away while it began one, or where SQLite,
        // its disk being full, rolled one back before sqlx did. Such a connection is replaced.
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(TURN_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = pool(MAX_READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Self { writer, readers, generation: Arc::default() })
    }

    /// Begins a transaction that sees one state of the database, the one at its first query. It cannot write.
    ///
    /// # Errors
    /// [`Error::Busy`] where all readers are taken for too long.
    pub async fn read(&self) -> Result<Tx> {
        Ok(Tx { inner: self.readers.begin().await?, generation: None })
    }

    /// Begins the one transaction that writes, when its turn comes.
    ///
    /// # Errors
    /// [`Error::Busy`] where its turn does not come.
    pub async fn write(&self) -> Result<Tx> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx { inner, generation: Some(Arc::clone(&self.generation)) })
    }

    /// A number that is another one after every commit through this catalogue: what was read after it was asked for
    /// still holds while it is the same. Other processes that write do not change it.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Closes every connection, which also folds the write-ahead log into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A transaction: what it reads is consistent, what it wrote happens at [`Tx::commit`] or, if dropped, never.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Db>,
    /// Of the catalogue that this transaction writes to.
    generation: Option<Arc<AtomicU64>>,
}

impl Tx {
    /// Makes everything that was written in it durable, at once.
    ///
    /// # Errors
    /// [`Error::Sql`]; then nothing of it happened.
    pub async fn commit(self) -> Result<()> {
        let Some(generation) = self.generation else { return Ok(self.inner.commit().await?) };
        // In a task of its own: a caller that goes away meanwhile cannot keep the commit from being counted.
        let commit = tokio::spawn(async move {
            let outcome = self.inner.commit().await;
            generation.fetch_add(1, Ordering::Release);
            outcome
        });
        Ok(commit.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }

    /// Runs a statement; the number of rows it changed.
    pub(crate) async fn change(&mut self, query: Query<'_>) -> Result<u64> {
        Ok(query.execute(&mut *self.inner).await?.rows_affected())
    }

    /// Runs a statement that must change a row, or else `stale` says what was not as expected.
    pub(crate) async fn change_some(&mut self, query: Query<'_>, stale: &'static str) -> Result<()> {
        match self.change(query).await? {
            0 => Err(Error::Stale(stale)),
            _ => Ok(()),
        }
    }

    /// The first row of an answer, if it has one.
    pub(crate) async fn find<T>(
        &mut self,
        query: Query<'_>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        let row = query.fetch_optional(&mut *self.inner).await?;
        row.map(|row| read(&Row(row))).transpose()
    }

    /// All rows of an answer.
    pub(crate) async fn list<T>(
        &mut self,
        query: Query<'_>,
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows = query.fetch_all(&mut *self.inner).await?;
        rows.into_iter().map(|row| read(&Row(row))).collect()
    }

    /// The number in the column `n` of an answer's only row.
    pub(crate) async fn count<T: TryFrom<i64>>(&mut self, query: Query<'_>) -> Result<T> {
        let row = query.fetch_one(&mut *self.inner).await?;
        Row(row).number("n")
    }
}

#[cfg(test)]
mod tests {
    use sqlx::query;

    use super::*;

    const LOG: &str = "INSERT INTO operations (at, account, action, subject, request_id, code, message)
        VALUES (0, 0, '', '', '', '', hex(zeroblob(10000)))";

    #[tokio::test]
    async fn the_writer_survives_a_transaction_that_sqlite_rolled_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let catalog =
            Catalog::open_sqlite(&dir.path().join("catalog.db")).await.expect("a new database opens");
        let mut tx = catalog.write().await.expect("a turn");
        for statement in [LOG, "ROLLBACK"] {
            tx.change(query(statement)).await.expect("runs");
        }
        drop(tx);
        let mut tx = catalog.write().await.expect("the writer is usable");
        let count = query("SELECT COUNT(*) AS n FROM operations");
        assert_eq!(tx.count::<u64>(count).await.expect("readable"), 0);
        tx.change(query(LOG)).await.expect("writable");
        tx.commit().await.expect("durable");
    }

    #[tokio::test]
    async fn the_writer_survives_a_full_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        let catalog =
            Catalog::open_sqlite(&dir.path().join("catalog.db")).await.expect("a new database opens");
        let mut tx = catalog.write().await.expect("a turn");
        // As low as it gets: no page can be added to the database.
        tx.list(query("PRAGMA max_page_count = 1"), |_| Ok(())).await.expect("runs");
        let full = loop {
            if let Err(error) = tx.change(query(LOG)).await {
                break error;
            }
        };
        assert!(full.to_string().contains("full"), "{full}");
        drop(tx);
        let mut tx = catalog.write().await.expect("the writer is usable");
        tx.list(query("PRAGMA max_page_count = 1000000"), |_| Ok(())).await.expect("runs");
        tx.change(query(LOG)).await.expect("there is space again");
        tx.commit().await.expect("durable");
    }
}
