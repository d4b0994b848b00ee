//! Importing: look at the file on its server, fetch it, judge what is in it, store it, publish the image. An object of
//! Kiln's own is neither looked at before nor fetched: it is read where it is.
//!
//! The file waits in the region's staging directory under the task's name, so a repeated step finds what was
//! fetched before; storing it again meets its own packs and costs reading and hashing only. The report is kept
//! whether the image comes in or not.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kiln_block::{BlockDevice, FileDevice};
use kiln_guest::{Distribution, Linux, System};
use kiln_model::{DiskUsage, Image, ImageId, ImportClaim, SystemFacts, TaskId};
use kiln_transfer::{FetchOptions, SourceUrl};
use sha2::{Digest, Sha256};

use super::preview::preview;
use super::publish::publish;
use super::{JobContext, JobError};
use crate::Service;
use crate::judgement::{Judgement, JudgementError, judge};
use crate::objects::{KeptObject, ObjectDevice};
use crate::policy::Report;

/// Bytes that a format may add to the disk it holds: tables, headers, descriptors.
const FORMAT_OVERHEAD_BYTES: u64 = 1 << 30;

/// How much of a file is hashed at a time, in bytes.
const HASHED_PIECE_BYTES: u64 = 1 << 20;

/// What is imported.
pub(super) struct Source<'a> {
    pub(super) url: &'a str,
    pub(super) claim: &'a ImportClaim,
    /// The SHA-256 that the file must have, in hexadecimal.
    pub(super) sha256: Option<&'a str>,
}

pub(super) async fn run(context: &JobContext, image: &ImageId, source: &Source<'_>) -> Result<(), JobError> {
    let image = super::create::wanted_image(context, image).await?;
    let staging = context.service.config.staging_dir(&context.task.region);
    tokio::fs::create_dir_all(&staging).await?;
    let file = staging.join(context.task.id.as_str());
    let outcome = import(context, &image, source, &file).await;
    // A task that ended well is nobody's any more; of another, the next worker may need the file.
    let is_done_with = outcome.is_ok() || context.is_ours().await;
    if is_done_with && let Err(error) = kiln_transfer::discard(&file) {
        tracing::warn!(%error, file = %file.display(), "a staged file could not be removed");
    }
    outcome
}

/// Removes staged files whose tasks have ended: a crash between a task's end and the removal leaves them.
pub(crate) async fn sweep_staging(service: &Service) -> Result<(), JobError> {
    for region in &service.config.regions {
        let Ok(mut entries) = tokio::fs::read_dir(service.config.staging_dir(&region.id)).await else {
            continue;
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
            let task: Option<TaskId> = name.split('.').next().and_then(|stem| stem.parse().ok());
            let Some(task) = task else { continue };
            let found = service.catalog.read().await?.task(&task).await?;
            if found.is_none_or(|task| task.state.is_final()) {
                tracing::info!(%task, file = %name, "removing what an ended import left");
                tokio::fs::remove_file(entry.path()).await?;
            }
        }
    }
    Ok(())
}

async fn import(
    context: &JobContext,
    image: &Image,
    source: &Source<'_>,
    file: &Path,
) -> Result<(), JobError> {
    let size_limit_bytes = context.service.limits_of(context.task.owner).await?.system_disk_bytes;
    let sha256 = source.sha256.map(digest).transpose()?;
    let file: Arc<dyn BlockDevice> = match KeptObject::parse(source.url) {
        Some(object) => open_object(context, &object, sha256).await?,
        None => fetched(context, image, source, sha256, file, size_limit_bytes).await?,
    };
    context.progress.begin("check", 0);
    let (service, wanted) = (Arc::clone(&context.service), source.claim.clone());
    let judged = tokio::task::spawn_blocking(move || {
        judge(&service.config.confined(), file, &service.config.import_policy, &wanted, size_limit_bytes)
    });
    let judgement = accept(context, image, judged.await?).await?;
    let disk = judgement.opened.device;
    context.progress.begin("store", disk.size_bytes());
    let store = context.store()?;
    let stored = context
        .store_disk(&store, move |target| Ok(kiln_chunk_store::ingest(target, disk.as_ref())?))
        .await?;
    publish(
        context,
        &image.id,
        &facts(&image.facts, &judgement.inspection.system),
        &[(DiskUsage::System, &stored)],
    )
    .await
}

