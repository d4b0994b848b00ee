//! Garbage collection: what nothing refers to any more is condemned, and deleted a grace period later.
//!
//! The plan is made from the catalogue alone. Every step of carrying it out checks its condition again in its own
//! transaction, so a plan that is out of date costs nothing but a later collection. The store's listing is never
//! the reason for a deletion.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_catalog::{Catalog, StoreKey, StoreObject, StoreState};
use kiln_chunk_store::{
    CollectionPolicy, ObjectKey, ObjectRow, ObjectState, ObjectStore, PackId, Plan, plan_collection,
};
use kiln_model::{RegionId, Timestamp};

use crate::Service;
use crate::jobs::JobError;
use crate::region_store::{manifest_id, manifest_key, pack_id, pack_key};

/// What a collection did in one region, or would do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CollectionReport {
    /// Objects that are out of use from now on.
    pub condemned: u64,
    /// Bytes of these.
    pub condemned_bytes: u64,
    /// Objects that are gone.
    pub deleted: u64,
    /// Bytes of these.
    pub deleted_bytes: u64,
    /// Objects that a larger share of the store than allowed kept from being condemned.
    pub held_back: u64,
}

/// Collects the garbage of a region's store; with `plan_only` it only says what it would do.
///
/// # Errors
/// Where the catalogue or the store does not answer; what was done by then is recorded.
pub async fn collect_garbage(
    catalog: &Catalog,
    objects: &Arc<dyn ObjectStore>,
    region: &RegionId,
    policy: &CollectionPolicy,
    plan_only: bool,
) -> Result<CollectionReport, Box<dyn std::error::Error + Send + Sync>> {
    let (report, _) = collect(catalog, objects, region, policy, plan_only).await?;
    Ok(report)
}

async fn collect(
    catalog: &Catalog,
    objects: &Arc<dyn ObjectStore>,
    region: &RegionId,
    policy: &CollectionPolicy,
    plan_only: bool,
) -> Result<(CollectionReport, Vec<PackId>), JobError> {
    let now = Timestamp::now();
    let rows = catalog.read().await?.store_objects(region).await?;
    let rows = rows.iter().map(object_row).collect::<Result<Vec<_>, _>>()?;
    let plan = plan_collection(&rows, now.0, policy);
    for key in &plan.contradictory {
        tracing::error!(%region, object = %key, "an object is condemned and in use; it is left alone");
    }
    let bytes = |keys: &[ObjectKey]| {
        let keys: HashSet<_> = keys.iter().collect();
        rows.iter().filter(|row| keys.contains(&row.key)).map(|row| row.stored_bytes).sum::<u64>()
    };
    let mut report = CollectionReport { held_back: plan.held_back.len() as u64, ..Default::default() };
    if plan_only {
        report.condemned = plan.condemn.len() as u64;
        report.condemned_bytes = bytes(&plan.condemn);
        report.deleted = plan.delete.len() as u64;
        report.deleted_bytes = bytes(&plan.delete);
        return Ok((report, Vec::new()));
    }
    let condemned = condemn(catalog, &plan, now.plus_millis(-policy.min_age_ms), now).await?;
    report.condemned = condemned.len() as u64;
    report.condemned_bytes = bytes(&condemned);
    let deleted = delete(catalog, objects, &plan, now.plus_millis(-policy.grace_ms), now).await?;
    report.deleted = deleted.len() as u64;
    report.deleted_bytes = bytes(&deleted);
    let packs = condemned.into_iter().filter_map(|key| match key {
        ObjectKey::Pack(pack) => Some(pack),
        ObjectKey::Manifest(_) => None,
    });
    Ok((report, packs.collect()))
}

async fn condemn(
    catalog: &Catalog,
    plan: &Plan,
    idle_since: Timestamp,
    now: Timestamp,
) -> Result<Vec<ObjectKey>, JobError> {
    let mut packs = Vec::new();
    let mut manifests = Vec::new();
    for key in &plan.condemn {
        match key {
            ObjectKey::Pack(id) => packs.push(pack_key(*id)),
            ObjectKey::Manifest(id) => manifests.push(manifest_key(*id)),
        }
    }
    let mut tx = catalog.write().await?;
    let packs = tx.condemn_packs(&packs, idle_since, now).await?;
    let manifests = tx.condemn_manifests(&manifests, idle_since, now).await?;
    tx.commit().await?;
    let packs = packs.iter().map(|key| pack_id(key).map(ObjectKey::Pack));
    packs.chain(manifests.iter().map(|key| manifest_id(key).map(ObjectKey::Manifest))).collect()
}

/// Deletes each object whose row says, at this moment, that it was condemned long enough ago and is not in use.
async fn delete(
    catalog: &Catalog,
    objects: &Arc<dyn ObjectStore>,
    plan: &Plan,
    condemned_before: Timestamp,
    now: Timestamp,
) -> Result<Vec<ObjectKey>, JobError> {
    let mut deleted = Vec::new();
    for key in &plan.delete {
        let (store, object) = (Arc::clone(objects), *key);
        let mut tx = catalog.write().await?;
        // The row goes in the transaction that stays open while the object is deleted: if the deletion fails the
        // row stays, and with it the knowledge that there is something to delete.
        let forgotten = match key {
            ObjectKey::Pack(id) => tx.forget_pack(&pack_key(*id), condemned_before).await,
            ObjectKey::Manifest(id) => tx.forget_manifest(&manifest_key(*id), condemned_before, now).await,
        };
        match forgotten {
            Ok(()) => {}
            Err(kiln_catalog::Error::Stale(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        tokio::task::spawn_blocking(move || store.delete(object)).await??;
        tx.commit().await?;
        deleted.push(*key);
    }
    Ok(deleted)
}

fn object_row(object: &StoreObject) -> Result<ObjectRow, JobError> {
    Ok(ObjectRow {
        key: match &object.key {
            StoreKey::Pack(key) => ObjectKey::Pack(pack_id(key)?),
            StoreKey::Manifest(key) => ObjectKey::Manifest(manifest_id(key)?),
        },
        state: match object.state {
            StoreState::Pending => ObjectState::Pending,
            StoreState::Live => ObjectState::Live,
            StoreState::Condemned => ObjectState::Condemned,
        },
        stored_bytes: object.stored_bytes,
        references: object.references,
        since_ms: object.since.0,
    })
}

/// Collects every region's garbage from time to time, until the service shuts down.
pub(crate) fn spawn(service: &Arc<Service>) {
    let service = Arc::clone(service);
    service.background.clone().spawn(async move {
        loop {
            tokio::select! {
                () = service.shutdown.cancelled() => return,
                () = tokio::time::sleep(service.config.collection.interval) => {}
            }
            for store in service.stores() {
                let policy = &service.config.collection.policy;
                match collect(&service.catalog, &store.objects, &store.region, policy, false).await {
                    Ok((report, condemned)) => {
                        store.forget_packs(&condemned);
                        if report != CollectionReport::default() {
                            tracing::info!(region = %store.region, ?report, "garbage collected");
                        }
                    }
                    Err(error) => {
                        tracing::error!(region = %store.region, %error, "garbage collection failed")
                    }
                }
            }
        }
    });
}
