//! ExportImages: the disks of custom images, as image files in a bucket of their owner's.

use std::collections::HashSet;
use std::sync::Arc;

use kiln_catalog::{ImageView, Tx};
use kiln_model::{
    BucketName, DiskUsage, ExportFile, ExportFormat, Image, ImageId, LicenseType, Limits, TaskKind,
};

use super::commit_tasks;
use crate::jobs::output_format;
use crate::objects::{check_key, check_room_of, export_bucket};
use crate::{Answer, Caller, ExportImages, Refusal, Service, checks};

/// The images of one request.
const MAX_IMAGES: usize = 10;

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: ExportImages,
) -> Result<Answer, Refusal> {
    check_form(&request)?;
    let owner = caller.account.uin;
    let limits = service.limits_of(owner).await?;
    let mut tx = service.catalog.write().await?;
    let name = bucket_name(caller, &request.bucket)?;
    let bucket = export_bucket(&mut tx, owner, &caller.region, &name).await?;
    let mut files = Vec::new();
    for (index, id) in request.images.iter().enumerate() {
        let image = exportable_image(&mut tx, caller, id).await?;
        let prefix = request.prefixes.get(index).map_or("", String::as_str);
        files.extend(files_of(&image, prefix, request.format, request.only_system_disk)?);
    }
    // Looked at again with the true sizes, when the files are published.
    let sure_bytes = match request.format {
        ExportFormat::Raw => files.iter().map(|file| file.size_bytes).sum(),
        ExportFormat::Qcow2 | ExportFormat::Vhd | ExportFormat::Vmdk => 0,
    };
    check_room_of(&mut tx, service, owner, files.len() as u64, sure_bytes).await?;
    reserve_task(&mut tx, caller, &limits).await?;
    if request.dry_run {
        return Ok(Answer::DryRunPassed);
    }
    let keys = files.iter().map(|file| file.key.clone()).collect();
    let manifests: Vec<_> = files.iter().map(|file| file.manifest.clone()).collect();
    let kind = TaskKind::ExportImages { bucket: bucket.name, format: request.format, files };
    let task = super::enqueue(&mut tx, caller, &caller.region, kind).await?;
    for manifest in &manifests {
        // What a NORMAL image names is live; from now on it stays, whatever happens to the image.
        tx.keep_manifest(&task, manifest).await?;
    }
    commit_tasks(service, tx).await?;
    Ok(Answer::ExportAccepted { task, keys })
}

fn check_form(request: &ExportImages) -> Result<(), Refusal> {
    let images = request.images.len();
    if images == 0 {
        return Err(Refusal::invalid("MissingParameter", "ImageIds is empty. Name at least one image."));
    }
    if images > MAX_IMAGES {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("ImageIds has {images} entries; at most {MAX_IMAGES} are exported by one call."),
        ));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = request.images.iter().find(|image| !seen.insert(*image)) {
        return Err(Refusal::invalid(
            "InvalidParameterValue.Duplicate",
            format!("ImageIds names {twice} twice."),
        ));
    }
    if !request.prefixes.is_empty() && request.prefixes.len() != images {
        return Err(prefixes_refused(format!(
            "it has {} entries, and ImageIds has {images}. Give one for each image, or none",
            request.prefixes.len()
        )));
    }
    Ok(())
}

fn prefixes_refused(why: String) -> Refusal {
    Refusal::invalid("InvalidParameterValue.InvalidFileNamePrefixList", format!("FileNamePrefixList: {why}."))
}

/// The bucket's whole name, to which the account's number belongs.
fn bucket_name(caller: &Caller, given: &str) -> Result<BucketName, Refusal> {
    let whole: Result<BucketName, _> = given.parse();
    whole.or_else(|_| format!("{given}-{}", caller.account.app_id).parse()).map_err(|_| {
        Refusal::not_found(
            "InvalidParameterValue.BucketNotFound",
            format!(
                "BucketName: {given:?} can be no bucket's name. Use one such as images-{}.",
                caller.account.app_id
            ),
        )
    })
}

