//! Checks that more than one use case makes, each with the refusal that the public API has for it.

use kiln_catalog::{ImageView, Tx};
use kiln_model::{
    Account, Disk, DiskId, DiskState, Image, ImageId, ImageKind, ImageState, Instance, InstanceId,
    InstanceState, KeyPair, KeyPairId, LicenseType, Limits, Price, Role, Snapshot, SnapshotId, SnapshotState,
    Timestamp, Uin,
};

use crate::{Caller, Command, Refusal};

/// That the caller's role lets it do more than look, where more is asked for.
pub(crate) fn may_change(caller: &Caller, command: &Command) -> Result<(), Refusal> {
    if !(caller.is_read_only() && command.changes()) {
        return Ok(());
    }
    Err(Refusal::denied(
        "UnauthorizedOperation",
        format!(
            "Sub-account {} may look only. Ask its main account {} for the role FULL, or use another key.",
            caller.uin(),
            caller.account.uin
        ),
    ))
}

/// That the caller is a main account and not one of its sub-accounts.
pub(crate) fn require_main(caller: &Caller) -> Result<(), Refusal> {
    match &caller.sub_account {
        None => Ok(()),
        Some(sub_account) => Err(Refusal::denied(
            "UnauthorizedOperation",
            format!(
                "Only the main account {} may do this, and {} is one of its sub-accounts. Use the main account's key.",
                caller.account.uin, sub_account.uin
            ),
        )),
    }
}

/// The main account that is meant: the caller's own, or, for the operator, any.
pub(crate) fn account_meant(caller: &Caller, named: Option<Uin>) -> Result<Uin, Refusal> {
    match named {
        Some(uin) if uin != caller.account.uin => require_operator(caller).map(|()| uin),
        _ => Ok(caller.account.uin),
    }
}

/// That the caller is the operator, and not one of the operator's sub-accounts: what is for everybody, and what it costs,
/// is decided there.
pub(crate) fn require_operator_itself(caller: &Caller) -> Result<(), Refusal> {
    require_operator(caller)?;
    require_main(caller)
}

pub(crate) fn require_operator(caller: &Caller) -> Result<(), Refusal> {
    if caller.account.role == Role::Operator {
        return Ok(());
    }
    Err(Refusal::denied(
        "UnauthorizedOperation",
        "Only the operator's account may do this. Use the operator's key.",
    ))
}

/// The form of an image's name.
pub(crate) fn image_name(name: &str, limits: &Limits) -> Result<(), Refusal> {
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err(Refusal::invalid(
            "InvalidImageName.Invalid",
            "ImageName is empty. Give the image a name.",
        ));
    }
    if name.chars().any(is_invisible) {
        return Err(Refusal::invalid(
            "InvalidImageName.Invalid",
            "ImageName has control characters, or others that are not seen. Leave them out.",
        ));
    }
    if chars > limits.image_name_chars as usize {
        return Err(Refusal::invalid(
            "InvalidParameterValue.TooLong",
            format!("ImageName has {chars} characters; at most {} are allowed.", limits.image_name_chars),
        ));
    }
    Ok(())
}

/// Whether a character steers what shows it, or is not seen: a name with one can pass for another name.
pub(crate) fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The most characters of what accounts and the operator tell each other.
pub(crate) const MAX_TEXT_CHARS: usize = 500;

/// That what people tell each other is printable and not too long.
pub(crate) fn short_text(parameter: &str, text: &str, most: usize) -> Result<(), Refusal> {
    let chars = text.chars().count();
    if chars <= most && !text.chars().any(is_invisible) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue",
        format!("{parameter} must be printable and at most {most} characters; it has {chars}."),
    ))
}

/// The form of an image's description.
pub(crate) fn image_description(description: &str, limits: &Limits) -> Result<(), Refusal> {
    let chars = description.chars().count();
    if chars > limits.image_description_chars as usize {
        return Err(Refusal::invalid(
            "InvalidParameterValue.TooLong",
            format!(
                "ImageDescription has {chars} characters; at most {} are allowed.",
                limits.image_description_chars
            ),
        ));
    }
    Ok(())
}

/// The form of an image family's name; the empty one is that of no family.
pub(crate) fn image_family(family: &str) -> Result<(), Refusal> {
    const MOST: usize = 40;
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    if family.chars().count() <= MOST && family.chars().all(plain) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue.InvalidImageFamily",
        format!(
            "ImageFamily must be at most {MOST} letters, digits, hyphens, dots, underscores and slashes."
        ),
    ))
}

