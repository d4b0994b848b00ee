//! Tasks: stage, progress, result or reason.

use kiln_model::{Task, TaskKind, TaskState};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// A list of tasks.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Tasks { tasks, total } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let tasks: Vec<Value> = tasks.iter().map(task).collect();
    members(json!({"TotalCount": total, "TaskSet": tasks}))
}

/// What an export writes, and where.
fn export(kind: &TaskKind) -> Option<Value> {
    let TaskKind::ExportImages { bucket, files, .. } = kind else { return None };
    let mut images: Vec<_> = files.iter().map(|file| &file.image).collect();
    images.dedup();
    let paths: Vec<_> = files.iter().map(|file| format!("/{}", file.key)).collect();
    Some(json!({"ImageIds": images, "BucketName": bucket, "CosPaths": paths}))
}

/// A task. The URL that an import reads from is not shown: its query may be a permission.
fn task(task: &Task) -> Value {
    json!({
        "TaskId": task.id,
        "Kind": task.kind.name(),
        "State": match task.state {
            TaskState::Queued => "QUEUED",
            TaskState::Running => "RUNNING",
            TaskState::Succeeded => "SUCCEEDED",
            TaskState::Failed => "FAILED",
            TaskState::Cancelled => "CANCELLED",
        },
        "Region": task.region,
        "Uin": task.owner.to_string(),
        // What the public API calls the task where it has a number for it.
        "TaskNumber": task.id.number(),
        "ImageId": task.kind.image(),
        "SnapshotId": task.kind.snapshot(),
        "InstanceId": task.kind.instance(),
        "Export": export(&task.kind),
        "RequestId": task.request_id,
        "Stage": task.progress.stage,
        "BytesDone": task.progress.bytes_done,
        "BytesTotal": task.progress.bytes_total,
        "BytesPerSecond": task.progress.bytes_per_second,
        "CancelRequested": task.cancel_requested,
        "Attempts": task.attempts,
        "ErrorCode": task.failure.as_ref().map(|failure| &failure.code),
        "ErrorMessage": task.failure.as_ref().map(|failure| &failure.message),
        "CreatedTime": task.created_at.to_string(),
        "FinishedTime": task.finished_at.map(|at| at.to_string()),
    })
}
