//! Manifests: taking a key, publishing with references to packs, and tasks that read one.
//!
//! Rules 3 and 6 of the design's garbage collection are kept here: a manifest becomes live together with its
//! references, each to a pack that cannot have been condemned, under the task's present fence.

use kiln_model::{ManifestKey, PackKey, RegionId, TaskId, Timestamp};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, push_list};
use crate::packs::KEYS_PER_STATEMENT;
use crate::words::Word;
use crate::{Error, Result, StoreEvent, StoreState};

const NOT_THE_TASKS: &str = "the task registered no such manifest, or its state changed";
const PACK_NOT_HELD: &str = "a pack of the manifest is not live, or nothing keeps it";

/// A manifest that is whole, and what it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedManifest {
    /// Its key.
    pub key: ManifestKey,
    /// The size of the disk it describes, in bytes.
    pub size_bytes: u64,
    /// Bytes of the disk that are not zero.
    pub data_bytes: u64,
    /// Bytes of its object.
    pub stored_bytes: u64,
    /// Each pack that it refers to, once, and the bytes of the pack that it uses.
    pub packs: Vec<(PackKey, u64)>,
}

/// A manifest as the catalogue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    /// Its key.
    pub key: ManifestKey,
    /// The region whose store has it.
    pub region: RegionId,
    /// Where it is in its life.
    pub state: StoreState,
    /// The task that registered it.
    pub task: TaskId,
    /// The size of the disk it describes, in bytes; 0 until it is published.
    pub size_bytes: u64,
    /// Bytes of the disk that are not zero.
    pub data_bytes: u64,
    /// Bytes of its object.
    pub stored_bytes: u64,
    /// When it was registered, published, lost a reference, or was condemned: the last of them.
    pub since: Timestamp,
}

fn read_manifest(row: &Row) -> Result<ManifestRow> {
    Ok(ManifestRow {
        key: ManifestKey::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        state: row.word("state")?,
        task: TaskId::from_trusted(row.text("task")?),
        size_bytes: row.number("size_bytes")?,
        data_bytes: row.number("data_bytes")?,
        stored_bytes: row.number("stored_bytes")?,
        since: row.time("since")?,
    })
}

impl Tx {
    /// Takes the key of a manifest that is about to be written; the task refers to it from now on.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence; `Conflict` with [`crate::Unique::Identifier`] where
    /// the key is taken.
    pub async fn register_manifest(
        &mut self,
        region: &RegionId,
        key: &ManifestKey,
        task: &TaskId,
        fence: i64,
        now: Timestamp,
    ) -> Result<()> {
        self.assert_fence(task, fence).await?;
        let sql = "INSERT INTO manifests
                (id, region, state, task, size_bytes, data_bytes, stored_bytes, created_at, since)
            VALUES ($1, $2, $3, $4, 0, 0, 0, $5, $5)";
        let insert = query(sql)
            .bind(key.as_str())
            .bind(region.as_str())
            .bind(StoreState::Pending.word())
            .bind(task.as_str())
            .bind(now.0);
        self.change(insert).await?;
        self.refer_to_manifest(task, key).await
    }

    async fn refer_to_manifest(&mut self, task: &TaskId, key: &ManifestKey) -> Result<()> {
        let sql = "INSERT INTO task_manifests (task, manifest) VALUES ($1, $2)
            ON CONFLICT (task, manifest) DO NOTHING";
        self.change(query(sql).bind(task.as_str()).bind(key.as_str())).await?;
        Ok(())
    }

