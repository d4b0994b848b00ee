//! Commands: everything a caller can ask for, as one closed enum of plain data.
//!
//! Adapters parse the wire into a [`Command`] and render the [`Answer`]; nothing of the wire's own shapes gets past
//! them. Whether a command changes anything is decided here, once.

use std::sync::Arc;

use kiln_catalog::ImageView;
use kiln_model::{
    Account, ApiKey, AppId, Components, Disk, DiskId, ExportFormat, Image, ImageId, ImageShare, ImageState,
    ImportClaim, Instance, InstanceId, InstanceType, KeyPairId, ListingId, Region, RegionId, SnapshotId,
    StopMode, SubAccount, Tag, Task, TaskId, ZoneId,
};

use crate::account_command::{
    AccountCommand, AccountQuota, AccountSummary, CreatedSubAccount, Identity, ImportApplications, LimitUse,
    Messages, Operations,
};
use crate::disk_command::{DiskCommand, NewDataDisk, SeenDisk};
use crate::guest_settings::GuestCommand;
use crate::key_pair_command::{KeyPairCommand, PrivateKey, SeenKeyPair};
use crate::market_command::{Listings, MarketCommand, Providers};
use crate::policy::{Report, SupportedOs};
use crate::price_command::{PriceCommand, Quote};
use crate::public_image_command::PublicImageCommand;
use crate::snapshot_command::{SeenSnapshot, SnapshotCommand};
use crate::tagging::{TagCommand, TagFailure};
use crate::usage::{Earnings, Usage, UsageCommand};

/// A request for something to be done or told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum Command {
    DescribeRegions,
    DescribeZones,
    GetCallerIdentity,
    ImportImage(ImportImage),
    CreateImage(CreateImage),
    SyncImages(SyncImages),
    ExportImages(ExportImages),
    DescribeImages(DescribeImages),
    DescribeImageFromFamily(String),
    DescribeImageQuota,
    ModifyImageAttribute(ModifyImageAttribute),
    ModifyImageSharePermission(ModifyImageSharePermission),
    DescribeImageSharePermission { image: ImageId },
    DescribeImportImageOs,
    DescribeImageReport { image: ImageId },
    DeleteImages(DeleteImages),
    RunInstances(RunInstances),
    DescribeInstances(DescribeInstances),
    StartInstances { instances: Vec<InstanceId> },
    StopInstances { instances: Vec<InstanceId>, stop: StopMode },
    RebootInstances { instances: Vec<InstanceId>, stop: StopMode },
    TerminateInstances { instances: Vec<InstanceId>, dry_run: bool },
    Disk(DiskCommand),
    Snapshot(SnapshotCommand),
    KeyPair(KeyPairCommand),
    Guest(GuestCommand),
    Price(PriceCommand),
    PublicImage(PublicImageCommand),
    Tag(TagCommand),
    Market(MarketCommand),
    Usage(UsageCommand),
    DescribeAccountQuota { filters: Vec<Filter> },
    DescribeTasks(DescribeTasks),
    CancelTask { task: TaskId },
    OpenImageExport { image: ImageId, transport: ExportTransport },
    DescribeInstanceConnection { instance: InstanceId },
    DescribeInstanceVncUrl { instance: InstanceId },
    DescribeStores,
    DescribeActions,
    Account(AccountCommand),
    DescribeObjectStorage,
}

impl Command {
    /// Whether carrying it out can change anything. Only such commands go into the operation log.
    pub fn changes(&self) -> bool {
        match self {
            Self::Account(command) => return command.changes(),
            Self::Disk(command) => return command.changes(),
            Self::Snapshot(command) => return command.changes(),
            Self::KeyPair(command) => return command.changes(),
            Self::Guest(command) => return command.changes(),
            Self::Price(command) => return command.changes(),
            Self::PublicImage(command) => return command.changes(),
            Self::Tag(command) => return command.changes(),
            Self::Market(command) => return command.changes(),
            _ => {}
        }
        !matches!(
            self,
            Self::DescribeRegions
                | Self::DescribeZones
                | Self::GetCallerIdentity
                | Self::DescribeImages(_)
                | Self::DescribeImageFromFamily(_)
                | Self::DescribeImageQuota
                | Self::DescribeImageSharePermission { .. }
                | Self::DescribeImportImageOs
                | Self::DescribeImageReport { .. }
                | Self::DescribeInstances(_)
                | Self::DescribeTasks(_)
                | Self::DescribeInstanceConnection { .. }
                | Self::DescribeInstanceVncUrl { .. }
                | Self::DescribeStores
                | Self::DescribeAccountQuota { .. }
                | Self::DescribeActions
                | Self::DescribeObjectStorage
                | Self::Usage(_)
        )
    }
}

