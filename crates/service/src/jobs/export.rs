//! Exporting images: each disk is read from the store and written as an image file into a bucket, without a copy in
//! between. The files appear all at once, in the transaction in which the task ends, or not at all.
//!
//! What an interrupted worker wrote is removed at the next start; the next worker begins again.

use std::ops::ControlFlow;
use std::sync::Arc;

use kiln_chunk_store::ManifestDevice;
use kiln_disk_format::{Error, OutputFormat, Progress, write};
use kiln_model::{Bucket, BucketName, ExportFile, ExportFormat, TaskEvent, Timestamp};

use super::{JobContext, JobError};
use crate::objects::{NoRoom, ObjectWriter, Room, WrittenObject, export_bucket, publish_written};
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
    let mut room = room(context, bucket).await?;
    let (mut done_bytes, mut written_bytes) = (0, 0);
    let mut written = Vec::with_capacity(files.len());
    for file in files {
        let disk = store.open_disk(&file.manifest).await?;
        let (files, progress, cancel) =
            (Arc::clone(&store.object_files), Arc::clone(&context.progress), context.cancel.clone());
        let mut report = move |disk_bytes| {
            progress.set(done_bytes + disk_bytes, total_bytes);
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let writing = tokio::task::spawn_blocking(move || {
            let writer = ObjectWriter::new(files, &mut room, written_bytes);
            let object = write_disk(&disk, format, writer, &mut report)?;
            Ok::<_, JobError>((object, room))
        });
        let object;
        (object, room) = writing.await??;
        written_bytes += object.size_bytes;
        done_bytes += file.size_bytes;
        written.push((file.key.clone(), object));
    }
    publish(context, bucket, written).await
}

/// Room for the files; that the bucket is still there is seen before anything is written.
async fn room(context: &JobContext, bucket: &BucketName) -> Result<Room, JobError> {
    let mut tx = context.service.catalog.read().await?;
    let task = &context.task;
    export_bucket(&mut tx, task.owner, &task.region, bucket).await.map_err(job_error)?;
    context.service.room_of(&mut tx, task.owner).await.map_err(job_error)
}

/// Blocks.
fn write_disk(
    disk: &ManifestDevice,
    format: ExportFormat,
    mut writer: ObjectWriter<'_>,
    report: &mut Progress<'_>,
) -> Result<WrittenObject, JobError> {
    write(disk, output_format(format), &mut writer, report).map_err(write_error)?;
    writer.finish().map_err(|error| write_error(Error::Sink(error)))
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
