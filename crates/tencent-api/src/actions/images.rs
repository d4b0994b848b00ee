//! What the actions on images take and mean.

use kiln_model::{Architecture, BootMode, ExportFormat, ImportClaim, LicenseType, RegionId, Tag};
use kiln_service::{
    Command, CreateImage, DeleteImages, DescribeImages, ExportImages, Filter, ImportImage,
    ModifyImageAttribute, ModifyImageSharePermission, SyncImages,
};

use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, harmless, only, optional, refused, required};

/// The error code for an image id of the wrong form.
pub(super) const IMAGE_ID: &str = "InvalidImageId.Malformed";
const NO_KEYS: &str = "images are not encrypted; leave it out";

/// A condition of a list.
pub(super) const FILTER: &[Parameter] = &[required("Name", Kind::Text), required("Values", Kind::Texts)];

/// The tags that a new resource gets.
pub(super) const TAG_SPECIFICATION: &[Parameter] =
    &[required("ResourceType", Kind::Text), required("Tags", Kind::Objects(TAG))];
const TAG: &[Parameter] = &[required("Key", Kind::Text), required("Value", Kind::Text)];

/// The tags of a `TagSpecification`, which can only be for resources of the kind that the action makes.
pub(super) fn tags(arguments: &Arguments, kind: &'static str) -> Result<Vec<Tag>, Error> {
    let mut tags = Vec::new();
    for specification in arguments.objects("TagSpecification") {
        specification.choice("ResourceType", &[(kind, ())])?;
        for tag in specification.objects("Tags") {
            tags.push(Tag { key: tag.required_text("Key")?, value: tag.required_text("Value")? });
        }
    }
    Ok(tags)
}

pub(super) const IMPORT: &[Parameter] = &[
    required("Architecture", Kind::Text),
    required("OsType", Kind::Text),
    required("OsVersion", Kind::Text),
    required("ImageUrl", Kind::Text),
    required("ImageName", Kind::Text),
    optional("ImageDescription", Kind::Text),
    optional("DryRun", Kind::Flag),
    optional("Force", Kind::Flag),
    optional("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
    optional("LicenseType", Kind::Text),
    optional("BootMode", Kind::Text),
    optional("ImageFamily", Kind::Text),
    // Kiln's own: what the file must hash to, and PUBLIC_IMAGE for the operator.
    optional("ImageSha256", Kind::Text),
    optional("ImageType", Kind::Text),
    refused(
        "ImportImageDataDiskList",
        "an image has a system disk only; import data disks as images of their own",
    ),
];

pub(super) fn import(arguments: &Arguments) -> Result<Command, Error> {
    let architectures =
        [("x86_64", Architecture::X86_64), ("i386", Architecture::I386), ("arm64", Architecture::Arm64)];
    let missing = || Error::MissingParameter("Architecture".to_owned());
    let boot_modes = [("Legacy BIOS", BootMode::Bios), ("UEFI", BootMode::Uefi)];
    let licenses = [("TencentCloud", LicenseType::TencentCloud), ("BYOL", LicenseType::Byol)];
    let types = [("PRIVATE_IMAGE", false), ("PUBLIC_IMAGE", true)];
    let claim = ImportClaim {
        architecture: arguments.choice("Architecture", &architectures)?.ok_or_else(missing)?,
        os_type: arguments.required_text("OsType")?,
        os_version: arguments.required_text("OsVersion")?,
        boot_mode: arguments.choice("BootMode", &boot_modes)?.unwrap_or(BootMode::Bios),
        force: arguments.flag("Force"),
        license: arguments.choice("LicenseType", &licenses)?.unwrap_or_default(),
    };
    Ok(Command::ImportImage(ImportImage {
        name: arguments.required_text("ImageName")?,
        description: arguments.text("ImageDescription").unwrap_or_default(),
        url: arguments.required_text("ImageUrl")?,
        sha256: arguments.text("ImageSha256"),
        claim,
        public: arguments.choice("ImageType", &types)?.unwrap_or(false),
        family: arguments.text("ImageFamily").unwrap_or_default(),
        tags: tags(arguments, "image")?,
        dry_run: arguments.flag("DryRun"),
    }))
}

pub(super) const CREATE: &[Parameter] = &[
    required("ImageName", Kind::Text),
    optional("InstanceId", Kind::Text),
    optional("ImageDescription", Kind::Text),
    optional("ForcePoweroff", Kind::TextFlag),
    only("Sysprep", Kind::TextFlag, &["false"], "run Sysprep in the instance before"),
    optional("DataDiskIds", Kind::Texts),
    optional("SnapshotIds", Kind::Texts),
    optional("DryRun", Kind::Flag),
    optional("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
    optional("ImageFamily", Kind::Text),
];

pub(super) fn create(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::CreateImage(CreateImage {
        name: arguments.required_text("ImageName")?,
        description: arguments.text("ImageDescription").unwrap_or_default(),
        instance: arguments.id("InstanceId", super::instances::INSTANCE_ID)?,
        snapshots: arguments.ids("SnapshotIds", "InvalidSnapshotId.NotFound")?,
        data_disks: arguments.ids("DataDiskIds", "InvalidParameterValue.InvalidDataDiskId")?,
        power_off: arguments.flag("ForcePoweroff"),
        family: arguments.text("ImageFamily").unwrap_or_default(),
        tags: tags(arguments, "image")?,
        dry_run: arguments.flag("DryRun"),
    }))
}

pub(super) const SYNC: &[Parameter] = &[
    required("ImageIds", Kind::Texts),
    required("DestinationRegions", Kind::Texts),
    optional("DryRun", Kind::Flag),
    optional("ImageName", Kind::Text),
    // The copies' ids are answered in any case.
    harmless("ImageSetRequired", Kind::Flag),
    only("Encrypt", Kind::Flag, &["false"], "images are not encrypted"),
    refused("KmsKeyId", NO_KEYS),
];

pub(super) fn sync(arguments: &Arguments) -> Result<Command, Error> {
    let destinations = arguments.texts("DestinationRegions");
    Ok(Command::SyncImages(SyncImages {
        images: arguments.ids("ImageIds", IMAGE_ID)?,
        // A region's name has no form of its own; whether there is one of that name, the service looks up.
        destinations: destinations.iter().map(RegionId::from_trusted).collect(),
        name: arguments.text("ImageName"),
        dry_run: arguments.flag("DryRun"),
    }))
}

pub(super) const EXPORT: &[Parameter] = &[
    required("BucketName", Kind::Text),
    // The public definition has a second source beside it that nobody may use, and so does not call it required.
    required("ImageIds", Kind::Texts),
    optional("ExportFormat", Kind::Text),
    optional("FileNamePrefixList", Kind::Texts),
    optional("OnlyExportRootDisk", Kind::Flag),
    optional("DryRun", Kind::Flag),
    // Kiln writes into its own buckets, for which it takes no role.
    harmless("RoleName", Kind::Text),
];

pub(super) fn export(arguments: &Arguments) -> Result<Command, Error> {
    let formats = [
        ("RAW", ExportFormat::Raw),
        ("QCOW2", ExportFormat::Qcow2),
        ("VHD", ExportFormat::Vhd),
        ("VMDK", ExportFormat::Vmdk),
    ];
    Ok(Command::ExportImages(ExportImages {
        images: arguments.ids("ImageIds", IMAGE_ID)?,
        bucket: arguments.required_text("BucketName")?,
        format: arguments.choice("ExportFormat", &formats)?.unwrap_or_default(),
        prefixes: arguments.texts("FileNamePrefixList").to_vec(),
        only_system_disk: arguments.flag("OnlyExportRootDisk"),
        dry_run: arguments.flag("DryRun"),
    }))
}

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("ImageIds", Kind::Texts),
    optional("Filters", Kind::Objects(FILTER)),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
    // Every image starts on every size of machine.
    harmless("InstanceType", Kind::Text),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeImages(DescribeImages {
        images: arguments.ids("ImageIds", IMAGE_ID)?,
        filters: filters(arguments)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
        ..DescribeImages::default()
    }))
}

