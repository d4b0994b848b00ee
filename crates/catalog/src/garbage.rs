//! What a store holds and what of it nothing refers to: reference counts, condemning, forgetting, totals.
//!
//! Who refers to what. A pack: manifests, until they are forgotten; tasks, until they have ended. A manifest: snapshots,
//! those of images included, that are not deleted; instances and data disks that are not terminated; tasks, until they have ended.
//!
//! Rules 4 and 5 of the design's garbage collection are kept here: condemning and forgetting check reference count
//! and age in the statement that acts. How much may go in one run (rule 8) and deleting objects are the caller's.
//!
//! A forgotten key leaves no trace: keys are 128 random bits, so none comes twice.

use kiln_model::{ManifestKey, PackKey, RegionId, Timestamp};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, push_list};
use crate::words::Word;
use crate::{Error, Result, StoreEvent, StoreState};

/// The key of something in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKey {
    /// A pack.
    Pack(PackKey),
    /// A manifest.
    Manifest(ManifestKey),
}

/// A pack or a manifest, and how many refer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreObject {
    /// Which it is.
    pub key: StoreKey,
    /// Where it is in its life.
    pub state: StoreState,
    /// Bytes of its object; 0 while it is pending.
    pub stored_bytes: u64,
    /// How many refer to it.
    pub references: u64,
    /// Condemned: when that was. Else when it was registered, completed or last lost a reference.
    pub since: Timestamp,
}

/// What a region's store holds, in sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct StoreTotals {
    pub live_packs: u64,
    /// Bytes of the live packs' objects.
    pub live_pack_bytes: u64,
    pub live_chunks: u64,
    pub pending_packs: u64,
    pub condemned_packs: u64,
    /// Bytes that go when the condemned packs' objects are deleted.
    pub condemned_pack_bytes: u64,
    pub live_manifests: u64,
    /// Bytes of the live manifests' objects.
    pub live_manifest_bytes: u64,
    /// Bytes of the disks that the live manifests describe.
    pub disk_bytes: u64,
    /// Bytes of these disks that are not zero.
    pub data_bytes: u64,
}

/// A kind of store object: its table, and how many refer to the row `o` of it.
struct Kind {
    name: &'static str,
    table: &'static str,
    references: &'static str,
}

const PACK: Kind = Kind {
    name: "pack",
    table: "packs",
    references: "((SELECT COUNT(*) FROM manifest_packs r WHERE r.pack = o.id)
        + (SELECT COUNT(*) FROM task_packs r WHERE r.pack = o.id))",
};

const MANIFEST: Kind = Kind {
    name: "manifest",
    table: "manifests",
    references: "((SELECT COUNT(*) FROM snapshots r WHERE r.manifest = o.id AND r.state <> 'deleted')
        + (SELECT COUNT(*) FROM instances r WHERE r.base_manifest = o.id AND r.state <> 'terminated')
        + (SELECT COUNT(*) FROM disks r WHERE r.base_manifest = o.id AND r.state <> 'terminated')
        + (SELECT COUNT(*) FROM task_manifests r WHERE r.manifest = o.id))",
};

fn read_object(row: &Row) -> Result<StoreObject> {
    let id = row.text("id")?;
    let key = match row.text("kind")?.as_str() {
        "pack" => StoreKey::Pack(PackKey::from_trusted(id)),
        _ => StoreKey::Manifest(ManifestKey::from_trusted(id)),
    };
    Ok(StoreObject {
        key,
        state: row.word("state")?,
        stored_bytes: row.number("stored_bytes")?,
        references: row.number("reference_count")?,
        since: row.time("since")?,
    })
}

/// The store objects of a region as rows of `v`; conditions may follow.
fn objects(region: &RegionId) -> Builder<'_> {
    let mut select = Builder::new("SELECT * FROM (");
    for (index, kind) in [PACK, MANIFEST].iter().enumerate() {
        if index > 0 {
            select.push(" UNION ALL ");
        }
        select.push("SELECT '").push(kind.name).push("' AS kind, o.id, o.state, o.stored_bytes, o.since, ");
        select.push(kind.references).push(" AS reference_count FROM ").push(kind.table);
        select.push(" o WHERE o.region = ").push_bind(region.as_str());
    }
    select.push(") v WHERE 1 = 1");
    select
}

/// The states in which something can be condemned, as a list.
fn push_condemnable(query: &mut Builder<'_>) {
    let can = |state: StoreState| state.transition(StoreEvent::Condemned).is_ok();
    push_list(query, StoreState::WORDS.iter().filter(|(state, _)| can(*state)).map(|(_, word)| *word));
}

impl Tx {
    /// Everything that a region's store holds, by the catalogue, with its reference count.
    pub async fn store_objects(&mut self, region: &RegionId) -> Result<Vec<StoreObject>> {
        let mut select = objects(region);
        select.push(" ORDER BY v.since, v.kind, v.id");
        self.list(select.build(), read_object).await
    }

    /// What could be condemned: nothing has referred to it for `min_age_millis`.
    pub async fn garbage(
        &mut self,
        region: &RegionId,
        now: Timestamp,
        min_age_millis: i64,
    ) -> Result<Vec<StoreObject>> {
        let mut select = objects(region);
        select
            .push(" AND v.reference_count = 0 AND v.since <= ")
            .push_bind(now.0.saturating_sub(min_age_millis));
        select.push(" AND v.state IN ");
        push_condemnable(&mut select);
        select.push(" ORDER BY v.since, v.kind, v.id");
        self.list(select.build(), read_object).await
    }