/// One of the caller's own custom images whose content may leave the service.
async fn exportable_image(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Image, Refusal> {
    let (image, view) = checks::visible_image(tx, caller, id).await?;
    let refused = |code: &'static str, why: &str| Err(Refusal::denied(code, format!("Image {id} {why}")));
    match view {
        ImageView::Own => {}
        ImageView::Shared => {
            let why = "is shared with you; a shared image cannot be exported. Ask its owner to export it.";
            return refused("UnsupportedOperation.SharedImageExportUnsupported", why);
        }
        ImageView::Public => {
            let why = "is public; only your own custom images can be exported.";
            return refused("UnsupportedOperation.PublicImageExportUnsupported", why);
        }
        ImageView::Market => {
            let why = "is of the marketplace; only your own custom images can be exported.";
            return refused("UnsupportedOperation.MarketImageExportUnsupported", why);
        }
    }
    checks::image_is_normal(&image)?;
    checks::content_is_the_owners(tx, &image).await?;
    // A licence that is the operator's stays with him.
    let code = match image.facts.platform.as_str() {
        windows if windows.starts_with("Windows") => "UnsupportedOperation.WindowsImageExportUnsupported",
        "RedHat" => "UnsupportedOperation.RedHatImageExportUnsupported",
        _ => return Ok(image),
    };
    match image.facts.license {
        LicenseType::Byol => Ok(image),
        LicenseType::TencentCloud => {
            let why = "runs under a licence that is not yours. Import it with LicenseType=BYOL if you have one of your own.";
            refused(code, why)
        }
    }
}

/// The files that an image becomes, by the names that the public API gives them.
fn files_of(
    image: &Image,
    prefix: &str,
    format: ExportFormat,
    only_system_disk: bool,
) -> Result<Vec<ExportFile>, Refusal> {
    let disks = image.disks.iter().filter(|disk| disk.usage == DiskUsage::System || !only_system_disk);
    let mut files = Vec::new();
    for disk in disks {
        let most = output_format(format).disk_bytes_max();
        if disk.size_bytes > most {
            return Err(Refusal::conflict(
                "UnsupportedOperation.ImageTooLargeExportUnsupported",
                format!(
                    "Image {} has a disk of {} GiB; a file of ExportFormat {} holds {} GiB at most. Use RAW or QCOW2.",
                    image.id,
                    disk.size_bytes >> 30,
                    format.extension().to_uppercase(),
                    most >> 30
                ),
            ));
        }
        let usage = match disk.usage {
            DiskUsage::System => "system",
            DiskUsage::Data => "data",
        };
        let separator = if prefix.is_empty() { "" } else { "_" };
        let key = format!("{prefix}{separator}{}_{usage}_{}.{}", image.id, disk.snapshot, format.extension());
        check_key(&key)
            .map_err(|refusal| prefixes_refused(refusal.message.trim_end_matches('.').to_owned()))?;
        files.push(ExportFile {
            image: image.id.clone(),
            manifest: disk.manifest.clone(),
            size_bytes: disk.size_bytes,
            key,
        });
    }
    Ok(files)
}

/// Takes one of the account's places for exports, in the accepting transaction.
async fn reserve_task(tx: &mut Tx, caller: &Caller, limits: &Limits) -> Result<(), Refusal> {
    let under_way = tx.count_unfinished_tasks(caller.account.uin, TaskKind::EXPORT_IMAGES).await?;
    if under_way < limits.export_tasks {
        return Ok(());
    }
    Err(Refusal::quota(
        "LimitExceeded.ExportImageTaskLimitExceeded",
        format!(
            "The limit of {} exports at once is reached ({under_way} are under way). Wait for the end of one, cancel one, \
             or ask the operator for more.",
            limits.export_tasks
        ),
    ))
}