/// That no other custom image of the account in the region has this name.
pub(crate) async fn image_name_is_free(
    tx: &mut Tx,
    account: &Account,
    region: &kiln_model::RegionId,
    name: &str,
) -> Result<(), Refusal> {
    if !tx.custom_image_name_taken(account.uin, region, name).await? {
        return Ok(());
    }
    Err(Refusal::conflict(
        "InvalidImageName.Duplicate",
        format!(
            "You already have an image named {name:?} in {region}. Choose another name, or delete that image."
        ),
    ))
}

/// That no other public image of the region has this name.
pub(crate) async fn public_name_is_free(
    tx: &mut Tx,
    region: &kiln_model::RegionId,
    name: &str,
) -> Result<(), Refusal> {
    if !tx.public_image_name_taken(region, name).await? {
        return Ok(());
    }
    Err(Refusal::conflict(
        "InvalidImageName.Duplicate",
        format!(
            "There is a public image named {name:?} in {region}. Choose another name, or withdraw that image."
        ),
    ))
}

/// Takes one of the account's places for images and one of the day's operations, in the accepting transaction.
pub(crate) async fn reserve_image(
    tx: &mut Tx,
    account: &Account,
    region: &kiln_model::RegionId,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    let used = tx.count_images(account.uin, region).await?;
    if used >= limits.images_per_region {
        return Err(Refusal::quota(
            "ImageQuotaLimitExceeded",
            format!(
                "The limit of {} custom images in {region} is reached ({used} used). Delete one that is not needed, or \
                 ask the operator for more.",
                limits.images_per_region
            ),
        ));
    }
    let today = tx.image_operations(account.uin, region, now.day()).await?;
    if let Some(daily) = limits.image_operations_per_day
        && today >= daily
    {
        return Err(Refusal::quota(
            "LimitExceeded.ImageOperationsPerDay",
            format!(
                "The limit of {daily} operations a day that make an image in {region} is reached ({today} used). More \
                 are possible from {}; the operator can allow them at once (kiln account set-limits).",
                now.next_day()
            ),
        ));
    }
    Ok(tx.record_image_operation(account.uin, region, now.day()).await?)
}

/// An image that the caller sees in the region of the request.
pub(crate) async fn visible_image(
    tx: &mut Tx,
    caller: &Caller,
    id: &ImageId,
) -> Result<(Image, ImageView), Refusal> {
    tx.visible_image(caller.account.uin, &caller.region, id).await?.ok_or_else(|| {
        Refusal::not_found(
            "InvalidImageId.NotFound",
            format!(
                "There is no image {id} in {} that you can see. Check its ID and the region.",
                caller.region
            ),
        )
    })
}

