//! Snapshots, one at a time. Lists by page are in `snapshot_list`; an image's own are made with the image (`images`).
//!
//! Invariants: a state changes only by [`SnapshotState::transition`]; a snapshot is published only with a manifest that is
//! live in its region, and keeps it alive until it is Deleted.

use std::collections::HashMap;

use kiln_model::{
    DiskId, ImageId, ManifestKey, RegionId, Snapshot, SnapshotEvent, SnapshotId, SnapshotState, TaskId,
    Timestamp, Uin, ZoneId,
};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, push_list, uin};
use crate::words::Word;
use crate::{Error, Result};

const NO_SUCH_SNAPSHOT: &str = "no such snapshot, or its state changed";

pub(crate) fn read_snapshot(row: &Row) -> Result<Snapshot> {
    Ok(Snapshot {
        id: SnapshotId::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        zone: row.optional_text("zone")?.map(ZoneId::from_trusted),
        owner: row.uin("owner")?,
        name: row.text("name")?,
        state: row.word("state")?,
        usage: row.word("disk_usage")?,
        disk: row.optional_text("disk")?.map(DiskId::from_trusted),
        manifest: row.optional_text("manifest")?.map(ManifestKey::from_trusted),
        size_bytes: row.number("size_bytes")?,
        source_image: row.optional_text("source_image")?.map(ImageId::from_trusted),
        of_image: row.optional_text("of_image")?.map(ImageId::from_trusted),
        task: TaskId::from_trusted(row.text("task")?),
        created_at: row.time("created_at")?,
    })
}

/// What snapshots there are of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// How many.
    pub count: u64,
    /// The sum of their disks' sizes, in bytes.
    pub size_bytes: u64,
}

