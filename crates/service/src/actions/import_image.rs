//! ImportImage: an image file is fetched from a URL and becomes a custom image, or for the operator a public one.

use std::sync::Arc;

use kiln_model::{
    Components, Image, ImageId, ImageKind, ImageOrigin, ImageState, ImportClaim, SystemFacts, TaskId,
    TaskKind, Timestamp,
};
use kiln_transfer::SourceUrl;

use super::public_images::give_components;
use super::{commit_tasks, tags};
use crate::objects::own_object;
use crate::policy::{UnknownSystem, find_system};
use crate::{Answer, Caller, ImportImage, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    mut request: ImportImage,
) -> Result<Answer, Refusal> {
    if request.public {
        checks::require_operator_itself(caller)?;
    }
    if !caller.account.may_import {
        return Err(Refusal::denied(
            "UnauthorizedOperation.ImportImage",
            format!(
                "Your account {} has no permission to import images. Apply for it with the action \
                 ApplyForImportPermission of the service kiln, or with `kiln account apply-import --reason …`; the \
                 operator then decides, and `kiln account applications` shows how.",
                caller.account.uin
            ),
        ));
    }
    let limits = service.limits_of(caller.account.uin).await?;
    checks::image_name(&request.name, &limits)?;
    checks::image_description(&request.description, &limits)?;
    checks::image_family(&request.family)?;
    tags::check(&request.tags, &tags::CVM)?;
    let platform = platform(service, &request.claim)?;
    check_sha256(request.sha256.as_deref())?;
    if request.public {
        checks::license_is_for_everybody(request.claim.license, &request.name, "be public")?;
    }
    if let Some(object) = own_object(service, caller, &request.url).await? {
        // It was allowed now, and is read later: the task keeps what it is, and no signature.
        request.url = object.to_url();
    } else if let Err(error) = SourceUrl::parse(&request.url) {
        return Err(Refusal::invalid(
            "InvalidParameter.InvalidParameterUrlError",
            format!("ImageUrl: {error}."),
        ));
    }
    let now = Timestamp::now();
    let mut tx = service.catalog.write().await?;
    if request.public {
        checks::public_name_is_free(&mut tx, &caller.region, &request.name).await?;
    } else {
        checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &request.name).await?;
        checks::reserve_image(&mut tx, &caller.account, &caller.region, &limits, now).await?;
    }
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let id = ImageId::random();
    let kind = TaskKind::ImportImage {
        image: id.clone(),
        url: request.url.clone(),
        claim: request.claim.clone(),
        sha256: request.sha256.as_ref().map(|digest| digest.to_ascii_lowercase()),
    };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    let tags = request.tags.clone();
    let image = new_image(caller, request, platform, id.clone(), task.clone(), now);
    tx.insert_image(&image).await?;
    if image.kind == ImageKind::Public {
        give_components(&mut tx, &image, &Components::default()).await?;
    }
    tags::put(&mut tx, caller, id.as_str(), &tags, &tags::CVM).await?;
    commit_tasks(service, tx).await?;
    Ok(Answer::ImageAccepted { image: id, task })
}

fn check_sha256(digest: Option<&str>) -> Result<(), Refusal> {
    match digest {
        Some(digest) if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(Refusal::invalid(
                "InvalidParameterValue",
                "ImageSha256 is not the SHA-256 of a file: give its 64 hexadecimal digits.",
            ))
        }
        _ => Ok(()),
    }
}

/// The policy's own spelling of what the importer calls the system.
fn platform(service: &Service, claim: &ImportClaim) -> Result<&'static str, Refusal> {
    match find_system(&service.config.import_policy, &claim.os_type, &claim.os_version) {
        Ok(name) => Ok(name),
        Err(UnknownSystem::Type { known }) => Err(Refusal::invalid(
            "InvalidImageOsType.Unsupported",
            format!("OsType {:?} is not supported. Use one of: {}.", claim.os_type, known.join(", ")),
        )),
        Err(UnknownSystem::Version { name, known }) => Err(Refusal::invalid(
            "InvalidImageOsVersion.Unsupported",
            format!(
                "OsVersion {:?} of {name} is not supported. Use one of: {}.",
                claim.os_version,
                known.join(", ")
            ),
        )),
    }
}

fn new_image(
    caller: &Caller,
    request: ImportImage,
    platform: &str,
    id: ImageId,
    task: TaskId,
    now: Timestamp,
) -> Image {
    let claim = request.claim;
    let version = claim.os_version.trim_matches('-').trim();
    Image {
        id,
        region: caller.region.clone(),
        owner: caller.account.uin,
        kind: if request.public { ImageKind::Public } else { ImageKind::Custom },
        state: ImageState::Importing,
        name: request.name,
        description: request.description,
        family: request.family,
        deprecated: false,
        origin: ImageOrigin::Import,
        facts: SystemFacts {
            os_name: format!("{platform} {version}").trim().to_owned(),
            platform: platform.to_owned(),
            architecture: claim.architecture,
            boot_mode: claim.boot_mode,
            cloud_init: !claim.force,
            license: claim.license,
        },
        size_bytes: 0,
        disks: Vec::new(),
        task,
        failure: None,
        fee_of: None,
        created_at: now,
    }
}