/// One of the caller's own custom images.
pub(crate) async fn own_image(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Image, Refusal> {
    match visible_image(tx, caller, id).await? {
        (image, ImageView::Own) => Ok(image),
        (image, ImageView::Public) if image.owner == caller.account.uin => Err(Refusal::denied(
            "UnauthorizedOperation.ImageNotBelongToAccount",
            format!("Image {id} is public, so it is everybody's. WithdrawImage takes it back."),
        )),
        (image, ImageView::Market) if image.owner == caller.account.uin => Err(Refusal::denied(
            "UnauthorizedOperation.ImageNotBelongToAccount",
            format!(
                "Image {id} is sold, so it is everybody's. SubmitListing changes it, WithdrawListing ends it."
            ),
        )),
        (_, ImageView::Shared | ImageView::Public | ImageView::Market) => Err(Refusal::denied(
            "UnauthorizedOperation.ImageNotBelongToAccount",
            format!("Image {id} is not yours. Only an image's owner may do this."),
        )),
    }
}

/// The image for which another account is paid where this one is used: one that is sold, or that has a licence fee.
pub(crate) async fn anothers_fee(tx: &mut Tx, image: &Image) -> Result<Option<Image>, Refusal> {
    let Some(ancestor) = &image.fee_of else { return Ok(None) };
    let Some(ancestor) = tx.image(ancestor).await?.filter(|ancestor| ancestor.owner != image.owner) else {
        return Ok(None);
    };
    let is_paid_for =
        ancestor.kind == ImageKind::Market || tx.image_fee(&ancestor).await? != Price::default();
    Ok(is_paid_for.then_some(ancestor))
}

/// That a system's licence lets an image be for everybody; `what` it is to be.
pub(crate) fn license_is_for_everybody(license: LicenseType, image: &str, what: &str) -> Result<(), Refusal> {
    match license {
        LicenseType::TencentCloud => Ok(()),
        LicenseType::Byol => Err(Refusal::conflict(
            "FailedOperation.BYOLImageShareFailed",
            format!("Image {image} runs under a licence of your own (BYOL); it cannot {what}."),
        )),
    }
}

/// That nobody else has a say in an image which is to be for everybody; `what` it is to be.
pub(crate) async fn may_be_for_everybody(tx: &mut Tx, image: &Image, what: &str) -> Result<(), Refusal> {
    license_is_for_everybody(image.facts.license, image.id.as_str(), what)?;
    let Some(ancestor) = anothers_fee(tx, image).await? else { return Ok(()) };
    Err(Refusal::conflict(
        "UnsupportedOperation.ImageCarriesFee",
        format!(
            "Image {} was made from {}, for which account {} is paid; it cannot {what}.",
            image.id, ancestor.id, ancestor.owner
        ),
    ))
}

/// That nobody else is paid for an image: its content may leave the service.
pub(crate) async fn content_is_the_owners(tx: &mut Tx, image: &Image) -> Result<(), Refusal> {
    let Some(ancestor) = anothers_fee(tx, image).await? else { return Ok(()) };
    let (code, whose) = match ancestor.kind {
        ImageKind::Market => ("UnsupportedOperation.MarketImageExportUnsupported", "is of the marketplace"),
        ImageKind::Public | ImageKind::Custom => {
            ("UnsupportedOperation.PublicImageExportUnsupported", "has a licence fee")
        }
    };
    Err(Refusal::denied(
        code,
        format!(
            "Image {} was made from {}, which {whose}; its content cannot be exported. It can be launched, and copied to \
             other regions.",
            image.id, ancestor.id
        ),
    ))
}

/// That an image is whole.
pub(crate) fn image_is_normal(image: &Image) -> Result<(), Refusal> {
    if image.state == ImageState::Normal {
        return Ok(());
    }
    Err(Refusal::conflict(
        "InvalidImageId.IncorrectState",
        format!("Image {} is {}; this needs one that is NORMAL.", image.id, image_state_name(image.state)),
    ))
}

/// That the image does not wait for its review.
pub(crate) async fn image_is_not_in_review(tx: &mut Tx, id: &ImageId) -> Result<(), Refusal> {
    let Some(listing) = tx.submitted_listing(id).await? else { return Ok(()) };
    Err(Refusal::conflict(
        "UnsupportedOperation.ImageInReview",
        format!("Image {id} waits for its review, as {}. Withdraw that first (WithdrawListing).", listing.id),
    ))
}

/// That nothing makes the image any more, whatever came of it.
pub(crate) fn image_is_made(image: &Image) -> Result<(), Refusal> {
    match image.state {
        ImageState::Creating | ImageState::Importing | ImageState::Syncing => Err(Refusal::conflict(
            "InvalidImageId.IncorrectState",
            format!(
                "Image {} is {}; wait for the end of task {} or cancel it.",
                image.id,
                image_state_name(image.state),
                image.task
            ),
        )),
        ImageState::Normal | ImageState::CreateFailed | ImageState::ImportFailed | ImageState::Deleted => {
            Ok(())
        }
    }
}

/// The public name of an image's state.
pub(crate) fn image_state_name(state: ImageState) -> &'static str {
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

/// One of the caller's own instances in the region of the request.
pub(crate) async fn own_instance(tx: &mut Tx, caller: &Caller, id: &InstanceId) -> Result<Instance, Refusal> {
    let instance = tx.instance(id).await?;
    instance
        .filter(|found| found.owner == caller.account.uin && found.region == caller.region)
        .filter(|found| found.state != InstanceState::Terminated)
        .ok_or_else(|| {
            Refusal::not_found(
                "InvalidInstanceId.NotFound",
                format!("You have no instance {id} in {}. Check its ID and the region.", caller.region),
            )
        })
}

/// The instances that a request names, each once: as many as one request may name.
pub(crate) fn instance_ids(ids: &[InstanceId]) -> Result<Vec<InstanceId>, Refusal> {
    const MOST: usize = 100;
    if ids.is_empty() {
        return Err(Refusal::invalid(
            "MissingParameter",
            "InstanceIds is empty. Name at least one instance.",
        ));
    }
    if ids.len() > MOST {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("InstanceIds has {} entries; at most {MOST} are allowed.", ids.len()),
        ));
    }
    let mut ids = ids.to_vec();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// One of the caller's own key pairs.