    /// What was condemned at `time` or earlier. Its objects can be deleted, then it can be forgotten; one that has
    /// a reference all the same must be left alone and reported.
    pub async fn condemned_before(&mut self, region: &RegionId, time: Timestamp) -> Result<Vec<StoreObject>> {
        let mut select = objects(region);
        select.push(" AND v.state = 'condemned' AND v.since <= ").push_bind(time.0);
        select.push(" ORDER BY v.since, v.kind, v.id");
        self.list(select.build(), read_object).await
    }

    /// Condemns those of the packs that nothing refers to, and nothing did after `idle_since`; they are given.
    pub async fn condemn_packs(
        &mut self,
        packs: &[PackKey],
        idle_since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<PackKey>> {
        let mut condemned = Vec::new();
        for pack in packs {
            if self.condemn(&PACK, pack.as_str(), idle_since, now).await? {
                condemned.push(pack.clone());
            }
        }
        Ok(condemned)
    }

    /// Condemns those of the manifests that nothing refers to, and nothing did after `idle_since`; they are given.
    /// Their packs stay referred to until the manifests are forgotten.
    pub async fn condemn_manifests(
        &mut self,
        manifests: &[ManifestKey],
        idle_since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ManifestKey>> {
        let mut condemned = Vec::new();
        for manifest in manifests {
            if self.condemn(&MANIFEST, manifest.as_str(), idle_since, now).await? {
                condemned.push(manifest.clone());
            }
        }
        Ok(condemned)
    }

    async fn condemn(
        &mut self,
        kind: &Kind,
        id: &str,
        idle_since: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let mut update = Builder::new("UPDATE ");
        update.push(kind.table).push(" AS o SET state = ").push_bind(StoreState::Condemned.word());
        update.push(", since = ").push_bind(now.0);
        update.push(" WHERE o.id = ").push_bind(id);
        update.push(" AND o.since <= ").push_bind(idle_since.0);
        update.push(" AND ").push(kind.references).push(" = 0 AND o.state IN ");
        push_condemnable(&mut update);
        Ok(self.change(update.build()).await? > 0)
    }

    /// Removes the row of a pack whose object was deleted.
    ///
    /// # Errors
    /// `Stale` unless it was condemned at `condemned_before` or earlier and nothing refers to it.
    pub async fn forget_pack(&mut self, key: &PackKey, condemned_before: Timestamp) -> Result<()> {
        self.forget(&PACK, key.as_str(), condemned_before).await
    }

    /// Removes the row of a manifest whose object was deleted, and its references; its packs start to age.
    ///
    /// # Errors
    /// `Stale` unless it was condemned at `condemned_before` or earlier and nothing refers to it. Then the
    /// transaction must be dropped.
    pub async fn forget_manifest(
        &mut self,
        key: &ManifestKey,
        condemned_before: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        let touch = "UPDATE packs SET since = $1 WHERE state <> 'condemned'
            AND id IN (SELECT pack FROM manifest_packs WHERE manifest = $2)";
        self.change(query(touch).bind(now.0).bind(key.as_str())).await?;
        self.change(query("DELETE FROM manifest_packs WHERE manifest = $1").bind(key.as_str())).await?;
        self.forget(&MANIFEST, key.as_str(), condemned_before).await
    }

    async fn forget(&mut self, kind: &Kind, id: &str, condemned_before: Timestamp) -> Result<()> {
        let mut delete = Builder::new("DELETE FROM ");
        delete.push(kind.table).push(" AS o WHERE o.id = ").push_bind(id);
        delete.push(" AND o.state = 'condemned' AND o.since <= ").push_bind(condemned_before.0);
        delete.push(" AND ").push(kind.references).push(" = 0");
        match self.change(delete.build()).await? {
            0 => Err(Error::Stale("not condemned for long enough, or referred to")),
            _ => Ok(()),
        }
    }

    /// What a region's store holds, in sums.
    pub async fn store_totals(&mut self, region: &RegionId) -> Result<StoreTotals> {
        let mut totals = StoreTotals::default();
        let packs = "SELECT state, COUNT(*) AS n, SUM(stored_bytes) AS bytes, SUM(chunk_count) AS chunks
            FROM packs WHERE region = $1 GROUP BY state";
        let read = |row: &Row| {
            let state: StoreState = row.word("state")?;
            Ok((state, row.number("n")?, row.number("bytes")?, row.number("chunks")?))
        };
        for (state, count, bytes, chunks) in self.list(query(packs).bind(region.as_str()), read).await? {
            match state {
                StoreState::Pending => totals.pending_packs = count,
                StoreState::Live => {
                    (totals.live_packs, totals.live_pack_bytes, totals.live_chunks) = (count, bytes, chunks);
                }
                StoreState::Condemned => {
                    (totals.condemned_packs, totals.condemned_pack_bytes) = (count, bytes);
                }
            }
        }
        let manifests = "SELECT COUNT(*) AS n, COALESCE(SUM(stored_bytes), 0) AS bytes,
                COALESCE(SUM(size_bytes), 0) AS disks, COALESCE(SUM(data_bytes), 0) AS data
            FROM manifests WHERE region = $1 AND state = 'live'";
        let read = |row: &Row| {
            Ok((row.number("n")?, row.number("bytes")?, row.number("disks")?, row.number("data")?))
        };
        if let Some(sums) = self.find(query(manifests).bind(region.as_str()), read).await? {
            (totals.live_manifests, totals.live_manifest_bytes, totals.disk_bytes, totals.data_bytes) = sums;
        }
        Ok(totals)
    }
}
