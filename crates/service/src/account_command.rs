//! The parts of commands and answers that are about accounts: who asks, people, permissions, limits, the log.
//!
//! Plain data, as all of `command.rs`.

use kiln_catalog::{OperationEntry, OperationOutcome};
use kiln_model::{
    Account, ApiKey, ApplicationState, Contact, Email, ImportApplication, Limits, Message, Phone, RegionId,
    SecretId, SubAccount, SubAccountRole, Timestamp, Uin, ZoneId,
};

use crate::Command;

/// Who asks, and where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The main account whose resources are meant.
    pub account: Account,
    /// The sub-account that asks; without one, the account itself does.
    pub sub_account: Option<SubAccount>,
    /// The key that signed the request.
    pub secret_id: SecretId,
    /// The region that was addressed.
    pub region: RegionId,
    /// The identifier of the request, which tasks and the operation log carry.
    pub request_id: String,
}

impl Caller {
    /// The number of whoever asks.
    pub fn uin(&self) -> Uin {
        self.sub_account.as_ref().map_or(self.account.uin, |sub_account| sub_account.uin)
    }

    /// Whether the caller may look only.
    pub fn is_read_only(&self) -> bool {
        self.sub_account.as_ref().is_some_and(|sub_account| sub_account.role == SubAccountRole::ReadOnly)
    }
}

/// A request that is about accounts, keys, permissions, limits or the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum AccountCommand {
    CreateAccount(CreateAccount),
    DescribeAccounts,
    DescribeAccount { account: Option<Uin> },
    ModifyAccountContact(ModifyAccountContact),
    CreateSubAccount { name: String, role: SubAccountRole },
    DescribeSubAccounts { account: Option<Uin> },
    ModifySubAccount { sub_account: Uin, role: SubAccountRole },
    DeleteSubAccount { sub_account: Uin },
    ApplyForImportPermission { reason: String },
    DescribeImportApplications(DescribeImportApplications),
    ModifyImportPermission(ModifyImportPermission),
    DescribeLimits { account: Option<Uin> },
    ModifyAccountLimits { account: Uin, limits: Option<Limits> },
    CreateApiKey { account: Option<Uin> },
    DescribeApiKeys { account: Option<Uin> },
    ModifyApiKey { secret_id: SecretId, enabled: bool },
    DeleteApiKey { secret_id: SecretId },
    DescribeOperations(DescribeOperations),
    DescribeMessages { offset: u64, limit: Option<u64> },
}

impl From<AccountCommand> for Command {
    fn from(command: AccountCommand) -> Self {
        Self::Account(command)
    }
}

impl AccountCommand {
    /// Whether carrying it out can change anything.
    pub(crate) fn changes(&self) -> bool {
        !matches!(
            self,
            Self::DescribeAccounts
                | Self::DescribeAccount { .. }
                | Self::DescribeSubAccounts { .. }
                | Self::DescribeImportApplications(_)
                | Self::DescribeLimits { .. }
                | Self::DescribeApiKeys { .. }
                | Self::DescribeOperations(_)
                | Self::DescribeMessages { .. }
        )
    }
}

/// Makes a main account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreateAccount {
    pub nickname: String,
    pub may_import: bool,
    pub contact: Contact,
}

/// Changes where an account's owner is reached. What is absent stays; what is `Some(None)` is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyAccountContact {
    /// The caller's own where absent.
    pub account: Option<Uin>,
    /// The e-mail address.
    pub email: Option<Option<Email>>,
    /// The telephone number.
    pub phone: Option<Option<Phone>>,
    /// Whether messages are sent by e-mail.
    pub notify_email: Option<bool>,
    /// Whether messages are sent as short messages.
    pub notify_sms: Option<bool>,
}

/// Gives an account the permission to import, or refuses or takes it back; an application is decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyImportPermission {
    pub account: Uin,
    pub allowed: bool,
    /// What the applicant is told with it.
    pub answer: String,
}

/// Lists applications for the permission to import: the operator sees all, an account its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeImportApplications {
    pub state: Option<ApplicationState>,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// Lists what the operation log says: the operator sees all, an account what was done in its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribeOperations {
    /// A main account and its sub-accounts.
    pub account: Option<Uin>,
    /// An account or sub-account that did it itself.
    pub actor: Option<Uin>,
    /// An action's name.
    pub action: Option<String>,
    /// An identifier that it was done to.
    pub subject: Option<String>,
    /// A region.
    pub region: Option<RegionId>,
    /// Only what went so.
    pub outcome: Option<OperationOutcome>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: Option<u64>,
}

/// Whoever signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Identity {
    pub account: Account,
    pub sub_account: Option<SubAccount>,
}

/// An account with what its owner and the operator are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct AccountSummary {
    pub account: Account,
    pub limits: Limits,
    /// Whether the limits are the account's own, and not the configuration's.
    pub own_limits: bool,
}

/// A new sub-account with its first key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct CreatedSubAccount {
    pub sub_account: SubAccount,
    pub key: ApiKey,
}

/// A page of applications.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ImportApplications {
    pub applications: Vec<ImportApplication>,
    pub total: u64,
}

/// A page of the operation log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Operations {
    pub operations: Vec<OperationEntry>,
    pub total: u64,
}

/// A page of what an account's owner was told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct Messages {
    pub messages: Vec<Message>,
    pub total: u64,
}

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the limits")]
pub enum LimitKind {
    ImagesPerRegion,
    ImageOperationsPerDay,
    SharesPerImage,
    InstancesPerRegion,
    DisksPerRegion,
    SnapshotsPerRegion,
    SystemDiskGib,
    ImageNameChars,
    ImageDescriptionChars,
    RequestsPerSecond,
    ExportTasks,
    SubAccounts,
    ApiKeys,
}

/// A limit, and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// What it is on.
    pub kind: LimitKind,
    /// How much is allowed; absent: any amount.
    pub allowed: Option<u64>,
    /// How much is used, where it is counted; for shares, by the image that is shared with most.
    pub used: Option<u64>,
    /// When nothing is used any more, where that comes by itself.
    pub renews_at: Option<Timestamp>,
}

/// The amounts that the public API calls an account's quota in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct AccountQuota {
    /// The zones that were asked about.
    pub zones: Vec<ZoneId>,
    pub images_used: u32,
    pub images_allowed: u32,
    pub instances_used: u32,
    pub instances_allowed: u32,
}
