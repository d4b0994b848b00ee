//! Workers: they claim tasks, keep their leases, and record how they end.
//!
//! Work on images and work on instances have lanes of their own, so that a long import never delays a launch.

use std::sync::Arc;
use std::time::Duration;

use kiln_catalog::{OperationEntry, Tx};
use kiln_model::{
    Failure, Image, ImageEvent, ImageId, ImageKind, InstanceEvent, InstanceState, ListingEvent,
    OperationState, Task, TaskEvent, TaskKind, Timestamp,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{JobContext, JobError, ProgressMeter, run};
use crate::Service;
use crate::notifications::{self, Notice};
use crate::usage;

/// How long a claim holds without being renewed.
const LEASE: Duration = Duration::from_secs(15);
/// Time between two looks for work that nobody announced, such as a lease that ran out.
const POLL: Duration = Duration::from_secs(2);
/// Time between two savings of a task's progress.
const PROGRESS: Duration = Duration::from_millis(500);
/// Savings of progress between two renewals of the lease: five seconds.
const TICKS_PER_RENEWAL: u32 = 10;
/// A task that was claimed this often and never ended is given up.
const MAX_ATTEMPTS: u32 = 20;

const IMAGE_KINDS: &[&str] = &[
    "import_image",
    "create_image",
    "assemble_image",
    "create_snapshot",
    "copy_image",
    TaskKind::EXPORT_IMAGES,
];
const INSTANCE_KINDS: &[&str] = &[
    "launch_instance",
    "start_instance",
    "stop_instance",
    "reboot_instance",
    "reset_instance",
    "attach_disks",
    "detach_disks",
    "terminate_instance",
];

/// Starts both lanes; they end when the service shuts down.
pub(crate) fn spawn_workers(service: &Arc<Service>) {
    let lanes =
        [(IMAGE_KINDS, service.config.image_workers), (INSTANCE_KINDS, service.config.instance_workers)];
    for (kinds, size) in lanes {
        service.background.spawn(lane(Arc::clone(service), kinds, size));
    }
}

async fn lane(service: Arc<Service>, kinds: &'static [&'static str], size: usize) {
    let places = Arc::new(Semaphore::new(size));
    // Where there are several places, one account never holds them all.
    let most_per_owner = u32::try_from(size.saturating_sub(1).max(1)).unwrap_or(u32::MAX);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        // Announced before looking, so that work that arrives in between is not missed.
        let announced = service.task_announced.notified();
        tokio::pin!(announced);
        announced.as_mut().enable();
        match claim(&service, kinds, most_per_owner).await {
            Ok(Some(task)) => {
                let service = Arc::clone(&service);
                service.background.clone().spawn(async move {
                    work_on(service, task).await;
                    drop(place);
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the catalogue gave no task"),
        }
        drop(place);
        tokio::select! {
            () = service.shutdown.cancelled() => return,
            () = announced => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

async fn claim(service: &Service, kinds: &[&str], most_per_owner: u32) -> kiln_catalog::Result<Option<Task>> {
    if service.shutdown.is_cancelled() {
        return Ok(None);
    }
    let mut tx = service.catalog.write().await?;
    let task = tx.claim_task(Timestamp::now(), LEASE.as_millis() as i64, kinds, most_per_owner).await?;
    tx.commit().await?;
    Ok(task)
}

async fn work_on(service: Arc<Service>, task: Task) {
    let cancel = service.shutdown.child_token();
    let context = JobContext {
        service,
        task: Arc::new(task),
        cancel: cancel.clone(),
        progress: Arc::new(ProgressMeter::new()),
    };
    let finished = CancellationToken::new();
    // Also where a job panics: a lease that is not renewed lets another worker begin again.
    let _ends_the_keeper = finished.clone().drop_guard();
    let keeper = tokio::spawn(keep_lease(context.clone(), finished.clone()));
    let outcome = if context.task.attempts > MAX_ATTEMPTS {
        Err(JobError::internal(format!("the task was begun {MAX_ATTEMPTS} times and never ended")))
    } else {
        run(&context).await
    };
    finished.cancel();
    // The keeper only ever waits for the catalogue; its own end carries no news.
    let _ = keeper.await;
    if let Err(error) = outcome {
        end_without_result(&context, error).await;
    }
    context.service.task_announced.notify_waiters();
}

/// Saves progress and renews the lease until the work is finished; stops the work when it must not go on.
async fn keep_lease(context: JobContext, finished: CancellationToken) {
    let mut ticks = 0u32;
    let mut saved = None;
    loop {
        tokio::select! {
            () = finished.cancelled() => return,
            () = tokio::time::sleep(PROGRESS) => {}
        }
        ticks += 1;
        let progress = context.progress.snapshot();
        let renew = ticks.is_multiple_of(TICKS_PER_RENEWAL);
        let changed = saved.as_ref() != Some(&progress);
        match keep(&context, changed.then_some(&progress), renew).await {
            Ok(true) | Err(kiln_catalog::Error::Stale(_)) => context.cancel.cancel(),
            Ok(false) => saved = Some(progress),
            Err(error) => tracing::warn!(%error, task = %context.task.id, "progress could not be saved"),
        }
    }
}

/// Answers whether the task's owner wants it to stop.
async fn keep(
    context: &JobContext,
    progress: Option<&kiln_model::TaskProgress>,
    renew: bool,
) -> kiln_catalog::Result<bool> {
    let task = &context.task;
    let current = context.service.catalog.read().await?.task(&task.id).await?;
    let cancelled = current.is_some_and(|current| current.cancel_requested);
    if progress.is_none() && !renew {
        return Ok(cancelled);
    }
    let mut tx = context.service.catalog.write().await?;
    if let Some(progress) = progress {
        tx.save_progress(&task.id, task.fence, progress).await?;
    }
    if renew {
        let until = Timestamp::now().plus_millis(LEASE.as_millis() as i64);
        tx.renew_lease(&task.id, task.fence, until).await?;
    }
    tx.commit().await?;
    Ok(cancelled)
}

async fn end_without_result(context: &JobContext, error: JobError) {
    let task = &context.task;
    if context.service.shutdown.is_cancelled() {
        // The next start goes on with the task; being stopped is not its failure.
        return;
    }
    let (event, failure) = match error {
        JobError::LeaseLost => return,
        JobError::Cancelled => (TaskEvent::Cancelled, cancelled()),
        JobError::Failed(failure) => (TaskEvent::Failed, failure),
        JobError::Internal(cause) => {
            tracing::error!(task = %task.id, kind = task.kind.name(), %cause, "a task failed inside the service");
            (TaskEvent::Failed, internal())
        }
    };
    tracing::info!(task = %task.id, kind = task.kind.name(), code = %failure.code, reason = %failure.message, "task ended");
    let recorded = async {
        let mut tx = context.service.catalog.write().await?;
        tx.assert_fence(&task.id, task.fence).await?;
        record_end(&context.service, &mut tx, task, event, &failure).await?;
        tx.commit().await
    };
    if let Err(error) = recorded.await {
        tracing::error!(task = %task.id, %error, "a task's end could not be recorded; it will be begun again");
    }
}

/// Ends a task that came to nothing: what it was to make or change is as a failure leaves it, and those who ought to know
/// are told.
pub(crate) async fn record_end(
    service: &Service,
    tx: &mut Tx,
    task: &Task,
    event: TaskEvent,
    failure: &Failure,
) -> kiln_catalog::Result<()> {
    record_failure(service, tx, task, failure).await?;
    tell_of_failure(service, tx, task, failure).await?;
    tx.finish_task(&task.id, task.fence, event, Some(failure), Timestamp::now()).await?;
    Ok(())
}

/// What was accepted and came to nothing is in the operation log, too; an importer is told of it.
async fn tell_of_failure(
    service: &Service,
    tx: &mut Tx,
    task: &Task,
    failure: &Failure,
) -> kiln_catalog::Result<()> {
    let image = match task.kind.image() {
        Some(id) => tx.image(id).await?,
        None => None,
    };
    let entry = OperationEntry {
        at: Timestamp::now(),
        account: task.owner,
        sub_account: None,
        secret_id: None,
        action: action_of(&task.kind, image.as_ref()).to_owned(),
        subject: subject_of(&task.kind),
        region: Some(task.region.clone()),
        request_id: task.request_id.clone(),
        code: failure.code.clone(),
        message: failure.message.clone(),
    };
    tx.append_operation(&entry).await?;
    let Some(image) = image.filter(|_| matches!(task.kind, TaskKind::ImportImage { .. })) else {
        return Ok(());
    };
    notifications::tell(service, tx, task.owner, Notice::import_ended(&image, Some(failure))).await
}

/// What a task makes or works on.
fn subject_of(kind: &TaskKind) -> String {
    if let TaskKind::ExportImages { files, .. } = kind {
        // The images in the order of the request; the disks of one follow each other.
        let mut images: Vec<_> = files.iter().map(|file| file.image.as_str()).collect();
        images.dedup();
        return images.join(" ");
    }
    let image = kind.image().map(ToString::to_string);
    image.or(kind.instance().map(ToString::to_string)).unwrap_or_default()
}

/// The action that asked for a task. What a copy was asked for as, its image says.
fn action_of(kind: &TaskKind, image: Option<&Image>) -> &'static str {
    match kind {
        TaskKind::ImportImage { .. } => "ImportImage",
        TaskKind::CreateImage { .. } | TaskKind::AssembleImage { .. } => "CreateImage",
        TaskKind::CreateSnapshot { .. } => "CreateSnapshot",
        TaskKind::CopyImage { .. } => match image.map(|image| image.kind) {
            Some(ImageKind::Public) => "PublishImage",
            Some(ImageKind::Market) => "ReviewListing",
            Some(ImageKind::Custom) | None => "SyncImages",
        },
        TaskKind::ExportImages { .. } => "ExportImages",
        TaskKind::LaunchInstance { .. } => "RunInstances",
        TaskKind::StartInstance { .. } => "StartInstances",
        TaskKind::StopInstance { .. } => "StopInstances",
        TaskKind::RebootInstance { .. } => "RebootInstances",
        TaskKind::ResetInstance { .. } => "ResetInstance",
        TaskKind::AttachDisks { .. } => "AttachDisks",
        TaskKind::DetachDisks { .. } => "DetachDisks",
        TaskKind::TerminateInstance { .. } => "TerminateInstances",
    }
}

/// Why a task that was asked to stop has no result.
pub(crate) fn cancelled() -> Failure {
    Failure { code: "FailedOperation.TaskCancelled".into(), message: "The task was cancelled.".into() }
}

fn internal() -> Failure {
    Failure {
        code: "InternalError".into(),
        message: "The service failed inside; its log says why. Nothing was left half-done. Ask again.".into(),
    }
}

/// Puts what the task was to make or change into the state that a failure leaves it in.
async fn record_failure(
    service: &Service,
    tx: &mut Tx,
    task: &Task,
    failure: &Failure,
) -> kiln_catalog::Result<()> {
    let now = Timestamp::now();
    if let Some(image) = task.kind.image() {
        tx.transition_image(image, ImageEvent::Failed, Some(failure), now).await?;
        send_back(service, tx, image, failure, now).await?;
    }
    super::disks::record_failure(tx, &task.kind, failure).await?;
    super::snapshot::record_failure(tx, task, failure).await?;
    let Some(id) = task.kind.instance() else { return Ok(()) };
    let Some(instance) = tx.instance(id).await? else { return Ok(()) };
    super::launch::forget_password(tx, &instance).await?;
    let event = match (&task.kind, instance.state) {
        (TaskKind::LaunchInstance { .. } | TaskKind::ResetInstance { .. }, InstanceState::Pending) => {
            Some(InstanceEvent::LaunchFailed)
        }
        (TaskKind::StartInstance { .. }, InstanceState::Starting) => Some(InstanceEvent::Stopped),
        (_, InstanceState::Stopping | InstanceState::Rebooting) => Some(InstanceEvent::Ran),
        _ => None,
    };
    if let Some(event) = event {
        usage::transition(tx, id, event, now).await?;
    }
    if instance.task.as_ref() == Some(&task.id) {
        tx.release_instance(id, &task.id).await?;
        let mut operation = instance.last_operation;
        operation.state = OperationState::Failed;
        operation.failure = Some(failure.clone());
        tx.set_last_operation(id, &operation).await?;
    }
    Ok(())
}

/// Sends a listing back whose image for everybody could not be made; nothing of that image is left.
async fn send_back(
    service: &Service,
    tx: &mut Tx,
    image: &ImageId,
    failure: &Failure,
    now: Timestamp,
) -> kiln_catalog::Result<()> {
    let Some(mut listing) = tx.published_listing(image).await? else { return Ok(()) };
    listing.answer =
        format!("The image could not be made ({}: {}). Submit it again.", failure.code, failure.message);
    tx.transition_image(image, ImageEvent::Deleted, None, now).await?;
    listing.state = tx.transition_listing(&listing, ListingEvent::Failed, now).await?;
    notifications::tell(service, tx, listing.provider, Notice::listing_decided(&listing)).await
}
