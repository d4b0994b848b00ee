//! An instance's root disk and its network file: by the seed where the image has cloud-init, else in the first
//! clusters of the overlay. A file that cannot be put anywhere keeps no instance from starting: it says why instead.

use std::sync::Arc;

use kiln_chunk_store::ManifestDevice;
use kiln_disk_format::qcow2;
use kiln_guest::place::{Changes, LINUX_PATH, NetworkFacts, linux_text};
use kiln_model::{Instance, SystemFacts};
use kiln_qemu::layout;
use kiln_qemu::seed::SeedFile;

use super::disk_content::{new_file, write_empty_overlay};
use super::{JobContext, JobError};
use crate::confined::Confined;

const MODE: u32 = 0o644;
/// The seed's files are written by shell, which Windows' cloudbase-init has none of.
const WINDOWS: &str = "Windows";

/// Writes the overlay of the instance's root disk, and returns the files that its seed is to bring.
///
/// `instance` says afterwards, as its row does, why the network file is missing, if it is.
pub(super) async fn prepare(
    context: &JobContext,
    instance: &mut Instance,
) -> Result<Vec<SeedFile>, JobError> {
    let root = context.service.machines.dir(&instance.id).join(layout::ROOT);
    // An earlier attempt of the same launch may have been less lucky.
    record(context, instance, None).await?;
    let Some(facts) = context.service.machines.network_facts(instance) else {
        write_empty_overlay(root, instance.system_disk_bytes).await?;
        say_missing(context, instance, "its network gives it an address that Kiln does not know").await?;
        return Ok(Vec::new());
    };
    let image = context.service.catalog.read().await?.image(&instance.image).await?;
    if image.is_none_or(|image| brings_files_by_seed(&image.facts)) {
        write_empty_overlay(root, instance.system_disk_bytes).await?;
        return Ok(vec![seed_file(&facts)]);
    }
    let base = Arc::new(context.store()?.open_disk(&instance.base_manifest).await?);
    match placed(context, instance, &base, facts).await {
        Ok(changes) => {
            let size_bytes = instance.system_disk_bytes;
            tokio::task::spawn_blocking(move || {
                qcow2::create_overlay_with(&new_file(&root)?, size_bytes, base.as_ref(), &changes)
                    .map_err(JobError::internal)
            })
            .await??;
        }
        Err(reason) => {
            write_empty_overlay(root, instance.system_disk_bytes).await?;
            say_missing(context, instance, &reason).await?;
        }
    }
    Ok(Vec::new())
}

/// The files that the seed of an instance that was launched before is to bring.
pub(super) async fn seed_files(context: &JobContext, instance: &Instance) -> Result<Vec<SeedFile>, JobError> {
    let Some(facts) = context.service.machines.network_facts(instance) else { return Ok(Vec::new()) };
    let image = context.service.catalog.read().await?.image(&instance.image).await?;
    let by_seed = image.is_none_or(|image| brings_files_by_seed(&image.facts));
    Ok(if by_seed { vec![seed_file(&facts)] } else { Vec::new() })
}

fn seed_file(facts: &NetworkFacts) -> SeedFile {
    SeedFile { path: LINUX_PATH.to_owned(), mode: MODE, content: linux_text(facts).into_bytes() }
}

fn brings_files_by_seed(facts: &SystemFacts) -> bool {
    facts.cloud_init && !facts.platform.starts_with(WINDOWS)
}

async fn placed(
    context: &JobContext,
    instance: &Instance,
    base: &Arc<ManifestDevice>,
    facts: NetworkFacts,
) -> Result<Changes, String> {
    let service = &context.service;
    let confined = Confined::new(service.config.helper.clone(), service.machines.uid(instance));
    let base = Arc::clone(base);
    let work = tokio::task::spawn_blocking(move || confined.place_network_file(base.as_ref(), facts));
    match work.await {
        Ok(placed) => placed.map_err(|unfinished| unfinished.to_string()),
        Err(error) => Err(format!("placing it failed: {error}")),
    }
}

/// Records why the network file is missing.
async fn say_missing(context: &JobContext, instance: &mut Instance, reason: &str) -> Result<(), JobError> {
    tracing::warn!(instance = %instance.id, reason, "an instance starts without its network file");
    let sentence = format!("The instance has no qcloud-network-config.ini: {reason}.");
    record(context, instance, Some(sentence)).await
}

/// Records whether the network file is missing, and why.
async fn record(
    context: &JobContext,
    instance: &mut Instance,
    missing: Option<String>,
) -> Result<(), JobError> {
    if instance.settings.network_file_missing == missing {
        return Ok(());
    }
    instance.settings.network_file_missing = missing;
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    tx.set_launch_settings(&instance.id, &instance.settings).await?;
    Ok(tx.commit().await?)
}
