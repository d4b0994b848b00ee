//! Images, their shares, quota and exports.

use kiln_model::{Architecture, Image, ImageDisk, ImageKind, ImageOrigin, ImageState, LicenseType};
use kiln_service::policy::{Finding, Report, Severity};
use kiln_service::{Answer, ImageView, SeenImage};
use serde_json::{Value, json};

use super::{disk, gib, members, tag};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// A list of images.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Images(page) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    // Not by `json!`, which copies what it is given: this is the most frequent answer, and a long one.
    let images = Value::Array(page.images.iter().map(image).collect());
    Ok(Object::from_iter([("TotalCount".to_owned(), page.total.into()), ("ImageSet".to_owned(), images)]))
}

/// The newest image of a family, if it has one.
pub(crate) fn from_family(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::FamilyImage(found) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"Image": found.as_deref().map(image)}))
}

/// The public `Image`. A failed image has two members more, since the public shape has no place for the reason; the
/// official SDKs pass over members that they do not know.
fn image(seen: &SeenImage) -> Value {
    let image = &seen.image;
    let mut shape = json!({
        "ImageId": image.id,
        "OsName": image.facts.os_name,
        "ImageType": match seen.view {
            ImageView::Public => "PUBLIC_IMAGE",
            ImageView::Market => "MARKET_IMAGE",
            ImageView::Own => "PRIVATE_IMAGE",
            ImageView::Shared => "SHARED_IMAGE",
        },
        "CreatedTime": image.created_at.to_string(),
        "ImageName": image.name,
        "ImageDescription": image.description,
        "ImageSize": gib(image.size_bytes),
        "Architecture": architecture_name(image.facts.architecture),
        "ImageState": state_name(image.state),
        "Platform": image.facts.platform,
        "ImageCreator": image.owner.to_string(),
        "ImageSource": source_name(image),
        "SyncPercent": seen.percent,
        "IsSupportCloudinit": image.facts.cloud_init,
        "SnapshotSet": image.disks.iter().map(snapshot).collect::<Vec<_>>(),
        "Tags": tag::of_resource(&seen.tags),
        "LicenseType": match image.facts.license {
            LicenseType::TencentCloud => "TencentCloud",
            LicenseType::Byol => "BYOL",
        },
        "ImageFamily": image.family,
        "ImageDeprecated": image.deprecated,
    });
    if let Some(failure) = &image.failure {
        shape["ImageErrorCode"] = failure.code.as_str().into();
        shape["ImageErrorMessage"] = failure.message.as_str().into();
    }
    shape
}

fn snapshot(found: &ImageDisk) -> Value {
    let usage = disk::usage_name(found.usage);
    json!({"SnapshotId": found.snapshot, "DiskUsage": usage, "DiskSize": gib(found.size_bytes)})
}

fn state_name(state: ImageState) -> &'static str {
    match state {
        ImageState::Creating => "CREATING",
        ImageState::Importing => "IMPORTING",
        ImageState::Syncing => "SYNCING",
        ImageState::Normal => "NORMAL",
        ImageState::CreateFailed => "CREATEFAILED",
        ImageState::ImportFailed => "IMPORTFAILED",
        ImageState::Deleted => "DELETED",
    }
}

fn source_name(image: &Image) -> &'static str {
    match (image.kind, &image.origin) {
        (ImageKind::Public, _) => "OFFICIAL",
        (_, ImageOrigin::Import) => "EXTERNAL_IMPORT",
        (_, ImageOrigin::Instance(_) | ImageOrigin::Snapshots | ImageOrigin::Copy { .. }) => "CREATE_IMAGE",
    }
}

/// How many images the caller may have in the region.
pub(crate) fn quota(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ImageQuota { limit, .. } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"ImageNumQuota": limit}))
}

/// Who an image is shared with.
pub(crate) fn shares(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Shares { shares, .. } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let shares: Vec<Value> = shares
        .iter()
        .map(|share| {
            json!({"CreatedTime": share.shared_at.to_string(), "AccountId": share.account.to_string()})
        })
        .collect();
    members(json!({"SharePermissionSet": shares}))
}

/// The systems that an import may name.
pub(crate) fn import_systems(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ImportImageOs(supported) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let versions: Vec<Value> = supported
        .versions
        .iter()
        .map(|system| {
            let architectures: Vec<_> =
                system.architectures.iter().map(|one| architecture_name(*one)).collect();
            json!({"OsName": system.name, "OsVersions": system.versions, "Architecture": architectures})
        })
        .collect();
    members(json!({
        "ImportImageOsListSupported": {"Windows": supported.windows, "Linux": supported.linux},
        "ImportImageOsVersionSet": versions,
    }))
}

/// What an inspection found in an image.
pub(crate) fn report(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ImageReport { image, report } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"ImageId": image, "Report": report.as_ref().map(report_shape)}))
}

/// The shape in which a report is answered: a finding for each criterion of the import policy.
pub fn report_shape(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "Code": finding.code.code(),
            "Severity": severity_name(finding.severity),
            "Subject": finding.subject,
            "Found": finding.found,
            "Fix": finding.fix,
        })
    };
    let findings: Vec<Value> = report.findings.iter().map(finding).collect();
    json!({"Policy": report.policy, "Accepted": report.accepted, "FindingSet": findings})
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Pass => "PASS",
        Severity::Warn => "WARN",
        Severity::Refuse => "REFUSE",
    }
}

fn architecture_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::I386 => "i386",
        Architecture::Arm64 => "arm64",
    }
}

/// Where an image can be read.
pub(crate) fn export(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Export { url } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"Url": url}))
}

/// What guests of an image get at their first boot.
pub(crate) fn components(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Components(components) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"Packages": components.packages, "Script": components.script}))
}
