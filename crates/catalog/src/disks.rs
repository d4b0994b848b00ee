//! Disks, one at a time, and those of an instance. Lists by page are in `disk_list`.
//!
//! Invariants: a state changes only by [`DiskState::transition`]; a disk begins only as a manifest that is live in its
//! region, and keeps it alive until it is Terminated; a place of an instance has one disk at most.
//!
//! An instance's system disk is read from the instance's own row, and is changed nowhere but there.

use kiln_model::{
    Attachment, Disk, DiskEvent, DiskId, DiskState, Failure, InstanceId, ManifestKey, RegionId, SnapshotId,
    TaskId, Timestamp, Uin, ZoneId,
};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, failure_columns, integer, push_list, uin};
use crate::words::Word;
use crate::{Error, Result};

const NO_SUCH_DISK: &str = "no such data disk, or its state changed";

/// All disks as rows of one shape: data disks, and the system disks of instances.
pub(crate) const ALL: &str = "(SELECT id, region, zone, owner, name, 'data' AS disk_usage, state, size_bytes,
        base_manifest, snapshot, instance, slot, delete_with_instance, task, failure_code, failure_message, created_at
    FROM disks
    UNION ALL SELECT system_disk, region, zone, owner, '', 'system',
        CASE state WHEN 'terminated' THEN 'terminated' ELSE 'attached' END, system_disk_bytes, base_manifest, NULL, id,
        0, 1, task, NULL, NULL, created_at
    FROM instances)";