pub(super) const FAMILY: &[Parameter] = &[required("ImageFamily", Kind::Text)];

pub(super) fn from_family(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeImageFromFamily(arguments.required_text("ImageFamily")?))
}

/// The conditions of a list.
pub(super) fn filters(arguments: &Arguments) -> Result<Vec<Filter>, Error> {
    let filter = |given: &Arguments| {
        Ok(Filter { name: given.required_text("Name")?, values: given.texts("Values").to_vec() })
    };
    arguments.objects("Filters").iter().map(filter).collect()
}

pub(super) const MODIFY: &[Parameter] = &[
    required("ImageId", Kind::Text),
    optional("ImageName", Kind::Text),
    optional("ImageDescription", Kind::Text),
    optional("ImageFamily", Kind::Text),
    optional("ImageDeprecated", Kind::Flag),
];

pub(super) fn modify(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::ModifyImageAttribute(ModifyImageAttribute {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        name: arguments.text("ImageName"),
        description: arguments.text("ImageDescription"),
        family: arguments.text("ImageFamily"),
        deprecated: arguments.optional_flag("ImageDeprecated"),
    }))
}

pub(super) const SHARE: &[Parameter] = &[
    required("ImageId", Kind::Text),
    required("AccountIds", Kind::Texts),
    required("Permission", Kind::Text),
];

pub(super) fn share(arguments: &Arguments) -> Result<Command, Error> {
    let missing = || Error::MissingParameter("Permission".to_owned());
    Ok(Command::ModifyImageSharePermission(ModifyImageSharePermission {
        image: arguments.required_id("ImageId", IMAGE_ID)?,
        accounts: arguments.texts("AccountIds").to_vec(),
        share: arguments.choice("Permission", &[("SHARE", true), ("CANCEL", false)])?.ok_or_else(missing)?,
    }))
}

pub(super) const SHARES: &[Parameter] = &[required("ImageId", Kind::Text)];

pub(super) fn report(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeImageReport { image: arguments.required_id("ImageId", IMAGE_ID)? })
}

pub(super) fn shares(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeImageSharePermission { image: arguments.required_id("ImageId", IMAGE_ID)? })
}

pub(super) const DELETE: &[Parameter] = &[
    required("ImageIds", Kind::Texts),
    optional("DeleteBindedSnap", Kind::Flag),
    optional("DryRun", Kind::Flag),
];

pub(super) fn delete(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DeleteImages(DeleteImages {
        images: arguments.ids("ImageIds", IMAGE_ID)?,
        with_snapshots: arguments.flag("DeleteBindedSnap"),
        dry_run: arguments.flag("DryRun"),
    }))
}