/// Fetches an image file and makes an image of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ImportImage {
    pub name: String,
    pub description: String,
    /// Where the file is: `http://` or `https://`.
    pub url: String,
    /// The SHA-256 that the file must have, in hexadecimal.
    pub sha256: Option<String>,
    /// What the importer says is in it.
    pub claim: ImportClaim,
    /// Whether it becomes an image for everybody.
    pub public: bool,
    pub family: String,
    pub tags: Vec<Tag>,
    pub dry_run: bool,
}

/// Makes an image of an instance's disks, or of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreateImage {
    pub name: String,
    pub description: String,
    /// The source, where snapshots are not.
    pub instance: Option<InstanceId>,
    /// The source, where the instance is not; one of them of a system disk.
    pub snapshots: Vec<SnapshotId>,
    /// The instance's data disks that are part of the image.
    pub data_disks: Vec<DiskId>,
    /// Whether a running instance is switched off first.
    pub power_off: bool,
    pub family: String,
    pub tags: Vec<Tag>,
    pub dry_run: bool,
}

/// Copies an image into other regions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SyncImages {
    pub images: Vec<ImageId>,
    pub destinations: Vec<RegionId>,
    /// The copies' name; that of the image where absent.
    pub name: Option<String>,
    pub dry_run: bool,
}

/// Writes images into a bucket as image files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ExportImages {
    pub images: Vec<ImageId>,
    /// With or without the account's number at its end.
    pub bucket: String,
    pub format: ExportFormat,
    /// What the names of an image's files begin with: one for each image, or none.
    pub prefixes: Vec<String>,
    pub only_system_disk: bool,
    pub dry_run: bool,
}

/// A condition on what is listed: values of one filter are alternatives, filters are conjoined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

/// Lists the images that the caller sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeImages {
    pub images: Vec<ImageId>,
    pub filters: Vec<Filter>,
    /// Only those in one of these states, where any is named.
    pub states: Vec<ImageState>,
    /// Only those of which a copy is being made, or those of which none is.
    pub being_copied: Option<bool>,
    pub offset: u64,
    /// Absent: the default of 20.
    pub limit: Option<u64>,
}

/// Changes what an image's owner says about it. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyImageAttribute {
    pub image: ImageId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub family: Option<String>,
    pub deprecated: Option<bool>,
}

/// Shares an image with accounts, or stops sharing it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyImageSharePermission {
    pub image: ImageId,
    /// As they came; each must be an account's number.
    pub accounts: Vec<String>,
    pub share: bool,
}

/// Deletes images: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DeleteImages {
    pub images: Vec<ImageId>,
    /// Whether the snapshots that they were made of go as well.
    pub with_snapshots: bool,
    pub dry_run: bool,
}

/// Launches instances.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct RunInstances {
    pub image: ImageId,
    pub zone: Option<ZoneId>,
    pub instance_type: Option<String>,
    pub count: u32,
    pub name: Option<String>,
    pub hostname: Option<String>,
    pub password: Option<String>,
    pub key_pairs: Vec<KeyPairId>,
    pub user_data_base64: Option<String>,
    /// Whether the guest gets the image's components; where absent, guests of public images do.
    pub security_service: Option<bool>,
    /// The system disk's size in GiB; the image's size where absent.
    pub system_disk_gib: Option<u64>,
    /// The data disks that each instance gets.
    pub data_disks: Vec<NewDataDisk>,
    pub tags: Vec<Tag>,
    /// Makes a repeated request answer with what the first one launched.
    pub client_token: Option<String>,
    pub dry_run: bool,
}

/// Lists the caller's instances.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeInstances {
    pub instances: Vec<InstanceId>,
    pub filters: Vec<Filter>,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// Lists tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeTasks {
    pub tasks: Vec<TaskId>,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// How an export is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTransport {
    /// A socket on the server's machine, for its operator.
    Unix,
    /// The configured TCP listener, under a name that cannot be guessed.
    Tcp,
}

/// An image as a viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenImage {
    /// The image.
    pub image: Image,
    /// How the viewer sees it.
    pub view: ImageView,
    /// How far the task that makes it has come, 0 to 100.
    pub percent: u8,
    /// Whether an unfinished copy of it is being made.
    pub being_copied: bool,
    /// The viewer's own tags on it.
    pub tags: Vec<Tag>,
}