    /// Lets a manifest be relied on, and makes it refer to its packs. Each of them must be live, in the manifest's
    /// region, and kept by the task or by a live manifest.
    ///
    /// # Errors
    /// `Stale` where a pack is not so, the task does not run under this fence, or did not register the manifest;
    /// `Illegal` where the manifest is not pending.
    pub async fn publish_manifest(
        &mut self,
        published: &PublishedManifest,
        task: &TaskId,
        fence: i64,
        now: Timestamp,
    ) -> Result<()> {
        self.assert_fence(task, fence).await?;
        let found = self.manifest(&published.key).await?.filter(|row| row.task == *task);
        let row = found.ok_or(Error::Stale(NOT_THE_TASKS))?;
        let next = row.state.transition(StoreEvent::Completed)?;
        let sql =
            "UPDATE manifests SET state = $1, size_bytes = $2, data_bytes = $3, stored_bytes = $4, since = $5
            WHERE id = $6 AND state = $7";
        let update = query(sql)
            .bind(next.word())
            .bind(integer(published.size_bytes, "size_bytes")?)
            .bind(integer(published.data_bytes, "data_bytes")?)
            .bind(integer(published.stored_bytes, "stored_bytes")?)
            .bind(now.0)
            .bind(published.key.as_str())
            .bind(row.state.word());
        for some in published.packs.chunks(KEYS_PER_STATEMENT) {
            self.assert_packs_kept(&row.region, task, some).await?;
            self.refer_to_packs(&published.key, some).await?;
        }
        self.change_some(update, NOT_THE_TASKS).await
    }

    /// Runs before the manifest itself is live, so that it cannot vouch for its own packs.
    async fn assert_packs_kept(
        &mut self,
        region: &RegionId,
        task: &TaskId,
        packs: &[(PackKey, u64)],
    ) -> Result<()> {
        let mut count =
            Builder::new("SELECT COUNT(*) AS n FROM packs p WHERE p.state = 'live' AND p.region = ");
        count.push_bind(region.as_str());
        count.push(" AND (EXISTS (SELECT 1 FROM task_packs t WHERE t.pack = p.id AND t.task = ");
        count.push_bind(task.as_str());
        count.push(") OR EXISTS (SELECT 1 FROM manifest_packs r JOIN manifests m ON m.id = r.manifest");
        count.push(" WHERE r.pack = p.id AND m.state = 'live')) AND p.id IN ");
        push_list(&mut count, packs.iter().map(|(pack, _)| pack.as_str()));
        match self.count::<usize>(count.build()).await? {
            kept if kept == packs.len() => Ok(()),
            _ => Err(Error::Stale(PACK_NOT_HELD)),
        }
    }

    async fn refer_to_packs(&mut self, manifest: &ManifestKey, packs: &[(PackKey, u64)]) -> Result<()> {
        let mut rows = Vec::with_capacity(packs.len());
        for (pack, used_bytes) in packs {
            rows.push((pack.as_str(), integer(*used_bytes, "used_bytes")?));
        }
        let mut insert = Builder::new("INSERT INTO manifest_packs (manifest, pack, used_bytes) ");
        insert.push_values(rows, |mut row, (pack, used_bytes)| {
            row.push_bind(manifest.as_str()).push_bind(pack).push_bind(used_bytes);
        });
        self.change(insert.build()).await?;
        Ok(())
    }

    /// Makes the task refer to a manifest that it is going to read, which keeps its packs too; whether it is live.
    ///
    /// # Errors
    /// `Stale` where the task does not run under this fence.
    pub async fn hold_manifest(&mut self, task: &TaskId, fence: i64, key: &ManifestKey) -> Result<bool> {
        self.assert_fence(task, fence).await?;
        self.keep_manifest(task, key).await
    }

    /// Makes a task that is being asked for refer to a manifest, which it is going to read; whether that is live. In
    /// the transaction that adds the task.
    pub async fn keep_manifest(&mut self, task: &TaskId, key: &ManifestKey) -> Result<bool> {
        let live = self.manifest(key).await?.is_some_and(|row| row.state == StoreState::Live);
        if live {
            self.refer_to_manifest(task, key).await?;
        }
        Ok(live)
    }

    /// The manifest of that key, until it is forgotten.
    pub async fn manifest(&mut self, key: &ManifestKey) -> Result<Option<ManifestRow>> {
        let select = query("SELECT * FROM manifests WHERE id = $1").bind(key.as_str());
        self.find(select, read_manifest).await
    }

    /// The packs that a manifest refers to, and the bytes of each that it uses.
    pub async fn manifest_packs(&mut self, key: &ManifestKey) -> Result<Vec<(PackKey, u64)>> {
        let sql = "SELECT pack, used_bytes FROM manifest_packs WHERE manifest = $1 ORDER BY pack";
        let read = |row: &Row| Ok((PackKey::from_trusted(row.text("pack")?), row.number("used_bytes")?));
        self.list(query(sql).bind(key.as_str()), read).await
    }
}
