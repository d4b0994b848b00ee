//! Who works on a task: claiming it under a lease, recording how far it came, ending it.
//!
//! Invariants: every claim raises the fence, and whatever is recorded names the fence it was claimed under, so that
//! a worker whose task was claimed by another records nothing any more; a task that ended holds no pack and no
//! manifest.

use kiln_model::{Failure, Task, TaskEvent, TaskId, TaskProgress, TaskState, Timestamp};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, failure_columns, integer, json, push_list};
use crate::tasks::read_task;
use crate::words::Word;
use crate::{Error, Result};

const NOT_THE_HOLDER: &str = "the task is not running under this fence";

impl Tx {
    /// Takes the oldest task of these kinds that waits, or whose worker's lease ran out; a lease of `lease_millis`
    /// from `now` begins. Owners that have `most_per_owner` such tasks at work already are passed over. The task is given
    /// as it is after the claim.
    pub async fn claim_task(
        &mut self,
        now: Timestamp,
        lease_millis: i64,
        kinds: &[&str],
        most_per_owner: u32,
    ) -> Result<Option<Task>> {
        let mut select = Builder::new("SELECT * FROM tasks WHERE state IN ('queued', 'running')");
        select.push(" AND (state = 'queued' OR lease_until <= ").push_bind(now.0).push(") AND kind IN ");
        push_list(&mut select, kinds.iter().copied());
        // One account's slow work must not keep everybody's waiting.
        select.push(
            " AND (SELECT COUNT(*) FROM tasks held WHERE held.owner = tasks.owner AND held.state = 'running'
                AND held.lease_until > ",
        );
        select.push_bind(now.0).push(" AND held.kind IN ");
        push_list(&mut select, kinds.iter().copied());
        select.push(") < ").push_bind(i64::from(most_per_owner));
        select.push(" ORDER BY created_at, id LIMIT 1");
        let Some(mut task) = self.find(select.build(), read_task).await? else { return Ok(None) };
        let found = (task.state, task.fence);
        task.state = task.state.transition(TaskEvent::Claimed)?;
        task.fence += 1;
        task.attempts = task.attempts.saturating_add(1);
        task.lease_until = now.plus_millis(lease_millis);
        let sql = "UPDATE tasks SET state = $1, fence = $2, attempts = $3, lease_until = $4
            WHERE id = $5 AND state = $6 AND fence = $7";
        let update = query(sql)
            .bind(task.state.word())
            .bind(task.fence)
            .bind(i64::from(task.attempts))
            .bind(task.lease_until.0)
            .bind(task.id.as_str())
            .bind(found.0.word())
            .bind(found.1);
        self.change_some(update, "another worker claimed the task").await?;
        Ok(Some(task))
    }

    /// Makes sure that the task still runs under this fence, for the rest of the transaction.
    ///
    /// # Errors
    /// `Stale` where it does not.
    pub async fn assert_fence(&mut self, id: &TaskId, fence: i64) -> Result<()> {
        let sql = "SELECT COUNT(*) AS n FROM tasks WHERE id = $1 AND fence = $2 AND state = 'running'";
        match self.count::<u64>(query(sql).bind(id.as_str()).bind(fence)).await? {
            0 => Err(Error::Stale(NOT_THE_HOLDER)),
            _ => Ok(()),
        }
    }

    /// Makes the lease last until `until`; whether the task's owner wants it to stop.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence.
    pub async fn renew_lease(&mut self, id: &TaskId, fence: i64, until: Timestamp) -> Result<bool> {
        let sql = "UPDATE tasks SET lease_until = $1 WHERE id = $2 AND fence = $3 AND state = 'running'
            RETURNING cancel_requested";
        let update = query(sql).bind(until.0).bind(id.as_str()).bind(fence);
        let asked = self.find(update, |row| row.flag("cancel_requested")).await?;
        asked.ok_or(Error::Stale(NOT_THE_HOLDER))
    }

    /// Records what the finished steps leave for the next ones.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence.
    pub async fn save_checkpoint(
        &mut self,
        id: &TaskId,
        fence: i64,
        checkpoint: &serde_json::Value,
    ) -> Result<()> {
        let sql = "UPDATE tasks SET checkpoint = $1 WHERE id = $2 AND fence = $3 AND state = 'running'";
        let update = query(sql).bind(json(checkpoint)).bind(id.as_str()).bind(fence);
        self.change_some(update, NOT_THE_HOLDER).await
    }

