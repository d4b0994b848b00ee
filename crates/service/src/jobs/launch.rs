//! Launching: an overlay, a seed, and a machine that boots at once and reads what it needs of its image.

use std::path::Path;

use kiln_catalog::Tx;
use kiln_model::{
    BootMode, Components, GuestChange, Instance, InstanceEvent, InstanceId, InstanceState, LaunchSettings,
};
use kiln_qemu::layout;
use kiln_qemu::seed::{Addressing, Password, Seed, SeedChange, SeedComponents, SeedFile, SeedNetwork};

use super::{JobContext, JobError, network_file, power};
use crate::machines::mac_address;

/// The user that a launch password is for.
const DEFAULT_USER: &str = "root";
/// The name of the one network card.
const INTERFACE: &str = "eth0";

pub(super) async fn run(context: &JobContext, id: &InstanceId) -> Result<(), JobError> {
    let mut instance = power::held_instance(context, id).await?;
    if let Err(error) = bring_up(context, &mut instance).await {
        // A launch that failed leaves no files; its row keeps the reason. One that goes on elsewhere, or at the next
        // start, needs them.
        if context.is_ours().await
            && let Err(left) = remove_dir(&context.service.machines.dir(id)).await
        {
            tracing::warn!(instance = %id, error = %left, "the files of a failed launch could not be removed");
        }
        return Err(error);
    }
    power::complete(context, id, InstanceEvent::Ran, InstanceState::Running).await
}

/// Makes the instance's files and switches its machine on.
pub(super) async fn bring_up(context: &JobContext, instance: &mut Instance) -> Result<(), JobError> {
    let machines = &context.service.machines;
    context.progress.begin("prepare", 0);
    if machines.get(&instance.id).is_none() {
        let dir = machines.dir(&instance.id);
        tokio::fs::create_dir_all(&dir).await?;
        let files = network_file::prepare(context, instance).await?;
        write_firmware(context, instance, &dir).await?;
        write_seed(&dir, &seed(context, instance, files).await?).await?;
    }
    context.progress.begin("power on", 0);
    power::power_on(context, instance).await
}

/// Writes the seed anew where the guest is to find something changed at the start that comes.
pub(super) async fn renew_seed(context: &JobContext, instance: &Instance) -> Result<(), JobError> {
    if instance.settings.change.is_none() {
        return Ok(());
    }
    let files = network_file::seed_files(context, instance).await?;
    write_seed(&context.service.machines.dir(&instance.id), &seed(context, instance, files).await?).await
}

/// Forgets what a guest was to find changed, in the transaction in which its start ends: it has made the change then.
pub(super) async fn forget_change(tx: &mut Tx, instance: &Instance) -> kiln_catalog::Result<()> {
    if instance.settings.change.is_none() {
        return Ok(());
    }
    let settings = LaunchSettings { change: None, password: None, ..instance.settings.clone() };
    tx.set_launch_settings(&instance.id, &settings).await
}

/// Forgets the launch's password, in the transaction in which the launch ends: the guest has it then, or never will.
pub(super) async fn forget_password(tx: &mut Tx, instance: &Instance) -> kiln_catalog::Result<()> {
    if instance.settings.password.is_none() {
        return Ok(());
    }
    let settings = LaunchSettings { password: None, ..instance.settings.clone() };
    tx.set_launch_settings(&instance.id, &settings).await
}

/// Removes an instance's directory; one that is gone already is fine.
pub(super) async fn remove_dir(dir: &Path) -> Result<(), JobError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Gives the machine UEFI variables of its own where its image starts by UEFI.
async fn write_firmware(context: &JobContext, instance: &Instance, dir: &Path) -> Result<(), JobError> {
    let image = context.service.catalog.read().await?.image(&instance.image).await?;
    if image.is_some_and(|image| image.facts.boot_mode == BootMode::Uefi) {
        kiln_qemu::write_uefi_variables(&kiln_qemu::find_firmware()?, dir)?;
    }
    Ok(())
}

async fn write_seed(dir: &Path, seed: &Seed) -> Result<(), JobError> {
    let image = seed
        .image()
        .map_err(|error| JobError::failed("InvalidParameterValue.LaunchSettings", format!("{error}.")))?;
    Ok(tokio::fs::write(dir.join(layout::SEED), image).await?)
}

/// What a guest gets, as its seed has it.
pub(crate) fn seed_components(components: &Components) -> SeedComponents {
    SeedComponents { packages: components.packages.clone(), script: components.script.clone() }
}

fn seed_change(change: GuestChange) -> SeedChange {
    let passwords = change.passwords.into_iter();
    SeedChange {
        name: change.request_id,
        passwords: passwords.map(|set| Password { user: set.user, secret: set.secret }).collect(),
        former_keys: change.former_keys,
        password_login: change.password_login,
    }
}

/// What the guest is told: its name, keys, password and network, and its user's own data.
async fn seed(context: &JobContext, instance: &Instance, files: Vec<SeedFile>) -> Result<Seed, JobError> {
    let settings = &instance.settings;
    let mut keys = Vec::with_capacity(settings.key_pairs.len());
    let mut tx = context.service.catalog.read().await?;
    for id in &settings.key_pairs {
        // A key pair may be deleted between the request and the launch; then its owner no longer wants it used.
        if let Some(pair) = tx.key_pair(id).await?.filter(|pair| pair.owner == instance.owner) {
            keys.push(pair.public_key);
        }
    }
    let user_data =
        settings.user_data_base64.as_deref().map(kiln_qemu::seed::decode_user_data).transpose()?;
    Ok(Seed {
        instance_id: instance.id.to_string(),
        hostname: settings.hostname.clone(),
        ssh_authorized_keys: keys,
        password: settings.password.clone().map(|secret| Password { user: DEFAULT_USER.to_owned(), secret }),
        change: settings.change.clone().map(seed_change),
        components: settings.components.as_ref().map(seed_components),
        user_data,
        network: SeedNetwork {
            mac: mac_address(instance.ordinal),
            interface: Some(INTERFACE.to_owned()),
            addressing: Addressing::Dhcp,
        },
        files,
    })
}