/// The digest that hexadecimal digits write; their form was checked when the import was asked for.
fn digest(text: &str) -> Result<[u8; 32], JobError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(JobError::internal)?;
    Ok(digest)
}

/// An object of Kiln's own, which stays as it is until the import has ended.
async fn open_object(
    context: &JobContext,
    object: &KeptObject,
    sha256: Option<[u8; 32]>,
) -> Result<Arc<dyn BlockDevice>, JobError> {
    let opened = context.service.open_kept_object(&object.bucket, &object.key).await;
    let opened = opened.map_err(|refusal| {
        JobError::failed(
            "FailedOperation.ImportSourceUnreadable",
            format!("The image file could not be read: {}", refusal.message),
        )
    })?;
    let device: Arc<dyn BlockDevice> = Arc::new(ObjectDevice::new(opened));
    if let Some(expected) = sha256 {
        context.progress.begin("verify", device.size_bytes());
        let (context, file) = (context.clone(), Arc::clone(&device));
        tokio::task::spawn_blocking(move || verify(&context, file.as_ref(), expected)).await??;
    }
    Ok(device)
}

/// That a file has the digest that it must have.
fn verify(context: &JobContext, file: &dyn BlockDevice, expected: [u8; 32]) -> Result<(), JobError> {
    let (mut hasher, size_bytes) = (Sha256::new(), file.size_bytes());
    let mut piece = vec![0; HASHED_PIECE_BYTES as usize];
    let mut offset = 0;
    while offset < size_bytes {
        if context.cancel.is_cancelled() {
            return Err(JobError::Cancelled);
        }
        let len = HASHED_PIECE_BYTES.min(size_bytes - offset);
        let read = &mut piece[..len as usize];
        file.read_exact_at(read, offset).map_err(JobError::internal)?;
        hasher.update(&*read);
        offset += len;
        context.progress.set(offset, size_bytes);
    }
    let found: [u8; 32] = hasher.finalize().into();
    if found == expected { Ok(()) } else { Err(other_checksum(&hex::encode(found), &hex::encode(expected))) }
}

fn other_checksum(found: &str, expected: &str) -> JobError {
    JobError::failed(
        "FailedOperation.ImageChecksumMismatch",
        format!(
            "The image file has the SHA-256 {found}, and not {expected}, as ImageSha256 says; nothing was imported. \
             Compare it with what the file's publisher says."
        ),
    )
}

/// A file that was fetched from its server, if it is worth it.
async fn fetched(
    context: &JobContext,
    image: &Image,
    source: &Source<'_>,
    sha256: Option<[u8; 32]>,
    file: &Path,
    size_limit_bytes: u64,
) -> Result<Arc<dyn BlockDevice>, JobError> {
    let url = SourceUrl::parse(source.url).map_err(|error| fetch_failure(&error))?;
    context.progress.begin("preview", 0);
    if !file.exists()
        && let Some(judged) = preview(context, &url, source.claim, size_limit_bytes).await
    {
        accept(context, image, judged).await?;
    }
    let options =
        FetchOptions { max_bytes: size_limit_bytes + FORMAT_OVERHEAD_BYTES, expected_sha256: sha256 };
    fetch(context, &url, file, &options).await?;
    Ok(Arc::new(FileDevice::new(File::open(file)?).map_err(JobError::internal)?))
}