/// A page of a list of images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagePage {
    /// The images of the page.
    pub images: Vec<SeenImage>,
    /// How many are in the whole list.
    pub total: u64,
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant names what it holds")]
pub enum Answer {
    Done,
    /// A dry run found nothing against it.
    DryRunPassed,
    Regions(Vec<Region>),
    Identity(Identity),
    /// `limit` is what the caller may have; `used` what there is.
    ImageQuota {
        limit: u32,
        used: u32,
    },
    /// The image that is being made, and the task that makes it.
    ImageAccepted {
        image: ImageId,
        task: TaskId,
    },
    /// The task that writes image files, and the keys of these.
    ExportAccepted {
        task: TaskId,
        keys: Vec<String>,
    },
    /// One copy per destination region.
    CopiesAccepted(Vec<AcceptedCopy>),
    /// Shared, since the same page is answered again and again.
    Images(Arc<ImagePage>),
    /// The newest image of a family, if it has one.
    FamilyImage(Option<Box<SeenImage>>),
    /// Whom an image is shared with, and with how many it may be.
    Shares {
        shares: Vec<ImageShare>,
        limit: u32,
    },
    ImportImageOs(SupportedOs),
    /// What was found in an image; absent where it was never inspected.
    ImageReport {
        image: ImageId,
        report: Option<Report>,
    },
    Launched(Vec<InstanceId>),
    Instances {
        instances: Vec<SeenInstance>,
        total: u64,
    },
    SnapshotAccepted(SnapshotId),
    Snapshots {
        snapshots: Vec<SeenSnapshot>,
        total: u64,
    },
    DisksCreated(Vec<DiskId>),
    Disks {
        disks: Vec<SeenDisk>,
        total: u64,
    },
    KeyPairs(Vec<SeenKeyPair>),
    /// A new key pair, and the half of it that is kept nowhere.
    KeyPairCreated {
        pair: SeenKeyPair,
        private_key: PrivateKey,
    },
    /// The instances that user data were asked of.
    InstancesAttributes(Vec<Instance>),
    /// Each type of instance in each zone that has it.
    InstanceTypes(Vec<(ZoneId, InstanceType)>),
    Quote(Quote),
    /// What guests of an image get at their first boot.
    Components(Components),
    ListingAccepted(ListingId),
    Listings(Listings),
    Providers(Providers),
    Usage(Usage),
    Earnings(Earnings),
    /// Tags with the identifiers of the resources that they are on.
    ResourceTags {
        tags: Vec<(String, Tag)>,
        total: u64,
    },
    Tagged {
        failures: Vec<TagFailure>,
    },
    /// A new account with its first key.
    AccountCreated {
        account: Account,
        key: ApiKey,
    },
    Accounts(Vec<AccountSummary>),
    Account(AccountSummary),
    SubAccountCreated(CreatedSubAccount),
    SubAccounts(Vec<SubAccount>),
    ImportApplications(ImportApplications),
    Limits(Vec<LimitUse>),
    AccountQuota(AccountQuota),
    Operations(Operations),
    Messages(Messages),
    ApiKeyCreated(ApiKey),
    ApiKeys(Vec<ApiKey>),
    Tasks {
        tasks: Vec<Task>,
        total: u64,
    },
    Export {
        url: String,
    },
    Connection(InstanceConnection),
    /// What [`crate::Service::open_screen`] takes, once and soon.
    Screen {
        ticket: String,
    },
    Stores(Vec<StoreSummary>),
    ObjectStorage(ObjectStorage),
}

/// A copy that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct AcceptedCopy {
    pub region: RegionId,
    pub image: ImageId,
    pub task: TaskId,
}

/// An instance with what its API form needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SeenInstance {
    pub instance: Instance,
    pub os_name: String,
    /// The identifier that the guest finds in its firmware.
    pub uuid: String,
    /// Its data disks, in the order of their places.
    pub data_disks: Vec<Disk>,
    pub tags: Vec<Tag>,
}

/// How to reach a guest from the server's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceConnection {
    /// The loopback port that leads to the guest's SSH.
    pub ssh_port: Option<u16>,
    /// The socket of the serial console, on the server's machine.
    pub console_socket: String,
    /// The newest part of what the serial console printed.
    pub console_tail: String,
}

/// What a region's store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSummary {
    /// The region.
    pub region: RegionId,
    /// Bytes of its packs, as stored.
    pub stored_bytes: u64,
    /// Packs that hold them.
    pub packs: u64,
    /// Manifests: one per stored disk.
    pub manifests: u64,
    /// The sum of the virtual sizes of these disks, in bytes.
    pub logical_bytes: u64,
}

/// An account's buckets as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStorage {
    /// Where objects are served.
    pub address: Option<std::net::SocketAddr>,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// The number that the account's bucket names end with.
    pub app_id: AppId,
    /// The bytes of its objects and unfinished uploads, in all regions.
    pub used_bytes: u64,
    /// The bytes that they may be.
    pub limit_bytes: u64,
}
