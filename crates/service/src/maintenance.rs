//! Checking a region's store against the catalogue. Nothing is changed.

use std::sync::Arc;

use kiln_catalog::{Catalog, StoreKey, StoreState};
use kiln_chunk_store::{CheckMode, CheckReport, KnownObjects, ObjectKey, ObjectStore};
use kiln_model::RegionId;

use crate::jobs::JobError;
use crate::region_store::{manifest_id, pack_id};

/// What a check looks at.
pub struct StoreCheck {
    /// The catalogue that the store belongs to.
    pub catalog: Catalog,
    /// The region.
    pub region: RegionId,
    /// Its store.
    pub objects: Arc<dyn ObjectStore>,
    /// How thoroughly.
    pub mode: CheckMode,
}

/// Checks a store: that what the catalogue says is there, whole, and refers only to what is there.
///
/// `progress` is told bytes checked and bytes in all.
///
/// # Errors
/// Where the catalogue or the store's listing cannot be read. Damage is in the report.
pub async fn check_store(
    check: StoreCheck,
    progress: impl Fn(u64, u64) + Send + Sync + 'static,
) -> Result<CheckReport, Box<dyn std::error::Error + Send + Sync>> {
    let known = known_objects(&check.catalog, &check.region).await?;
    let StoreCheck { objects, mode, .. } = check;
    let report = tokio::task::spawn_blocking(move || {
        kiln_chunk_store::check(objects.as_ref(), &known, mode, &|amounts| {
            progress(amounts.processed_bytes, amounts.total_bytes);
            std::ops::ControlFlow::Continue(())
        })
    });
    Ok(report.await??)
}

async fn known_objects(catalog: &Catalog, region: &RegionId) -> Result<KnownObjects, JobError> {
    let mut known = KnownObjects::default();
    let mut tx = catalog.read().await?;
    for row in tx.store_objects(region).await? {
        let key = match &row.key {
            StoreKey::Pack(key) => ObjectKey::Pack(pack_id(key)?),
            StoreKey::Manifest(key) => ObjectKey::Manifest(manifest_id(key)?),
        };
        match row.state {
            StoreState::Pending | StoreState::Condemned => known.possible.insert(key),
            StoreState::Live => known.present.insert(key),
        };
        if let (StoreKey::Manifest(key), StoreState::Live) = (&row.key, row.state) {
            let packs = tx.manifest_packs(key).await?;
            let packs = packs.iter().map(|(pack, _)| pack_id(pack)).collect::<Result<_, _>>()?;
            known.references.insert(manifest_id(key)?, packs);
        }
    }
    Ok(known)
}