impl Tx {
    /// Adds a snapshot that is being made.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::Identifier`]; `Missing` where owner or image do not exist.
    pub async fn insert_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let sql = "INSERT INTO snapshots (id, region, zone, owner, name, state, disk_usage, disk, manifest, size_bytes,
                source_image, of_image, task, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9, $10, $11, $12, $13)";
        let insert = query(sql)
            .bind(snapshot.id.as_str())
            .bind(snapshot.region.as_str())
            .bind(snapshot.zone.as_ref().map(ZoneId::as_str))
            .bind(uin(snapshot.owner)?)
            .bind(&snapshot.name)
            .bind(snapshot.state.word())
            .bind(snapshot.usage.word())
            .bind(snapshot.disk.as_ref().map(DiskId::as_str))
            .bind(integer(snapshot.size_bytes, "size_bytes")?)
            .bind(snapshot.source_image.as_ref().map(ImageId::as_str))
            .bind(snapshot.of_image.as_ref().map(ImageId::as_str))
            .bind(snapshot.task.as_str())
            .bind(snapshot.created_at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// The snapshot of that identifier, whoever owns it and in any state.
    pub async fn snapshot(&mut self, id: &SnapshotId) -> Result<Option<Snapshot>> {
        self.find(query("SELECT * FROM snapshots WHERE id = $1").bind(id.as_str()), read_snapshot).await
    }

    /// Makes a snapshot whole. Belongs into the transaction that publishes the manifest and finishes the task.
    ///
    /// # Errors
    /// `Illegal` where the snapshot is not being made; `Stale` where there is no such snapshot, or the manifest is not
    /// live in its region.
    pub async fn publish_snapshot(
        &mut self,
        id: &SnapshotId,
        manifest: &ManifestKey,
        size_bytes: u64,
    ) -> Result<()> {
        let (state, next) = self.next_snapshot_state(id, SnapshotEvent::Published).await?;
        let sql = "UPDATE snapshots SET state = $1, manifest = $2, size_bytes = $3 WHERE id = $4 AND state = $5
            AND EXISTS (SELECT 1 FROM manifests m WHERE m.id = $2 AND m.region = snapshots.region AND m.state = 'live')";
        let update = query(sql)
            .bind(next.word())
            .bind(manifest.as_str())
            .bind(integer(size_bytes, "size_bytes")?)
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, "no such snapshot, or its manifest is not live in its region").await
    }

    /// Lets something else happen to a snapshot; its new state.
    ///
    /// # Errors
    /// `Illegal` where it cannot happen in the snapshot's state; `Stale` where there is no such snapshot.
    pub async fn transition_snapshot(
        &mut self,
        id: &SnapshotId,
        event: SnapshotEvent,
        now: Timestamp,
    ) -> Result<SnapshotState> {
        let (state, next) = self.next_snapshot_state(id, event).await?;
        let update = query("UPDATE snapshots SET state = $1 WHERE id = $2 AND state = $3")
            .bind(next.word())
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, NO_SUCH_SNAPSHOT).await?;
        if next == SnapshotState::Deleted {
            let touch = "UPDATE manifests SET since = $1 WHERE state <> 'condemned'
                AND id = (SELECT manifest FROM snapshots WHERE id = $2)";
            self.change(query(touch).bind(now.0).bind(id.as_str())).await?;
            self.delete_tags(id.as_str()).await?;
        }
        Ok(next)
    }

    /// The snapshot's state before and after an event.
    async fn next_snapshot_state(
        &mut self,
        id: &SnapshotId,
        event: SnapshotEvent,
    ) -> Result<(SnapshotState, SnapshotState)> {
        let select = query("SELECT state FROM snapshots WHERE id = $1").bind(id.as_str());
        let found = self.find(select, |row| row.word::<SnapshotState>("state")).await?;
        let state = found.ok_or(Error::Stale(NO_SUCH_SNAPSHOT))?;
        Ok((state, state.transition(event)?))
    }

    /// The snapshots that were made with an image and are not Deleted.
    pub async fn snapshots_made_with(&mut self, image: &ImageId) -> Result<Vec<SnapshotId>> {
        let sql = "SELECT id FROM snapshots WHERE of_image = $1 AND state <> 'deleted' ORDER BY id";
        self.list(query(sql).bind(image.as_str()), |row| row.text("id").map(SnapshotId::from_trusted)).await
    }

    /// An account's snapshots in a region that are not Deleted, but for those of images.
    pub async fn count_snapshots(&mut self, owner: Uin, region: &RegionId) -> Result<u32> {
        let sql = "SELECT COUNT(*) AS n FROM snapshots
            WHERE owner = $1 AND region = $2 AND state <> 'deleted' AND of_image IS NULL";
        self.count(query(sql).bind(uin(owner)?).bind(region.as_str())).await
    }

    /// The images that are made of snapshots, or are being made: each snapshot with an image's identifier and name.
    pub async fn images_of_snapshots<'s>(
        &mut self,
        snapshots: impl IntoIterator<Item = &'s SnapshotId>,
    ) -> Result<Vec<(SnapshotId, ImageId, String)>> {
        let mut select = Builder::new(
            "SELECT d.snapshot, i.id, i.name FROM image_disks d JOIN images i ON i.id = d.image",
        );
        select.push(" WHERE i.state IN ('creating', 'normal') AND d.snapshot IN ");
        push_list(&mut select, snapshots.into_iter().map(SnapshotId::as_str));
        select.push(" ORDER BY d.snapshot, i.created_at, i.id");
        let read = |row: &Row| {
            let snapshot = SnapshotId::from_trusted(row.text("snapshot")?);
            Ok((snapshot, ImageId::from_trusted(row.text("id")?), row.text("name")?))
        };
        self.list(select.build(), read).await
    }

    /// What snapshots there are of disks.
    pub async fn snapshot_totals<'d>(
        &mut self,
        disks: impl IntoIterator<Item = &'d DiskId>,
    ) -> Result<HashMap<DiskId, SnapshotTotals>> {
        let mut select = Builder::new("SELECT disk, COUNT(*) AS n, SUM(size_bytes) AS bytes FROM snapshots");
        select.push(" WHERE state <> 'deleted' AND disk IN ");
        push_list(&mut select, disks.into_iter().map(DiskId::as_str));
        select.push(" GROUP BY disk");
        let read = |row: &Row| {
            let totals = SnapshotTotals { count: row.number("n")?, size_bytes: row.number("bytes")? };
            Ok((DiskId::from_trusted(row.text("disk")?), totals))
        };
        Ok(self.list(select.build(), read).await?.into_iter().collect())
    }
}
