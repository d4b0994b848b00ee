//! Storing what is on disks: only what an overlay holds is read; the rest stays with the manifest below it.
//!
//! A running machine writes into further overlays while the first are read, and they are merged afterwards. So several
//! disks show one moment: what a power cut would have left (crash-consistent).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::FileDevice;
use kiln_chunk_store::Stored;
use kiln_disk_format::{Limits, qcow2};
use kiln_model::{Disk, DiskId, DiskUsage, Instance, ManifestKey};
use kiln_qemu::{DiskName, Machine};

use super::{JobContext, JobError};

/// What a machine calls a disk.
fn name_of(disk: &Disk) -> DiskName {
    match disk.usage {
        DiskUsage::System => DiskName::Root,
        DiskUsage::Data => DiskName::Data(disk.id.to_string()),
    }
}

/// A disk by its identifier.
pub(super) async fn wanted_disk(context: &JobContext, id: &DiskId) -> Result<Disk, JobError> {
    let found = context.service.catalog.read().await?.disk(id).await?;
    found.ok_or_else(|| JobError::internal(format!("disk {id} of task {} has no row", context.task.id)))
}

/// Stores disks of an instance, all as they are at one moment, in their order.
pub(super) async fn store_of_instance(
    context: &JobContext,
    instance: &Instance,
    disks: &[Disk],
) -> Result<Vec<Stored>, JobError> {
    let machines = &context.service.machines;
    let dir = machines.dir(&instance.id);
    match machines.get(&instance.id) {
        Some(machine) => store_frozen(context, &machine, &dir, disks).await,
        None => {
            let data_disks: Vec<Disk> =
                disks.iter().filter(|disk| disk.usage == DiskUsage::Data).cloned().collect();
            machines.place_disks(&instance.id, &data_disks).await?;
            machines.settle(&context.service, instance).await?;
            store_all(context, disks, |name| dir.join(name.file())).await
        }
    }
}

async fn store_frozen(
    context: &JobContext,
    machine: &Machine,
    dir: &Path,
    disks: &[Disk],
) -> Result<Vec<Stored>, JobError> {
    let names: Vec<DiskName> = disks.iter().map(name_of).collect();
    for (disk, name) in disks.iter().zip(&names) {
        write_empty_overlay(dir.join(name.new_live_file()), disk.size_bytes).await?;
    }
    let frozen = machine.freeze_disks(&names).await?;
    let stored = store_all(context, disks, |name| frozen.overlay(name)).await;
    let merged = frozen.merge_back().await;
    if let Err(error) = &merged {
        tracing::error!(dir = %dir.display(), %error, "frozen disks could not be merged back");
    }
    let stored = stored?;
    merged?;
    Ok(stored)
}

async fn store_all(
    context: &JobContext,
    disks: &[Disk],
    overlay: impl Fn(&DiskName) -> PathBuf,
) -> Result<Vec<Stored>, JobError> {
    let mut stored = Vec::with_capacity(disks.len());
    for disk in disks {
        stored.push(store_overlay(context, disk.base_manifest.as_ref(), overlay(&name_of(disk))).await?);
    }
    Ok(stored)
}

/// Stores a data disk that no instance has.
pub(super) async fn store_free(context: &JobContext, disk: &Disk) -> Result<Stored, JobError> {
    let file = context.service.machines.made_disk_file(disk).await?;
    store_overlay(context, disk.base_manifest.as_ref(), file).await
}

async fn store_overlay(
    context: &JobContext,
    base: Option<&ManifestKey>,
    overlay: PathBuf,
) -> Result<Stored, JobError> {
    let store = context.store()?;
    let base = match base {
        Some(base) => Some(store.open_disk(base).await?),
        None => None,
    };
    context
        .store_disk(&store, move |target| {
            let overlay = open_overlay(&overlay)?;
            Ok(match &base {
                Some(base) => kiln_chunk_store::ingest_overlay(target, base, &overlay)?,
                None => kiln_chunk_store::ingest(target, &overlay)?,
            })
        })
        .await
}

/// Opens an overlay that QEMU wrote. Its tables are a guest's neighbour's work: they are checked like a stranger's.
fn open_overlay(path: &Path) -> Result<qcow2::Overlay, JobError> {
    let file = FileDevice::new(File::open(path)?).map_err(JobError::internal)?;
    qcow2::Overlay::open(Arc::new(file), &Limits::default()).map_err(|error| {
        JobError::failed(
            "FailedOperation.DiskUnreadable",
            format!("The disk could not be read: {error}. Stop the instance, then ask again."),
        )
    })
}

/// Writes an overlay that holds nothing yet.
pub(super) async fn write_empty_overlay(path: PathBuf, size_bytes: u64) -> Result<(), JobError> {
    tokio::task::spawn_blocking(move || {
        qcow2::create_overlay(&new_file(&path)?, size_bytes).map_err(JobError::internal)
    })
    .await?
}

/// A new file in place of whatever an earlier try left.
pub(crate) fn new_file(path: &Path) -> std::io::Result<File> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    File::options().write(true).create_new(true).open(path)
}
