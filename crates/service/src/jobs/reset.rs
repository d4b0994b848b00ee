//! Reinstalling: the machine is switched off, its system disk given up, and the instance launched again in its place.
//!
//! Begun again after a crash, it does the same once more: a guest that the first try started has lost nothing but that
//! start. Addresses and logs stay as they are.

use std::io::ErrorKind;
use std::path::Path;

use kiln_model::{InstanceEvent, InstanceId, InstanceState, StopMode};
use kiln_qemu::layout;

use super::{JobContext, JobError, launch, power};

/// What a system disk consists of, and what its first start finds.
const OF_SYSTEM_DISK: [&str; 5] =
    [layout::ROOT, layout::LIVE, layout::NEW_LIVE, layout::UEFI_VARIABLES, layout::SEED];

pub(super) async fn run(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let mut instance = power::held_instance(context, id).await?;
    context.progress.begin("power off", 0);
    // Nothing of what the guest would still write is kept.
    power::switch_off(context, &instance, StopMode::Hard).await?;
    remove_system_disk(&context.service.machines.dir(id)).await?;
    launch::bring_up(context, &mut instance).await?;
    power::complete(context, id, InstanceEvent::Ran, InstanceState::Running).await
}

async fn remove_system_disk(dir: &Path) -> Result<(), JobError> {
    for name in OF_SYSTEM_DISK {
        match tokio::fs::remove_file(dir.join(name)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