    /// Records how far the task has come.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence.
    pub async fn save_progress(&mut self, id: &TaskId, fence: i64, progress: &TaskProgress) -> Result<()> {
        let sql = "UPDATE tasks SET stage = $1, bytes_done = $2, bytes_total = $3, bytes_per_second = $4
            WHERE id = $5 AND fence = $6 AND state = 'running'";
        let update = query(sql)
            .bind(&progress.stage)
            .bind(integer(progress.bytes_done, "bytes_done")?)
            .bind(integer(progress.bytes_total, "bytes_total")?)
            .bind(integer(progress.bytes_per_second, "bytes_per_second")?)
            .bind(id.as_str())
            .bind(fence);
        self.change_some(update, NOT_THE_HOLDER).await
    }

    /// Ends a task; its new state. It gives up every pack and manifest that it holds: what is to stay must be
    /// published before, in the same transaction. A waiting task can only be cancelled.
    ///
    /// # Errors
    /// `Stale` where the fence is another, or there is no such task; `Illegal` where it has ended already.
    pub async fn finish_task(
        &mut self,
        id: &TaskId,
        fence: i64,
        event: TaskEvent,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<TaskState> {
        let select =
            query("SELECT state FROM tasks WHERE id = $1 AND fence = $2").bind(id.as_str()).bind(fence);
        let found = self.find(select, |row| row.word::<TaskState>("state")).await?;
        let state = found.ok_or(Error::Stale(NOT_THE_HOLDER))?;
        let next = state.transition(event)?;
        let (failure_code, failure_message) = failure_columns(failure);
        let sql = "UPDATE tasks SET state = $1, finished_at = $2, lease_until = $2, failure_code = $3,
            failure_message = $4 WHERE id = $5 AND fence = $6 AND state = $7";
        let update = query(sql)
            .bind(next.word())
            .bind(next.is_final().then_some(now.0))
            .bind(failure_code)
            .bind(failure_message)
            .bind(id.as_str())
            .bind(fence)
            .bind(state.word());
        self.change_some(update, NOT_THE_HOLDER).await?;
        self.release_holds(id, now).await?;
        Ok(next)
    }

    /// Drops every reference of a task that ended; what loses one starts to age.
    async fn release_holds(&mut self, id: &TaskId, now: Timestamp) -> Result<()> {
        let touch_packs = "UPDATE packs SET since = $1 WHERE state <> 'condemned'
            AND id IN (SELECT pack FROM task_packs WHERE task = $2)";
        let touch_manifests = "UPDATE manifests SET since = $1 WHERE state <> 'condemned'
            AND id IN (SELECT manifest FROM task_manifests WHERE task = $2)";
        for sql in [touch_packs, touch_manifests] {
            self.change(query(sql).bind(now.0).bind(id.as_str())).await?;
        }
        for sql in ["DELETE FROM task_packs WHERE task = $1", "DELETE FROM task_manifests WHERE task = $1"] {
            self.change(query(sql).bind(id.as_str())).await?;
        }
        Ok(())
    }

    /// Notes that the owner wants a task to stop, unless it has ended; its state.
    ///
    /// # Errors
    /// `Stale` where there is no such task.
    pub async fn request_cancel(&mut self, id: &TaskId) -> Result<TaskState> {
        let sql = "UPDATE tasks SET cancel_requested = CASE WHEN finished_at IS NULL THEN 1 ELSE cancel_requested END
            WHERE id = $1 RETURNING state";
        let state = self.find(query(sql).bind(id.as_str()), |row| row.word("state")).await?;
        state.ok_or(Error::Stale("no such task"))
    }

    /// Lets every lease run out now: right at the start of a node that is the only one, since whoever held one is
    /// gone. The number of tasks.
    pub async fn release_leases(&mut self, now: Timestamp) -> Result<u64> {
        self.change(query("UPDATE tasks SET lease_until = $1 WHERE state = 'running'").bind(now.0)).await
    }
}
