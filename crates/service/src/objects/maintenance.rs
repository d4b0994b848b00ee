//! What is done in the background: files that no row names go at the start, abandoned uploads when they are too old.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_model::Timestamp;

use crate::Service;
use crate::jobs::JobError;

/// Time between two looks for abandoned uploads.
const INTERVAL: Duration = Duration::from_secs(60);
/// Uploads that are removed in one transaction.
const BATCH: u64 = 16;

/// Starts the work in the background.
pub(crate) fn spawn(service: &Arc<Service>) {
    let (service, started) = (Arc::clone(service), SystemTime::now());
    service.background.clone().spawn(async move {
        if let Err(error) = sweep(&service, started).await {
            tracing::error!(%error, "the files of objects could not be looked through; the next start does it again");
        }
        while service.shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            if let Err(error) = expire(&service).await {
                tracing::error!(%error, "abandoned uploads could not be removed");
            }
        }
    });
}

/// Removes the files that were written before this start and that no row names.
///
/// The files are listed before the rows: a row is never older than its file.
async fn sweep(service: &Service, started: SystemTime) -> Result<(), JobError> {
    for store in service.stores() {
        let files = Arc::clone(&store.object_files);
        let listing = Arc::clone(&files);
        let mut orphans = tokio::task::spawn_blocking(move || listing.older_than(started)).await??;
        let named = service.catalog.read().await?.part_ids(&store.region).await?;
        let named: std::collections::HashSet<_> = named.into_iter().collect();
        orphans.retain(|id| !named.contains(id));
        if !orphans.is_empty() {
            tracing::info!(region = %store.region, files = orphans.len(), "removing what an earlier stop left of uploads");
            tokio::task::spawn_blocking(move || files.remove_all(&orphans)).await?;
        }
    }
    Ok(())
}

/// Removes uploads that began too long ago.
async fn expire(service: &Service) -> Result<(), JobError> {
    let age = i64::try_from(service.config.objects.upload_age.as_millis()).unwrap_or(i64::MAX);
    loop {
        let mut tx = service.catalog.write().await?;
        let uploads = tx.uploads_before(Timestamp::now().plus_millis(-age), BATCH).await?;
        if uploads.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::new();
        for upload in &uploads {
            parts.extend(tx.delete_upload(upload).await?);
        }
        tx.commit().await?;
        tracing::info!(uploads = uploads.len(), "removed abandoned uploads");
        for store in service.stores() {
            let of_region = parts.iter().filter(|part| part.region == store.region).cloned();
            store.object_files.discard(of_region.collect());
        }
    }
}
