//! Removing an instance: its machine, its system disk, its files, the data disks that go with it.

use kiln_model::{InstanceEvent, InstanceId, InstanceState, StopMode};

use super::{JobContext, JobError, disks, launch, power};

pub(super) async fn run(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let instance = power::held_instance(context, id).await?;
    context.progress.begin("remove", 0);
    power::switch_off(context, &instance, StopMode::Hard).await?;
    // Disks that stay take all that was written to them along.
    if disks::some_stay(context, id).await? {
        context.service.machines.settle(&context.service, &instance).await?;
    }
    launch::remove_dir(&context.service.machines.dir(id)).await?;
    power::complete(context, id, InstanceEvent::Gone, InstanceState::Terminated).await
}