async fn fetch(
    context: &JobContext,
    source: &SourceUrl,
    file: &Path,
    options: &FetchOptions,
) -> Result<(), JobError> {
    context.progress.begin("fetch", 0);
    let report = |progress: kiln_transfer::Progress| {
        context.progress.set(progress.received_bytes, progress.total_bytes.unwrap_or(0));
    };
    match context.service.fetcher.fetch(source, file, options, &report, &context.cancel).await {
        Ok(_) => Ok(()),
        Err(_) if context.cancel.is_cancelled() => Err(JobError::Cancelled),
        Err(error) => Err(fetch_failure(&error)),
    }
}

/// What went wrong on this side is told without the paths of the server.
fn fetch_failure(error: &kiln_transfer::Error) -> JobError {
    use kiln_transfer::Error as E;
    match error {
        E::DiskFull { .. } => JobError::from(std::io::Error::from(std::io::ErrorKind::StorageFull)),
        E::ChecksumMismatch { expected, found } => other_checksum(found, expected),
        E::File { .. } | E::InUse { .. } | E::Setup { .. } => JobError::internal(error),
        _ => JobError::failed(
            "FailedOperation.ImportSourceUnreadable",
            format!("The image file could not be fetched: {error}."),
        ),
    }
}

/// Keeps the report of a file, and lets in what its policy lets in.
async fn accept(
    context: &JobContext,
    image: &Image,
    judged: Result<Judgement, JudgementError>,
) -> Result<Judgement, JobError> {
    let judgement = judged.map_err(|error| {
        let code = match &error {
            JudgementError::Format(_) => "InvalidParameterValue.ImageFormat",
            JudgementError::Unreadable(unfinished) if unfinished.is_this_hosts_fault() => {
                return JobError::internal(unfinished);
            }
            JudgementError::Unreadable(_) => "InvalidParameterValue.ImageUnreadable",
        };
        JobError::failed(code, format!("The file cannot be imported: {error}."))
    })?;
    let text = serde_json::to_string(&judgement.report).map_err(JobError::internal)?;
    let mut tx = context.service.catalog.write().await?;
    tx.assert_fence(&context.task.id, context.task.fence).await?;
    tx.put_image_report(&image.id, &text).await?;
    tx.commit().await?;
    if judgement.report.accepted { Ok(judgement) } else { Err(refused(&judgement.report)) }
}

/// Every criterion that keeps the image out: what was found, and how to mend it.
fn refused(report: &Report) -> JobError {
    let refusals: Vec<_> = report
        .refusals()
        .map(|finding| format!("[{}] {} {}", finding.code.code(), finding.found, finding.fix))
        .collect();
    JobError::failed(
        "InvalidParameterValue.ImportPolicy",
        format!(
            "The image does not meet the import policy in {}: {}",
            if refusals.len() == 1 { "one point".to_owned() } else { format!("{} points", refusals.len()) },
            refusals.join(" ")
        ),
    )
}

/// Whether a system's cloud-init reads the seed that instances have: CoreOS's own programs do not, and neither does one
/// that is told to look elsewhere.
fn reads_seeds(linux: &Linux) -> bool {
    let cloud_init = &linux.cloud_init;
    let is_coreos =
        linux.release.as_ref().is_some_and(|release| release.distribution == Distribution::CoreOs);
    let looks = cloud_init.datasources.is_empty()
        || cloud_init.datasources.iter().any(|source| source.eq_ignore_ascii_case("NoCloud"));
    cloud_init.installed && cloud_init.enabled && looks && !is_coreos
}

/// What the image is, by what was found in it; by what its importer says where nothing was.
fn facts(claimed: &SystemFacts, system: &System) -> SystemFacts {
    let mut facts = claimed.clone();
    match system {
        System::None => {}
        System::Linux(linux) => facts.cloud_init = reads_seeds(linux),
        System::Windows(windows) => {
            facts.os_name.clone_from(&windows.product_name);
            facts.cloud_init = windows.cloudbase_init.is_some();
        }
    }
    facts
}
