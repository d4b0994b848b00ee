//! Instances, one at a time, and the living ones. Lists by page are in `instance_list`.
//!
//! Invariants: a state changes only by [`InstanceState::transition`]; an instance starts only from a manifest that is
//! live in its region, and keeps it alive until it is Terminated; one task at most holds an instance.

use kiln_model::{
    DiskId, ImageId, Instance, InstanceEvent, InstanceId, InstanceState, LastOperation, LaunchSettings,
    ManifestKey, RegionId, TaskId, Timestamp, Uin, ZoneId,
};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Row, failure_columns, integer, json, uin};
use crate::words::Word;
use crate::{Error, Result};

const NO_SUCH_INSTANCE: &str = "no such instance, or its state changed";

pub(crate) fn read_instance(row: &Row) -> Result<Instance> {
    Ok(Instance {
        id: InstanceId::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        zone: ZoneId::from_trusted(row.text("zone")?),
        owner: row.uin("owner")?,
        name: row.text("name")?,
        state: row.word("state")?,
        image: ImageId::from_trusted(row.text("image")?),
        base_manifest: ManifestKey::from_trusted(row.text("base_manifest")?),
        system_disk: DiskId::from_trusted(row.text("system_disk")?),
        system_disk_bytes: row.number("system_disk_bytes")?,
        instance_type: row.json("instance_type")?,
        private_address: row.parsed("private_address")?,
        ssh_port: row.optional_number("ssh_port")?,
        ordinal: row.number("ordinal")?,
        settings: row.json("settings")?,
        last_operation: LastOperation {
            action: row.text("operation")?,
            state: row.word("operation_state")?,
            request_id: row.text("operation_request_id")?,
            failure: row.failure("operation_failure_code", "operation_failure_message")?,
        },
        task: row.optional_text("task")?.map(TaskId::from_trusted),
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds an instance.
    ///
    /// # Errors
    /// `Stale` where its base manifest is not live in its region; `Conflict` with [`crate::Unique::Ordinal`] or
    /// `Identifier`; `Missing` where owner or image do not exist.
    pub async fn insert_instance(&mut self, instance: &Instance) -> Result<()> {
        let sql = "INSERT INTO instances (id, region, zone, owner, name, state, image, base_manifest,
                system_disk, system_disk_bytes, instance_type, private_address, ssh_port, ordinal, settings,
                operation, operation_state, operation_request_id, operation_failure_code,
                operation_failure_message, task, created_at)
            SELECT $1, m.region, $3, $4, $5, $6, $7, m.id, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
                $20, $21, $22
            FROM manifests m WHERE m.id = $8 AND m.region = $2 AND m.state = 'live'";
        let last = &instance.last_operation;
        let (failure_code, failure_message) = failure_columns(last.failure.as_ref());
        let insert = query(sql)
            .bind(instance.id.as_str())
            .bind(instance.region.as_str())
            .bind(instance.zone.as_str())
            .bind(uin(instance.owner)?)
            .bind(&instance.name)
            .bind(instance.state.word())
            .bind(instance.image.as_str())
            .bind(instance.base_manifest.as_str())
            .bind(instance.system_disk.as_str())
            .bind(integer(instance.system_disk_bytes, "system_disk_bytes")?)
            .bind(json(&instance.instance_type))
            .bind(instance.private_address.to_string())
            .bind(instance.ssh_port.map(i64::from))
            .bind(i64::from(instance.ordinal))
            .bind(json(&instance.settings))
            .bind(&last.action)
            .bind(last.state.word())
            .bind(&last.request_id)
            .bind(failure_code)
            .bind(failure_message)
            .bind(instance.task.as_ref().map(TaskId::as_str))
            .bind(instance.created_at.0);
        self.change_some(insert, "the base manifest is not live in the instance's region").await
    }

    /// The instance of that identifier, whoever owns it and in any state.
    pub async fn instance(&mut self, id: &InstanceId) -> Result<Option<Instance>> {
        let select = query("SELECT * FROM instances WHERE id = $1").bind(id.as_str());
        self.find(select, read_instance).await
    }

    /// Lets something happen to an instance; its new state.
    ///
    /// # Errors
    /// `Illegal` where it cannot happen in the instance's state; `Stale` where there is no such instance.
    pub async fn transition_instance(
        &mut self,
        id: &InstanceId,
        event: InstanceEvent,
        now: Timestamp,
    ) -> Result<InstanceState> {
        let select = query("SELECT state FROM instances WHERE id = $1").bind(id.as_str());
        let found = self.find(select, |row| row.word::<InstanceState>("state")).await?;
        let state = found.ok_or(Error::Stale(NO_SUCH_INSTANCE))?;
        let next = state.transition(event)?;
        let update = query("UPDATE instances SET state = $1 WHERE id = $2 AND state = $3")
            .bind(next.word())
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, NO_SUCH_INSTANCE).await?;
        if next == InstanceState::Terminated {
            self.touch_base_manifest(id, now).await?;
            self.delete_tags(id.as_str()).await?;
        }
        Ok(next)
    }

    /// Puts what an instance is reinstalled from in the place of what it was made from: image, base manifest, size of
    /// the system disk, and what the guest is told.
    ///
    /// # Errors
    /// `Stale` where there is no such instance, or the new base manifest is not live in its region.
    pub async fn reinstall_instance(&mut self, instance: &Instance, now: Timestamp) -> Result<()> {
        self.touch_base_manifest(&instance.id, now).await?;
        let sql = "UPDATE instances SET image = $1, base_manifest = $2, system_disk_bytes = $3, settings = $4
            WHERE id = $5 AND EXISTS
                (SELECT 1 FROM manifests m WHERE m.id = $2 AND m.region = instances.region AND m.state = 'live')";
        let update = query(sql)
            .bind(instance.image.as_str())
            .bind(instance.base_manifest.as_str())
            .bind(integer(instance.system_disk_bytes, "system_disk_bytes")?)
            .bind(json(&instance.settings))
            .bind(instance.id.as_str());
        self.change_some(update, "no such instance, or its new base manifest is not live in its region").await
    }

    /// Starts the age of the manifest that loses the instance's reference.
    async fn touch_base_manifest(&mut self, id: &InstanceId, now: Timestamp) -> Result<()> {
        let sql = "UPDATE manifests SET since = $1 WHERE state <> 'condemned'
            AND id = (SELECT base_manifest FROM instances WHERE id = $2)";
        self.change(query(sql).bind(now.0).bind(id.as_str())).await?;
        Ok(())
    }

    /// Reserves an instance for a task.
    ///
    /// # Errors
    /// `Stale` where a task holds it already, or there is no such instance.
    pub async fn hold_instance(&mut self, id: &InstanceId, task: &TaskId) -> Result<()> {
        let update = query("UPDATE instances SET task = $1 WHERE id = $2 AND task IS NULL")
            .bind(task.as_str())
            .bind(id.as_str());
        self.change_some(update, "a task holds the instance already").await
    }

    /// Gives up a task's reservation.
    ///
    /// # Errors
    /// `Stale` where the task does not hold the instance.
    pub async fn release_instance(&mut self, id: &InstanceId, task: &TaskId) -> Result<()> {
        let update = query("UPDATE instances SET task = NULL WHERE id = $1 AND task = $2")
            .bind(id.as_str())
            .bind(task.as_str());
        self.change_some(update, "the task does not hold the instance").await
    }

    /// Records the newest operation on an instance, or how it went.
    ///
    /// # Errors
    /// `Stale` where there is no such instance.
    pub async fn set_last_operation(&mut self, id: &InstanceId, last: &LastOperation) -> Result<()> {
        let (failure_code, failure_message) = failure_columns(last.failure.as_ref());
        let sql = "UPDATE instances SET operation = $1, operation_state = $2, operation_request_id = $3,
            operation_failure_code = $4, operation_failure_message = $5 WHERE id = $6";
        let update = query(sql)
            .bind(&last.action)
            .bind(last.state.word())
            .bind(&last.request_id)
            .bind(failure_code)
            .bind(failure_message)
            .bind(id.as_str());
        self.change_some(update, NO_SUCH_INSTANCE).await
    }

    /// Records the loopback port that leads to the guest's SSH.
    ///
    /// # Errors
    /// `Stale` where there is no such instance.
    pub async fn set_ssh_port(&mut self, id: &InstanceId, port: Option<u16>) -> Result<()> {
        let update = query("UPDATE instances SET ssh_port = $1 WHERE id = $2")
            .bind(port.map(i64::from))
            .bind(id.as_str());
        self.change_some(update, NO_SUCH_INSTANCE).await
    }

    /// Gives an instance another name.
    ///
    /// # Errors
    /// `Stale` where there is no such instance.
    pub async fn rename_instance(&mut self, id: &InstanceId, name: &str) -> Result<()> {
        let update = query("UPDATE instances SET name = $1 WHERE id = $2").bind(name).bind(id.as_str());
        self.change_some(update, NO_SUCH_INSTANCE).await
    }

    /// Replaces what the guest is told at its first boot, such as to forget a password that has served its purpose.
    ///
    /// # Errors
    /// `Stale` where there is no such instance.
    pub async fn set_launch_settings(&mut self, id: &InstanceId, settings: &LaunchSettings) -> Result<()> {
        let update =
            query("UPDATE instances SET settings = $1 WHERE id = $2").bind(json(settings)).bind(id.as_str());
        self.change_some(update, NO_SUCH_INSTANCE).await
    }

    /// All instances, of every region and owner, that are not Terminated; oldest first.
    pub async fn living_instances(&mut self) -> Result<Vec<Instance>> {
        let sql = "SELECT * FROM instances WHERE state <> 'terminated' ORDER BY created_at, id";
        self.list(query(sql), read_instance).await
    }

    /// An account's instances in a region that are not Terminated.
    pub async fn count_instances(&mut self, owner: Uin, region: &RegionId) -> Result<u32> {
        let sql =
            "SELECT COUNT(*) AS n FROM instances WHERE owner = $1 AND region = $2 AND state <> 'terminated'";
        self.count(query(sql).bind(uin(owner)?).bind(region.as_str())).await
    }

    /// The smallest number from 1 that no living instance has. It is reserved by inserting an instance with it, in
    /// the same transaction.
    pub async fn allocate_ordinal(&mut self) -> Result<u32> {
        let sql = "SELECT MIN(c.candidate) AS n
            FROM (SELECT 1 AS candidate
                UNION ALL SELECT ordinal + 1 FROM instances WHERE state <> 'terminated') c
            WHERE NOT EXISTS
                (SELECT 1 FROM instances i WHERE i.ordinal = c.candidate AND i.state <> 'terminated')";
        self.count(query(sql)).await
    }
}
