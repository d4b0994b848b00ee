//! Commands: everything a caller can ask for, as one closed enum of plain data.
//!
//! Adapters parse the wire into a [`Command`] and render the [`Answer`]; nothing of the wire's own shapes gets past
//! them. Whether a command changes anything is decided here, once.

use kiln_catalog::ImageView;
use kiln_model::{
    Account, ApiKey, AppId, Image, ImageId, ImageShare, ImportClaim, Instance, InstanceId, KeyPair,
    KeyPairId, Limits, Region, RegionId, SecretId, StopMode, Task, TaskId, Uin, ZoneId,
};

use crate::policy::{Report, SupportedOs};

/// Who asks, and where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account whose key signed the request.
    pub account: Account,
    /// The key that signed it.
    pub secret_id: SecretId,
    /// The region that was addressed.
    pub region: RegionId,
    /// The identifier of the request, which tasks and the operation log carry.
    pub request_id: String,
}

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
    DescribeImages(DescribeImages),
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
    ImportKeyPair { name: String, public_key: String },
    DescribeKeyPairs { key_pairs: Vec<KeyPairId> },
    DeleteKeyPairs { key_pairs: Vec<KeyPairId> },
    CreateAccount { nickname: String, may_import: bool },
    DescribeAccounts,
    ModifyImportPermission { account: Uin, allowed: bool },
    ModifyAccountLimits { account: Uin, limits: Option<Limits> },
    CreateApiKey { account: Option<Uin> },
    DescribeApiKeys { account: Option<Uin> },
    ModifyApiKey { secret_id: SecretId, enabled: bool },
    DeleteApiKey { secret_id: SecretId },
    DescribeTasks(DescribeTasks),
    CancelTask { task: TaskId },
    OpenImageExport { image: ImageId, transport: ExportTransport },
    DescribeInstanceConnection { instance: InstanceId },
    DescribeStores,
    DescribeObjectStorage,
}

impl Command {
    /// Whether carrying it out can change anything. Only such commands go into the operation log.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Self::DescribeRegions
                | Self::DescribeZones
                | Self::GetCallerIdentity
                | Self::DescribeImages(_)
                | Self::DescribeImageQuota
                | Self::DescribeImageSharePermission { .. }
                | Self::DescribeImportImageOs
                | Self::DescribeImageReport { .. }
                | Self::DescribeInstances(_)
                | Self::DescribeKeyPairs { .. }
                | Self::DescribeAccounts
                | Self::DescribeApiKeys { .. }
                | Self::DescribeTasks(_)
                | Self::DescribeInstanceConnection { .. }
                | Self::DescribeStores
                | Self::DescribeObjectStorage
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
    /// What the importer says is in it.
    pub claim: ImportClaim,
    pub dry_run: bool,
}

/// Makes an image of an instance's system disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreateImage {
    pub name: String,
    pub description: String,
    /// Absent only where the request named neither instance nor snapshots, or snapshots instead.
    pub instance: Option<InstanceId>,
    /// The request's `SnapshotIds`.
    pub snapshots: Vec<String>,
    /// The request's `DataDiskIds`.
    pub data_disks: Vec<String>,
    /// Whether a running instance is switched off first.
    pub power_off: bool,
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

/// A condition on what is listed: values of one filter are alternatives, filters are conjoined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

/// Lists the images that the caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeImages {
    pub images: Vec<ImageId>,
    pub filters: Vec<Filter>,
    pub offset: u64,
    /// Absent: the default of 20.
    pub limit: Option<u64>,
}

/// Renames an image. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyImageAttribute {
    pub image: ImageId,
    pub name: Option<String>,
    pub description: Option<String>,
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
    /// The system disk's size in GiB; the image's size where absent.
    pub system_disk_gib: Option<u64>,
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
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant names what it holds")]
pub enum Answer {
    Done,
    /// A dry run found nothing against it.
    DryRunPassed,
    Regions(Vec<Region>),
    Identity(Account),
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
    /// One copy per destination region.
    CopiesAccepted(Vec<AcceptedCopy>),
    Images {
        images: Vec<SeenImage>,
        total: u64,
    },
    Shares(Vec<ImageShare>),
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
    KeyPairs(Vec<KeyPair>),
    /// A new account with its first key.
    AccountCreated {
        account: Account,
        key: ApiKey,
    },
    Accounts(Vec<AccountSummary>),
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
}

/// An account, as its operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct AccountSummary {
    pub account: Account,
    pub limits: Limits,
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
    /// The number that the account's bucket names end with.
    pub app_id: AppId,
    /// The bytes of its objects and unfinished uploads, in all regions.
    pub used_bytes: u64,
    /// The bytes that they may be.
    pub limit_bytes: u64,
}
