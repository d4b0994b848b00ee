//! Images, their shares, quota and exports.

use kiln_model::{Architecture, DiskUsage, Image, ImageDisk, ImageKind, ImageOrigin, ImageState};
use kiln_service::{Answer, ImageView, SeenImage};
use serde_json::{Value, json};

use super::{gib, members};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// A list of images.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Images { images, total } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let images: Vec<Value> = images.iter().map(image).collect();
    members(json!({"TotalCount": total, "ImageSet": images}))
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
        "Architecture": match image.facts.architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::I386 => "i386",
            Architecture::Arm64 => "arm64",
        },
        "ImageState": state_name(image.state),
        "Platform": image.facts.platform,
        "ImageCreator": image.owner.to_string(),
        "ImageSource": source_name(image),
        "SyncPercent": seen.percent,
        "IsSupportCloudinit": image.facts.cloud_init,
        "SnapshotSet": image.disks.iter().map(snapshot).collect::<Vec<_>>(),
        "Tags": [],
        "LicenseType": "TencentCloud",
        "ImageFamily": "",
        "ImageDeprecated": false,
    });
    if let Some(failure) = &image.failure {
        shape["ImageErrorCode"] = failure.code.as_str().into();
        shape["ImageErrorMessage"] = failure.message.as_str().into();
    }
    shape
}

fn snapshot(disk: &ImageDisk) -> Value {
    let usage = match disk.usage {
        DiskUsage::System => "SYSTEM_DISK",
        DiskUsage::Data => "DATA_DISK",
    };
    json!({"SnapshotId": disk.snapshot, "DiskUsage": usage, "DiskSize": gib(disk.size_bytes)})
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
        (_, ImageOrigin::Instance(_) | ImageOrigin::Copy { .. }) => "CREATE_IMAGE",
    }
}

/// How many images the caller may have in the region.
pub(crate) fn quota(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ImageQuota { limit, .. } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"ImageNumQuota": limit}))
}

/// Who an image is shared with.
pub(crate) fn shares(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Shares(shares) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let shares: Vec<Value> = shares
        .iter()
        .map(|share| {
            json!({"CreatedTime": share.shared_at.to_string(), "AccountId": share.account.to_string()})
        })
        .collect();
    members(json!({"SharePermissionSet": shares}))
}

/// Where an image can be read.
pub(crate) fn export(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Export { url } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({"Url": url}))
}
