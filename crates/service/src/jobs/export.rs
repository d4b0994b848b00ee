//! Exporting images: each disk is read from the store and written as an image file into a bucket, without a copy in
//! between. The files appear all at once, in the transaction in which the task ends, or not at all.
//!
//! What an interrupted worker wrote is removed at the next start; the next worker begins again.

use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_chunk_store::ManifestDevice;
use kiln_disk_format::{Error, OutputFormat, write};
use kiln_model::{Bucket, BucketName, ExportFile, ExportFormat, TaskEvent, Timestamp};

use super::{JobContext, JobError};
use crate::objects::{NoRoom, ObjectWriter, WrittenObject, export_bucket, publish_written};
use crate::{Refusal, RefusalKind};

/// What a format of the public API is written as: what most readers take.
pub(crate) fn output_format(format: ExportFormat) -> OutputFormat {
    match format {
        ExportFormat::Raw => OutputFormat::Raw,
        ExportFormat::Qcow2 => OutputFormat::Qcow2,
        ExportFormat::Vhd => OutputFormat::VhdDynamic,
        ExportFormat::Vmdk => OutputFormat::Vmdk,
    }
}

pub(super) async fn run(
    context: &JobContext,
    bucket: &BucketName,
    format: ExportFormat,
    files: &[ExportFile],
) -> Result<(), JobError> {
    let store = context.store()?;
    let total_bytes = files.iter().map(|file| file.size_bytes).sum();
    context.progress.begin("export", total_bytes);
    let mut room_bytes = room(context, bucket).await?;
    let mut done_bytes = 0;
    let mut written = Vec::with_capacity(files.len());
    for file in files {
        let disk = store.open_disk(&file.manifest).await?;
        let writer = ObjectWriter::new(Arc::clone(&store.object_files), room_bytes);
        let object = write_disk(context, disk, format, writer, (done_bytes, total_bytes)).await?;
        room_bytes = room_bytes.saturating_sub(object.size_bytes);
        done_bytes += file.size_bytes;
        written.push((file.key.clone(), object));
    }
    publish(context, bucket, written).await
}

/// The bytes that the files may have; that the bucket is still there is seen before anything is written.
async fn room(context: &JobContext, bucket: &BucketName) -> Result<u64, JobError> {
    let mut tx = context.service.catalog.read().await?;
    let task = &context.task;
    export_bucket(&mut tx, task.owner, &task.region, bucket).await.map_err(job_error)?;
    let used = tx.bucket_bytes(task.owner).await?;
    Ok(context.service.config.objects.account_bytes.saturating_sub(used))
}

async fn write_disk(
    context: &JobContext,
    disk: ManifestDevice,
    format: ExportFormat,
    mut writer: ObjectWriter,
    (before_bytes, total_bytes): (u64, u64),
) -> Result<WrittenObject, JobError> {
    let (progress, cancel) = (Arc::clone(&context.progress), context.cancel.clone());
    let writing = tokio::task::spawn_blocking(move || {
        let mut report = |done_bytes| {
            progress.set(before_bytes + done_bytes, total_bytes);
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        write(&disk, output_format(format), &mut writer, &mut report).map_err(write_error)?;
        writer.finish().map_err(|error| write_error(Error::Sink(error)))
    });
    writing.await?
}

fn write_error(error: Error) -> JobError {
    match error {
        Error::Cancelled => JobError::Cancelled,
        Error::Sink(error) if error.get_ref().is_some_and(|cause| cause.is::<NoRoom>()) => JobError::failed(
            "LimitExceeded.BucketBytes",
            "Your buckets may not hold so many bytes. Delete objects, or ask the operator for more, then export again.",
        ),
        Error::Sink(error) => error.into(),
        other => JobError::internal(other),
    }
}

/// A refusal that comes after the request was accepted.
fn job_error(refusal: Refusal) -> JobError {
    match refusal.kind {
        RefusalKind::Internal => JobError::internal(refusal),
        _ => JobError::failed(refusal.code, refusal.message),
    }
}

async fn publish(
    context: &JobContext,
    bucket: &BucketName,
    written: Vec<(String, WrittenObject)>,
) -> Result<(), JobError> {
    let (service, task) = (&context.service, &context.task);
    let mut tx = service.catalog.write().await?;
    tx.assert_fence(&task.id, task.fence).await?;
    let bucket: Bucket = export_bucket(&mut tx, task.owner, &task.region, bucket).await.map_err(job_error)?;
    let publication = publish_written(service, &mut tx, &bucket, written).await.map_err(job_error)?;
    let ended = async {
        tx.save_progress(&task.id, task.fence, &context.progress.snapshot()).await?;
        tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, Timestamp::now()).await?;
        tx.commit().await
    };
    match ended.await {
        Ok(()) => publication.committed(),
        Err(error) => {
            publication.failed();
            return Err(error.into());
        }
    }
    tracing::info!(task = %task.id, bucket = %bucket.name, "images exported");
    Ok(())
}