pub(crate) fn read_disk(row: &Row) -> Result<Disk> {
    let instance = row.optional_text("instance")?.map(InstanceId::from_trusted);
    let slot = row.optional_number("slot")?.unwrap_or(0);
    Ok(Disk {
        id: DiskId::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        zone: ZoneId::from_trusted(row.text("zone")?),
        owner: row.uin("owner")?,
        name: row.text("name")?,
        usage: row.word("disk_usage")?,
        state: row.word("state")?,
        size_bytes: row.number("size_bytes")?,
        base_manifest: row.optional_text("base_manifest")?.map(ManifestKey::from_trusted),
        snapshot: row.optional_text("snapshot")?.map(SnapshotId::from_trusted),
        attachment: instance.map(|instance| Attachment { instance, slot }),
        delete_with_instance: row.flag("delete_with_instance")?,
        task: row.optional_text("task")?.map(TaskId::from_trusted),
        failure: row.failure("failure_code", "failure_message")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds a data disk.
    ///
    /// # Errors
    /// `Stale` where its base manifest is not live in its region; `Conflict` with [`crate::Unique::Identifier`], also
    /// for a place that is taken; `Missing` where owner or instance do not exist.
    pub async fn insert_disk(&mut self, disk: &Disk) -> Result<()> {
        let sql =
            "INSERT INTO disks (id, region, zone, owner, name, state, size_bytes, base_manifest, snapshot,
                instance, slot, delete_with_instance, created_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
            WHERE $8 IS NULL OR EXISTS
                (SELECT 1 FROM manifests m WHERE m.id = $8 AND m.region = $2 AND m.state = 'live')";
        let at = disk.attachment.as_ref();
        let insert = query(sql)
            .bind(disk.id.as_str())
            .bind(disk.region.as_str())
            .bind(disk.zone.as_str())
            .bind(uin(disk.owner)?)
            .bind(&disk.name)
            .bind(disk.state.word())
            .bind(integer(disk.size_bytes, "size_bytes")?)
            .bind(disk.base_manifest.as_ref().map(ManifestKey::as_str))
            .bind(disk.snapshot.as_ref().map(SnapshotId::as_str))
            .bind(at.map(|at| at.instance.as_str()))
            .bind(at.map(|at| i64::from(at.slot)))
            .bind(i64::from(disk.delete_with_instance))
            .bind(disk.created_at.0);
        self.change_some(insert, "the disk's base manifest is not live in its region").await
    }

    /// The disk of that identifier, system disks included, whoever owns it and in any state.
    pub async fn disk(&mut self, id: &DiskId) -> Result<Option<Disk>> {
        let mut select = Builder::new("SELECT * FROM ");
        select.push(ALL).push(" d WHERE d.id = ").push_bind(id.as_str());
        self.find(select.build(), read_disk).await
    }

    /// The data disks that instances have, or are about to, each instance's in the order of their places.
    pub async fn data_disks_of<'i>(
        &mut self,
        instances: impl IntoIterator<Item = &'i InstanceId>,
    ) -> Result<Vec<Disk>> {
        let mut select = Builder::new("SELECT *, 'data' AS disk_usage FROM disks WHERE instance IN ");
        push_list(&mut select, instances.into_iter().map(InstanceId::as_str));
        select.push(" ORDER BY instance, slot");
        self.list(select.build(), read_disk).await
    }

    /// Lets something happen to a data disk; its new state. What ends an attachment also forgets it. For
    /// [`DiskEvent::AttachRequested`] use [`Tx::attach_disk`].
    ///
    /// # Errors
    /// `Illegal` where it cannot happen in the disk's state; `Stale` where there is no such data disk.
    pub async fn transition_disk(
        &mut self,
        id: &DiskId,
        event: DiskEvent,
        now: Timestamp,
    ) -> Result<DiskState> {
        let (state, next) = self.next_disk_state(id, event).await?;
        let keeps_place = !matches!(next, DiskState::Unattached | DiskState::Terminated);
        let place = if keeps_place { "" } else { ", instance = NULL, slot = NULL, delete_with_instance = 0" };
        let mut update = Builder::new("UPDATE disks SET state = ");
        update.push_bind(next.word()).push(place).push(" WHERE id = ").push_bind(id.as_str());
        update.push(" AND state = ").push_bind(state.word());
        self.change_some(update.build(), NO_SUCH_DISK).await?;
        if next == DiskState::Terminated {
            self.touch_base_of_disk(id, now).await?;
            self.delete_tags(id.as_str()).await?;
        }
        Ok(next)
    }

    /// The disk's state before and after an event.
    async fn next_disk_state(&mut self, id: &DiskId, event: DiskEvent) -> Result<(DiskState, DiskState)> {
        let select = query("SELECT state FROM disks WHERE id = $1").bind(id.as_str());
        let found = self.find(select, |row| row.word::<DiskState>("state")).await?;
        let state = found.ok_or(Error::Stale(NO_SUCH_DISK))?;
        Ok((state, state.transition(event)?))
    }

    /// Reserves a place of an instance for a data disk, which is on its way there from now on.
    ///
    /// # Errors
    /// `Illegal` where the disk is not unattached; `Conflict` where the place is taken; `Stale` where there is no such
    /// data disk.
    pub async fn attach_disk(
        &mut self,
        id: &DiskId,
        to: &Attachment,
        delete_with_instance: bool,
    ) -> Result<()> {
        let (state, next) = self.next_disk_state(id, DiskEvent::AttachRequested).await?;
        let sql = "UPDATE disks SET state = $1, instance = $2, slot = $3, delete_with_instance = $4,
                failure_code = NULL, failure_message = NULL
            WHERE id = $5 AND state = $6";
        let update = query(sql)
            .bind(next.word())
            .bind(to.instance.as_str())
            .bind(i64::from(to.slot))
            .bind(i64::from(delete_with_instance))
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, NO_SUCH_DISK).await
    }

    /// Starts the age of the manifest that loses the disk's reference.
    async fn touch_base_of_disk(&mut self, id: &DiskId, now: Timestamp) -> Result<()> {
        let sql = "UPDATE manifests SET since = $1 WHERE state <> 'condemned'
            AND id = (SELECT base_manifest FROM disks WHERE id = $2)";
        self.change(query(sql).bind(now.0).bind(id.as_str())).await?;
        Ok(())
    }

    /// Reserves a data disk that no instance has for a task.
    ///
    /// # Errors
    /// `Stale` where a task holds it already, an instance has it, or there is no such data disk.
    pub async fn hold_disk(&mut self, id: &DiskId, task: &TaskId) -> Result<()> {
        let update = query("UPDATE disks SET task = $1 WHERE id = $2 AND task IS NULL AND instance IS NULL")
            .bind(task.as_str())
            .bind(id.as_str());
        self.change_some(update, "a task or an instance holds the disk already").await
    }

    /// Gives up a task's reservation.
    ///
    /// # Errors
    /// `Stale` where the task does not hold the disk.
    pub async fn release_disk(&mut self, id: &DiskId, task: &TaskId) -> Result<()> {
        let update = query("UPDATE disks SET task = NULL WHERE id = $1 AND task = $2")
            .bind(id.as_str())
            .bind(task.as_str());
        self.change_some(update, "the task does not hold the disk").await
    }

    /// Records why the newest operation on a data disk failed, or that none did.
    ///
    /// # Errors
    /// `Stale` where there is no such data disk.
    pub async fn set_disk_failure(&mut self, id: &DiskId, failure: Option<&Failure>) -> Result<()> {
        let (code, message) = failure_columns(failure);
        let update = query("UPDATE disks SET failure_code = $1, failure_message = $2 WHERE id = $3")
            .bind(code)
            .bind(message)
            .bind(id.as_str());
        self.change_some(update, NO_SUCH_DISK).await
    }

    /// An account's data disks in a region that are not Terminated.
    pub async fn count_disks(&mut self, owner: Uin, region: &RegionId) -> Result<u32> {
        let sql =
            "SELECT COUNT(*) AS n FROM disks WHERE owner = $1 AND region = $2 AND state <> 'terminated'";
        self.count(query(sql).bind(uin(owner)?).bind(region.as_str())).await
    }

    /// The identifiers of all data disks, of every region and owner, that are not Terminated.
    pub async fn living_disks(&mut self) -> Result<Vec<DiskId>> {
        let sql = "SELECT id FROM disks WHERE state <> 'terminated' ORDER BY id";
        self.list(query(sql), |row| row.text("id").map(DiskId::from_trusted)).await
    }
}
