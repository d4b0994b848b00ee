//! Importing: fetch the file, see that it is a safe system disk, store it, publish the image.
//!
//! The file waits in the region's staging directory under the task's name, so a repeated step finds what was
//! fetched before; storing it again meets its own packs and costs reading and hashing only.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kiln_block::{BlockDevice, FileDevice};
use kiln_disk_format::OpenedImage;
use kiln_guest::{Budget, Inspection, Limits, Scheme};
use kiln_model::{Image, ImageId};
use kiln_transfer::{FetchOptions, SourceUrl};

use super::publish::publish;
use super::{JobContext, JobError};

/// Bytes that a format may add to the disk it holds: tables, headers, descriptors.
const FORMAT_OVERHEAD_BYTES: u64 = 1 << 30;

pub(super) async fn run(context: &JobContext, image: &ImageId, url: &str) -> Result<(), JobError> {
    let image = super::create::wanted_image(context, image).await?;
    let staging = context.service.config.staging_dir(&context.task.region);
    tokio::fs::create_dir_all(&staging).await?;
    let file = staging.join(context.task.id.as_str());
    let outcome = import(context, &image, url, &file).await;
    let keep = matches!(outcome, Err(JobError::LeaseLost)) || context.service.shutdown.is_cancelled();
    if !keep && let Err(error) = kiln_transfer::discard(&file) {
        tracing::warn!(%error, file = %file.display(), "a staged file could not be removed");
    }
    outcome
}

async fn import(context: &JobContext, image: &Image, url: &str, file: &Path) -> Result<(), JobError> {
    let limits = context.service.limits_of(context.task.owner).await?;
    fetch(context, url, file, limits.system_disk_bytes + FORMAT_OVERHEAD_BYTES).await?;
    context.progress.begin("check", 0);
    let path = file.to_owned();
    let disk = tokio::task::spawn_blocking(move || check(&path, limits.system_disk_bytes)).await??;
    context.progress.begin("store", disk.size_bytes());
    let store = context.store()?;
    let stored = context
        .store_disk(&store, move |target| Ok(kiln_chunk_store::ingest(target, disk.as_ref())?))
        .await?;
    publish(context, &image.id, &image.facts, &stored).await
}

async fn fetch(context: &JobContext, url: &str, file: &Path, max_bytes: u64) -> Result<(), JobError> {
    context.progress.begin("fetch", 0);
    let source = SourceUrl::parse(url).map_err(|error| fetch_failure(&error))?;
    let options = FetchOptions { max_bytes, expected_sha256: None };
    let report = |progress: kiln_transfer::Progress| {
        context.progress.set(progress.received_bytes, progress.total_bytes.unwrap_or(0));
    };
    match context.service.fetcher.fetch(&source, file, &options, &report, &context.cancel).await {
        Ok(_) => Ok(()),
        Err(_) if context.cancel.is_cancelled() => Err(JobError::Cancelled),
        Err(error) => Err(fetch_failure(&error)),
    }
}

fn fetch_failure(error: &kiln_transfer::Error) -> JobError {
    JobError::failed(
        "FailedOperation.ImportSourceUnreadable",
        format!("The image file could not be fetched: {error}"),
    )
}

/// Sees that the file is a disk image that is safe to read, and that its disk can start a machine.
fn check(file: &Path, max_size_bytes: u64) -> Result<Arc<dyn BlockDevice>, JobError> {
    let device = FileDevice::new(File::open(file)?).map_err(JobError::internal)?;
    let limits = kiln_disk_format::Limits { max_virtual_size_bytes: max_size_bytes, ..Default::default() };
    let opened: OpenedImage = kiln_disk_format::open(Arc::new(device), &limits)
        .map_err(|error| JobError::failed("InvalidParameterValue.ImageFormat", error.to_string()))?;
    let inspection = kiln_guest::inspect(&opened.device, &Budget::new(Limits::default()))
        .map_err(|error| JobError::failed("InvalidParameterValue.ImageUnreadable", error.to_string()))?;
    let problems = system_disk_problems(&inspection);
    if problems.is_empty() {
        return Ok(opened.device);
    }
    Err(JobError::failed("InvalidParameterValue.NotASystemDisk", problems.join(" ")))
}

/// Why a machine could not start from this disk, and how to mend it; empty where nothing speaks against it.
fn system_disk_problems(inspection: &Inspection) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if !inspection.table.boot_signature {
        problems.push(
            "The disk's first sector holds no boot record. \
             Import the disk of a whole system, with its boot loader installed.",
        );
    }
    if inspection.table.scheme == Scheme::Gpt {
        problems.push(
            "The disk is partitioned with GPT. \
             Convert it to MBR (sgdisk --gpttombr) and install the boot loader again.",
        );
    } else if !inspection.table.partitions.iter().any(|partition| partition.content.is_ext()) {
        problems.push(
            "No partition holds an ext3 or ext4 file system to be the root. \
             Import a system disk with an MBR and an ext3 or ext4 root partition.",
        );
    }
    problems
}
