//! Tasks: adding and listing them. Who works on them is in `leases`.

use kiln_model::{ImageId, InstanceId, RegionId, Task, TaskId, TaskProgress, TaskState, Uin};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, failure_columns, integer, json, push_filter, push_page, uin};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// Which tasks are asked for. Values of one filter are alternatives, filters are joined; an empty filter lets
/// everything through.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct TaskQuery {
    pub owner: Option<Uin>,
    pub region: Option<RegionId>,
    pub states: Vec<TaskState>,
    /// By [`kiln_model::TaskKind::name`].
    pub kinds: Vec<&'static str>,
    pub image: Option<ImageId>,
    pub instance: Option<InstanceId>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl Default for TaskQuery {
    fn default() -> Self {
        Self {
            owner: None,
            region: None,
            states: Vec::new(),
            kinds: Vec::new(),
            image: None,
            instance: None,
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl TaskQuery {
    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        query.push(" FROM tasks WHERE 1 = 1");
        if let Some(owner) = self.owner {
            query.push(" AND owner = ").push_bind(uin(owner)?);
        }
        push_filter(query, "region", self.region.as_slice().iter().map(RegionId::as_str));
        push_filter(query, "state", self.states.iter().map(|state| state.word()));
        push_filter(query, "kind", self.kinds.iter().copied());
        push_filter(query, "image", self.image.as_slice().iter().map(ImageId::as_str));
        push_filter(query, "instance", self.instance.as_slice().iter().map(InstanceId::as_str));
        Ok(())
    }
}

pub(crate) fn read_task(row: &Row) -> Result<Task> {
    Ok(Task {
        id: TaskId::from_trusted(row.text("id")?),
        kind: row.json("detail")?,
        owner: row.uin("owner")?,
        region: RegionId::from_trusted(row.text("region")?),
        request_id: row.text("request_id")?,
        state: row.word("state")?,
        fence: row.signed("fence")?,
        lease_until: row.time("lease_until")?,
        checkpoint: row.json("checkpoint")?,
        progress: TaskProgress {
            stage: row.text("stage")?,
            bytes_done: row.number("bytes_done")?,
            bytes_total: row.number("bytes_total")?,
            bytes_per_second: row.number("bytes_per_second")?,
        },
        cancel_requested: row.flag("cancel_requested")?,
        attempts: row.number("attempts")?,
        failure: row.failure("failure_code", "failure_message")?,
        created_at: row.time("created_at")?,
        finished_at: row.optional_time("finished_at")?,
    })
}

impl Tx {
    /// Adds a task, in the transaction of the request that asks for it.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::Identifier`]; `Missing` where the owner does not exist.
    pub async fn insert_task(&mut self, task: &Task) -> Result<()> {
        let sql =
            "INSERT INTO tasks (id, kind, detail, image, instance, owner, region, request_id, state, fence,
                lease_until, checkpoint, stage, bytes_done, bytes_total, bytes_per_second, cancel_requested,
                attempts, failure_code, failure_message, created_at, finished_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                $21, $22)";
        let (failure_code, failure_message) = failure_columns(task.failure.as_ref());
        let insert = query(sql)
            .bind(task.id.as_str())
            .bind(task.kind.name())
            .bind(json(&task.kind))
            .bind(task.kind.image().map(ImageId::as_str))
            .bind(task.kind.instance().map(InstanceId::as_str))
            .bind(uin(task.owner)?)
            .bind(task.region.as_str())
            .bind(&task.request_id)
            .bind(task.state.word())
            .bind(task.fence)
            .bind(task.lease_until.0)
            .bind(json(&task.checkpoint))
            .bind(&task.progress.stage)
            .bind(integer(task.progress.bytes_done, "bytes_done")?)
            .bind(integer(task.progress.bytes_total, "bytes_total")?)
            .bind(integer(task.progress.bytes_per_second, "bytes_per_second")?)
            .bind(i64::from(task.cancel_requested))
            .bind(i64::from(task.attempts))
            .bind(failure_code)
            .bind(failure_message)
            .bind(task.created_at.0)
            .bind(task.finished_at.map(|at| at.0));
        self.change(insert).await?;
        Ok(())
    }

    /// The task of that identifier.
    pub async fn task(&mut self, id: &TaskId) -> Result<Option<Task>> {
        self.find(query("SELECT * FROM tasks WHERE id = $1").bind(id.as_str()), read_task).await
    }

    /// How many tasks of a kind an account has that have not ended.
    pub async fn count_unfinished_tasks(&mut self, owner: Uin, kind: &str) -> Result<u32> {
        let sql = "SELECT COUNT(*) AS n FROM tasks WHERE owner = $1 AND kind = $2
            AND state IN ('queued', 'running')";
        self.count(query(sql).bind(uin(owner)?).bind(kind)).await
    }

    /// A page of tasks, newest first, and how many there are in all.
    pub async fn tasks(&mut self, asked: &TaskQuery) -> Result<(Vec<Task>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT *");
        asked.push_conditions(&mut select)?;
        select.push(" ORDER BY created_at DESC, id");
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_task).await?, total))
    }
}
