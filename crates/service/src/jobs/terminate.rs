//! Removing an instance: its machine, its system disk, its files, the data disks that go with it.

use kiln_model::{InstanceEvent, InstanceId, InstanceState, StopMode};

use super::{JobContext, JobError, launch, power};

pub(super) async fn run(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let instance = power::held_instance(context, id).await?;
    context.progress.begin("remove", 0);
    power::switch_off(context, &instance, StopMode::Hard).await?;
    launch::remove_dir(&context.service.machines.dir(id)).await?;
    power::complete(context, id, InstanceEvent::Gone, InstanceState::Terminated).await
}
