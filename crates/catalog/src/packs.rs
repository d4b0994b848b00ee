//! Packs: taking a key, sealing, and tasks that rely on what is there.
//!
//! Rules 1, 2 and 6 of the design's garbage collection are kept here: the row comes before the object, a pack is
//! relied on only while it is live and only with a reference, and only the task's present fence changes anything.

use std::collections::HashSet;

use kiln_model::{PackKey, RegionId, TaskId, Timestamp};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, push_list};
use crate::words::Word;
use crate::{Error, Result, StoreEvent, StoreState};

/// Keys in one statement; longer lists take several.
pub(crate) const KEYS_PER_STATEMENT: usize = 500;

const NOT_THE_TASKS: &str = "the task registered no such pack, or its state changed";

fn read_key(row: &Row) -> Result<PackKey> {
    row.text("id").map(PackKey::from_trusted)
}

impl Tx {
    /// Takes the key of a pack that is about to be written; the task refers to it from now on.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence; `Conflict` with [`crate::Unique::Identifier`] where
    /// the key is taken.
    pub async fn register_pack(
        &mut self,
        region: &RegionId,
        pack: &PackKey,
        scope: &str,
        task: &TaskId,
        fence: i64,
        now: Timestamp,
    ) -> Result<()> {
        self.assert_fence(task, fence).await?;
        let sql =
            "INSERT INTO packs (id, region, scope, state, task, stored_bytes, chunk_count, created_at, since)
            VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $6)";
        let insert = query(sql)
            .bind(pack.as_str())
            .bind(region.as_str())
            .bind(scope)
            .bind(StoreState::Pending.word())
            .bind(task.as_str())
            .bind(now.0);
        self.change(insert).await?;
        let hold = query("INSERT INTO task_packs (task, pack) VALUES ($1, $2)")
            .bind(task.as_str())
            .bind(pack.as_str());
        self.change(hold).await?;
        Ok(())
    }

    /// Lets a pack be relied on: its object is whole and durable.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence or did not register the pack; `Illegal` where the pack
    /// is not pending.
    pub async fn seal_pack(
        &mut self,
        pack: &PackKey,
        stored_bytes: u64,
        chunk_count: u32,
        task: &TaskId,
        fence: i64,
        now: Timestamp,
    ) -> Result<()> {
        self.assert_fence(task, fence).await?;
        let select = query("SELECT state FROM packs WHERE id = $1 AND task = $2")
            .bind(pack.as_str())
            .bind(task.as_str());
        let found = self.find(select, |row| row.word::<StoreState>("state")).await?;
        let state = found.ok_or(Error::Stale(NOT_THE_TASKS))?;
        let next = state.transition(StoreEvent::Completed)?;
        let sql = "UPDATE packs SET state = $1, stored_bytes = $2, chunk_count = $3, since = $4
            WHERE id = $5 AND state = $6";
        let update = query(sql)
            .bind(next.word())
            .bind(integer(stored_bytes, "stored_bytes")?)
            .bind(i64::from(chunk_count))
            .bind(now.0)
            .bind(pack.as_str())
            .bind(state.word());
        self.change_some(update, NOT_THE_TASKS).await
    }

    /// Makes the task refer to those of the packs that are live; they are given, in the order asked. The others
    /// must not be relied on.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence.
    pub async fn hold_packs(&mut self, task: &TaskId, fence: i64, packs: &[PackKey]) -> Result<Vec<PackKey>> {
        self.assert_fence(task, fence).await?;
        let mut live = HashSet::new();
        for some in packs.chunks(KEYS_PER_STATEMENT) {
            let mut hold = Builder::new("INSERT INTO task_packs (task, pack) SELECT ");
            hold.push_bind(task.as_str()).push(", id FROM packs WHERE state = 'live' AND id IN ");
            push_list(&mut hold, some.iter().map(PackKey::as_str));
            hold.push(" ON CONFLICT (task, pack) DO NOTHING");
            self.change(hold.build()).await?;
            let mut select = Builder::new("SELECT id FROM packs WHERE state = 'live' AND id IN ");
            push_list(&mut select, some.iter().map(PackKey::as_str));
            live.extend(self.list(select.build(), read_key).await?);
        }
        Ok(packs.iter().filter(|pack| live.contains(*pack)).cloned().collect())
    }

    /// The packs of these scopes that may be relied on (after [`Tx::hold_packs`]), oldest first.
    pub async fn live_packs(&mut self, region: &RegionId, scopes: &[&str]) -> Result<Vec<PackKey>> {
        let mut select = Builder::new("SELECT id FROM packs WHERE state = 'live' AND region = ");
        select.push_bind(region.as_str()).push(" AND scope IN ");
        push_list(&mut select, scopes.iter().copied());
        select.push(" ORDER BY created_at, id");
        self.list(select.build(), read_key).await
    }
}
