//! ResetInstance: an instance's system disk made anew, from an image that its owner sees.
//!
//! The present image is no exception: one that was deleted, or is no longer shared, gives no new system disks.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{
    Components, Image, Instance, InstanceEvent, InstanceState, LastOperation, LaunchSettings, OperationState,
    TaskKind, Timestamp,
};

use super::commit_tasks;
use super::public_images::wanted_components;
use super::run_instances::{
    check_hostname, check_password, check_user_data, disk_bytes_in_range, firmware_is_there, qemu_is_there,
};
use crate::{Answer, Caller, Refusal, ResetInstance, Service, checks, usage};

const ACTION: &str = "ResetInstance";

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: ResetInstance,
) -> Result<Answer, Refusal> {
    check_form(&request)?;
    // Nothing is given up for a disk that could not be started.
    qemu_is_there(service).await?;
    let mut tx = service.catalog.write().await?;
    let instance = checks::own_instance(&mut tx, caller, &request.instance).await?;
    let image = wanted_image(&mut tx, caller, &request, &instance).await?;
    for id in &request.key_pairs {
        checks::own_key_pair(&mut tx, caller, id).await?;
    }
    checks::instance_is_free(&instance)?;
    checks::instance_state(
        &instance,
        &[InstanceState::Running, InstanceState::Stopped, InstanceState::LaunchFailed],
    )?;
    checks::image_is_normal(&image)?;
    firmware_is_there(&image)?;
    let system_disk_bytes = system_disk_bytes(&request, &instance, &image)?;
    let disk =
        image.system_disk().ok_or_else(|| Refusal::internal(format!("image {} has no disk", image.id)))?;
    let components = wanted_components(&mut tx, &image, request.security_service).await?;
    let reinstalled = Instance {
        image: image.id.clone(),
        base_manifest: disk.manifest.clone(),
        system_disk_bytes,
        settings: settings(request, &instance, components),
        ..instance
    };
    let now = Timestamp::now();
    let kind = TaskKind::ResetInstance { instance: reinstalled.id.clone() };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    tx.hold_instance(&reinstalled.id, &task).await?;
    usage::transition(&mut tx, &reinstalled.id, InstanceEvent::ResetRequested, now).await?;
    tx.reinstall_instance(&reinstalled, now).await?;
    let begun = LastOperation {
        action: ACTION.to_owned(),
        state: OperationState::Operating,
        request_id: caller.request_id.clone(),
        failure: None,
    };
    tx.set_last_operation(&reinstalled.id, &begun).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::Done)
}

fn check_form(request: &ResetInstance) -> Result<(), Refusal> {
    request.hostname.as_deref().map_or(Ok(()), check_hostname)?;
    request.password.as_deref().map_or(Ok(()), |it| check_password(it, "LoginSettings.Password"))?;
    request.user_data_base64.as_deref().map_or(Ok(()), check_user_data)
}

async fn wanted_image(
    tx: &mut Tx,
    caller: &Caller,
    request: &ResetInstance,
    instance: &Instance,
) -> Result<Image, Refusal> {
    if let Some(id) = &request.image {
        return Ok(checks::visible_image(tx, caller, id).await?.0);
    }
    let present = tx.visible_image(caller.account.uin, &caller.region, &instance.image).await?;
    present.map(|(image, _)| image).ok_or_else(|| {
        Refusal::not_found(
            "InvalidImageId.NotFound",
            format!(
                "{}, the present image of {}, was deleted or is no longer shared with you. Name another with ImageId.",
                instance.image, instance.id
            ),
        )
    })
}

/// The disk never shrinks; it grows as far as the image needs, or as the request asks.
fn system_disk_bytes(request: &ResetInstance, instance: &Instance, image: &Image) -> Result<u64, Refusal> {
    let least = instance.system_disk_bytes.max(image.size_bytes);
    let Some(gib) = request.system_disk_gib else { return Ok(least) };
    disk_bytes_in_range(gib, least, &format!("instance {} and image {}", instance.id, image.id))
}

/// What the new system's first start finds: what the request says, else what the instance has. A request that gives a
/// password or key pairs says all about who gets in.
fn settings(request: ResetInstance, instance: &Instance, components: Option<Components>) -> LaunchSettings {
    let present = &instance.settings;
    let login_is_new = request.password.is_some() || !request.key_pairs.is_empty();
    LaunchSettings {
        hostname: request.hostname.unwrap_or_else(|| present.hostname.clone()),
        password: request.password,
        key_pairs: if login_is_new { request.key_pairs } else { present.key_pairs.clone() },
        user_data_base64: request.user_data_base64.or_else(|| present.user_data_base64.clone()),
        network_file_missing: None,
        components,
        change: None,
    }
}
