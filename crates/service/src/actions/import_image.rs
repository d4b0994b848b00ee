//! ImportImage: an image file is fetched from a URL and becomes a custom image.

use std::sync::Arc;

use kiln_model::{
    BootMode, Image, ImageId, ImageKind, ImageOrigin, ImageState, SystemFacts, TaskId, TaskKind, Timestamp,
};
use kiln_transfer::SourceUrl;

use super::commit_tasks;
use crate::{Answer, Caller, ImportImage, Refusal, Service, checks};

/// Systems that an import may name, by the API's names, in the order in which they are listed.
const LINUX_SYSTEMS: &[&str] =
    &["CentOS", "Ubuntu", "Debian", "CoreOS", "OpenSUSE", "SUSE", "RedHat", "FreeBSD", "Other Linux"];

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: ImportImage,
) -> Result<Answer, Refusal> {
    if !caller.account.may_import {
        return Err(Refusal::denied(
            "UnauthorizedOperation.ImportImage",
            format!(
                "Your account {} has no permission to import images. Ask the operator to grant it: \
                 `kiln account allow-import {}`.",
                caller.account.uin, caller.account.uin
            ),
        ));
    }
    let limits = service.limits_of(caller.account.uin).await?;
    checks::image_name(&request.name, &limits)?;
    checks::image_description(&request.description, &limits)?;
    let platform = platform(&request.os_type)?;
    if let Err(error) = SourceUrl::parse(&request.url) {
        return Err(Refusal::invalid(
            "InvalidParameter.InvalidParameterUrlError",
            format!("ImageUrl: {error}."),
        ));
    }
    let now = Timestamp::now();
    let mut tx = service.catalog.write().await?;
    checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &request.name).await?;
    checks::reserve_image(&mut tx, &caller.account, &caller.region, &limits, now).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let id = ImageId::random();
    let kind = TaskKind::ImportImage { image: id.clone(), url: request.url.clone() };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    tx.insert_image(&new_image(caller, request, platform, id.clone(), task.clone(), now)).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::ImageAccepted { image: id, task })
}

/// The platform's own spelling of what the importer called the system.
fn platform(os_type: &str) -> Result<&'static str, Refusal> {
    let fold = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    LINUX_SYSTEMS.iter().find(|known| fold(known) == fold(os_type)).copied().ok_or_else(|| {
        Refusal::invalid(
            "InvalidImageOsType.Unsupported",
            format!("OsType {os_type:?} is not supported. Use one of: {}.", LINUX_SYSTEMS.join(", ")),
        )
    })
}

fn new_image(
    caller: &Caller,
    request: ImportImage,
    platform: &str,
    id: ImageId,
    task: TaskId,
    now: Timestamp,
) -> Image {
    let version = request.os_version.trim_matches('-').trim();
    Image {
        id,
        region: caller.region.clone(),
        owner: caller.account.uin,
        kind: ImageKind::Custom,
        state: ImageState::Importing,
        name: request.name,
        description: request.description,
        origin: ImageOrigin::Import,
        facts: SystemFacts {
            os_name: format!("{platform} {version}").trim().to_owned(),
            platform: platform.to_owned(),
            architecture: request.architecture,
            boot_mode: request.boot_mode.unwrap_or(BootMode::Bios),
            cloud_init: !request.force,
        },
        size_bytes: 0,
        disks: Vec::new(),
        task,
        failure: None,
        created_at: now,
    }
}
