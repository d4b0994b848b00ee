//! Tasks: what long work is under way or has ended, and asking it to stop.

use std::sync::Arc;

use kiln_catalog::TaskQuery;
use kiln_model::{Role, Task, TaskEvent, TaskId, TaskKind, TaskState};

use crate::jobs::{cancelled, record_end};
use crate::{Answer, Caller, DescribeTasks, Refusal, Service, checks};

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeTasks,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    if !request.tasks.is_empty() {
        let mut tasks = Vec::with_capacity(request.tasks.len());
        for id in &request.tasks {
            tasks.push(seen_task(tx.task(id).await?, caller, id)?);
        }
        let total = tasks.len() as u64;
        return Ok(Answer::Tasks { tasks, total });
    }
    let query = TaskQuery {
        owner: (caller.account.role != Role::Operator).then_some(caller.account.uin),
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
        ..TaskQuery::default()
    };
    let (tasks, total) = tx.tasks(&query).await?;
    Ok(Answer::Tasks { tasks, total })
}

pub(super) async fn cancel(service: &Arc<Service>, caller: &Caller, id: &TaskId) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.write().await?;
    let task = seen_task(tx.task(id).await?, caller, id)?;
    if !matches!(
        task.kind,
        TaskKind::ImportImage { .. }
            | TaskKind::CreateImage { .. }
            | TaskKind::CopyImage { .. }
            | TaskKind::AssembleImage { .. }
            | TaskKind::CreateSnapshot { .. }
            | TaskKind::ExportImages { .. }
    ) {
        return Err(Refusal::conflict(
            "UnsupportedOperation.TaskNotCancellable",
            format!(
                "Task {id} works on an instance; only tasks that make or export images, or make snapshots, can be cancelled."
            ),
        ));
    }
    match task.state {
        TaskState::Queued => {
            let failure = cancelled();
            record_end(service, &mut tx, &task, TaskEvent::Cancelled, &failure).await?;
        }
        TaskState::Running => {
            tx.request_cancel(id).await?;
        }
        TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => {
            return Err(Refusal::conflict(
                "UnsupportedOperation.TaskEnded",
                format!("Task {id} has ended; there is nothing to cancel."),
            ));
        }
    }
    tx.commit().await?;
    Ok(Answer::Done)
}

/// A task that is the caller's own, or anybody's where the caller is the operator.
fn seen_task(found: Option<Task>, caller: &Caller, id: &TaskId) -> Result<Task, Refusal> {
    let operator = caller.account.role == Role::Operator;
    found.filter(|task| operator || task.owner == caller.account.uin).ok_or_else(|| {
        Refusal::not_found("InvalidTaskId.NotFound", format!("You have no task {id}. Check its ID."))
    })
}