pub(crate) async fn own_key_pair(tx: &mut Tx, caller: &Caller, id: &KeyPairId) -> Result<KeyPair, Refusal> {
    let pair = tx.key_pair(id).await?.filter(|pair| pair.owner == caller.account.uin);
    pair.ok_or_else(|| {
        Refusal::not_found(
            "InvalidKeyPairId.NotFound",
            format!("You have no key pair {id}. DescribeKeyPairs lists those that you have."),
        )
    })
}

/// One of the caller's own disks in the region of the request, system disks included.
pub(crate) async fn own_disk(tx: &mut Tx, caller: &Caller, id: &DiskId) -> Result<Disk, Refusal> {
    let disk = tx.disk(id).await?;
    disk.filter(|found| found.owner == caller.account.uin && found.region == caller.region)
        .filter(|found| found.state != DiskState::Terminated)
        .ok_or_else(|| {
            Refusal::not_found(
                "InvalidDiskId.NotFound",
                format!("You have no disk {id} in {}. Check its ID and the region.", caller.region),
            )
        })
}

/// One of the caller's own snapshots in the region of the request.
pub(crate) async fn own_snapshot(
    tx: &mut Tx,
    caller: &Caller,
    id: &SnapshotId,
    code: &'static str,
) -> Result<Snapshot, Refusal> {
    let snapshot = tx.snapshot(id).await?;
    snapshot
        .filter(|found| found.owner == caller.account.uin && found.region == caller.region)
        .filter(|found| found.state != SnapshotState::Deleted)
        .ok_or_else(|| {
            Refusal::not_found(
                code,
                format!("You have no snapshot {id} in {}. Check its ID and the region.", caller.region),
            )
        })
}

/// That a snapshot is whole.
pub(crate) fn snapshot_is_normal(snapshot: &Snapshot) -> Result<(), Refusal> {
    if snapshot.state == SnapshotState::Normal {
        return Ok(());
    }
    Err(Refusal::conflict(
        "ResourceUnavailable.SnapshotCreating",
        format!("Snapshot {} is still being made by task {}. Wait for its end.", snapshot.id, snapshot.task),
    ))
}

/// That no other operation works on the instance.
pub(crate) fn instance_is_free(instance: &Instance) -> Result<(), Refusal> {
    let Some(task) = &instance.task else { return Ok(()) };
    Err(Refusal::conflict(
        "MutexOperation.TaskRunning",
        format!("Task {task} is working on instance {}. Wait for its end, then ask again.", instance.id),
    ))
}

/// That the instance is in one of the `allowed` states.
pub(crate) fn instance_state(instance: &Instance, allowed: &[InstanceState]) -> Result<(), Refusal> {
    if allowed.contains(&instance.state) {
        return Ok(());
    }
    let (code, name) = match instance.state {
        InstanceState::Pending => ("UnsupportedOperation.InstanceStatePending", "PENDING"),
        InstanceState::LaunchFailed => ("UnsupportedOperation.InstanceStateLaunchFailed", "LAUNCH_FAILED"),
        InstanceState::Running => ("UnsupportedOperation.InstanceStateRunning", "RUNNING"),
        InstanceState::Stopped => ("UnsupportedOperation.InstanceStateStopped", "STOPPED"),
        InstanceState::Starting => ("UnsupportedOperation.InstanceStateStarting", "STARTING"),
        InstanceState::Stopping => ("UnsupportedOperation.InstanceStateStopping", "STOPPING"),
        InstanceState::Rebooting => ("UnsupportedOperation.InstanceStateRebooting", "REBOOTING"),
        InstanceState::Terminating => ("UnsupportedOperation.InstanceStateTerminating", "TERMINATING"),
        InstanceState::Terminated => ("UnsupportedOperation.InstanceStateTerminated", "TERMINATED"),
    };
    Err(Refusal::conflict(
        code,
        format!("Instance {} is {name}; this cannot be done in that state.", instance.id),
    ))
}

/// A page of a listing: the limit that was asked for, or the default, within what is allowed.
pub(crate) fn page_limit(asked: Option<u64>) -> Result<u64, Refusal> {
    const DEFAULT: u64 = 20;
    const MOST: u64 = 100;
    match asked {
        None => Ok(DEFAULT),
        Some(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        Some(limit) => Err(Refusal::invalid(
            "InvalidParameterValue.Range",
            format!("Limit is {limit}; it must be between 1 and {MOST}."),
        )),
    }
}
