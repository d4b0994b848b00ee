//! The data disks that a launch makes: those of a whole-machine image, and those that the request names.

use kiln_catalog::Tx;
use kiln_model::{Attachment, DiskUsage, Image, ImageDisk, InstanceId, ZoneId};

use super::cbs_checks;
use super::disks::{self, Content, ContentCodes};
use crate::{Caller, NewDataDisk, Refusal, RunInstances};

const CVM: ContentCodes = ContentCodes {
    size: "DataDisks.DiskSize",
    range: "InvalidParameterValue.Range",
    not_found: "InvalidParameter.SnapshotNotFound",
    no_data: "InvalidParameter.SnapshotNotFound",
    too_small: "FailedOperation.SnapshotSizeLargerThanDataSize",
};

/// A data disk that each instance of a request gets.
pub(super) struct LaunchDisk {
    name: Option<String>,
    content: Content,
    delete_with_instance: bool,
}

/// The form of the data disks of a request.
pub(super) fn check_form(data_disks: &[NewDataDisk]) -> Result<(), Refusal> {
    for disk in data_disks {
        cbs_checks::name(disk.name.as_deref(), "DataDisks.DiskName")?;
    }
    Ok(())
}

/// What data disks an instance gets: the image's in their order, then the others. A request that names the snapshot of an
/// image's disk says how large that disk becomes, what it is called, and whether it goes with its instance.
pub(super) async fn plan(
    tx: &mut Tx,
    caller: &Caller,
    request: &RunInstances,
    image: &Image,
) -> Result<Vec<LaunchDisk>, Refusal> {
    let of_image: Vec<&ImageDisk> = image.disks.iter().filter(|disk| disk.usage == DiskUsage::Data).collect();
    let is_of = |wanted: &NewDataDisk, disk: &ImageDisk| wanted.snapshot.as_ref() == Some(&disk.snapshot);
    let mut planned = Vec::new();
    for disk in &of_image {
        let wanted = request.data_disks.iter().find(|wanted| is_of(wanted, disk));
        let asked = disks::asked_bytes(wanted.map(|wanted| wanted.size_gib), &CVM)?;
        let content = Content::of(&disk.snapshot, Some(disk.manifest.clone()), disk.size_bytes, asked, &CVM)?;
        planned.push(LaunchDisk {
            name: wanted.and_then(|wanted| wanted.name.clone()),
            content,
            delete_with_instance: wanted.is_none_or(|wanted| wanted.delete_with_instance),
        });
    }
    for wanted in &request.data_disks {
        if of_image.iter().any(|disk| is_of(wanted, disk)) {
            continue;
        }
        let content =
            disks::content(tx, caller, Some(wanted.size_gib), wanted.snapshot.as_ref(), &CVM).await?;
        let (name, delete_with_instance) = (wanted.name.clone(), wanted.delete_with_instance);
        planned.push(LaunchDisk { name, content, delete_with_instance });
    }
    let most = usize::from(kiln_qemu::MAX_DATA_DISKS);
    if planned.len() > most {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!(
                "An instance would have {} data disks; it can have {most}. Ask for fewer.",
                planned.len()
            ),
        ));
    }
    Ok(planned)
}

/// Records the data disks of a new instance.
pub(super) async fn insert(
    tx: &mut Tx,
    caller: &Caller,
    planned: &[LaunchDisk],
    instance: &InstanceId,
    zone: &ZoneId,
) -> Result<(), Refusal> {
    for (disk, slot) in planned.iter().zip(0..) {
        let at = Attachment { instance: instance.clone(), slot };
        let at = Some((at, disk.delete_with_instance));
        disks::NewDisk { name: disk.name.as_deref(), zone, content: &disk.content, at }
            .insert(tx, caller)
            .await?;
    }
    Ok(())
}
