//! What can be said on the command line about accounts and the operation log. No meaning is given to anything here.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Create an account and print its first key (operator)
    Create {
        /// What people call it
        #[arg(long)]
        nickname: String,
        /// Let it import images
        #[arg(long)]
        allow_import: bool,
        /// Where its owner gets e-mail
        #[arg(long)]
        email: Option<String>,
        /// Where its owner gets short messages
        #[arg(long)]
        phone: Option<String>,
    },
    /// List all accounts (operator)
    List,
    /// Show an account: yours, or for the operator any
    Show {
        /// The account's number
        uin: Option<String>,
    },
    /// Change the registered e-mail address and telephone number; empty text removes one
    Contact {
        /// The account's number, for the operator [default: yours]
        uin: Option<String>,
        /// The e-mail address
        #[arg(long)]
        email: Option<String>,
        /// The telephone number, with its country's code
        #[arg(long)]
        phone: Option<String>,
        /// Whether messages are sent by e-mail
        #[arg(long, value_name = "true|false")]
        notify_email: Option<bool>,
        /// Whether messages are sent as short messages
        #[arg(long, value_name = "true|false")]
        notify_sms: Option<bool>,
    },
    /// Apply for the permission to import images
    ApplyImport {
        /// What you want to import, and what for
        #[arg(long)]
        reason: String,
    },
    /// List applications for the permission to import: yours, or for the operator all
    Applications {
        /// Only those that are not decided
        #[arg(long)]
        pending: bool,
    },
    /// Let an account import images, or stop or refuse it; its application is decided with it (operator)
    AllowImport {
        /// The account's number
        uin: String,
        /// Take the permission away, or refuse it
        #[arg(long)]
        revoke: bool,
        /// What the applicant is told with it
        #[arg(long, default_value = "")]
        answer: String,
    },
    /// Show what an account may have and do in a region, and what it uses
    Limits {
        /// The account's number, for the operator [default: yours]
        uin: Option<String>,
    },
    /// Give an account limits of its own; what is not named stays (operator)
    SetLimits(SetLimits),
    /// Sub-accounts: collaborators with keys of their own
    #[command(subcommand)]
    Sub(SubAccountCommand),
    /// Keys that sign requests
    #[command(subcommand)]
    Key(ApiKeyCommand),
}

#[derive(Debug, Args)]
pub(crate) struct SetLimits {
    /// The account's number
    pub(crate) uin: String,
    #[command(flatten)]
    pub(crate) wanted: WantedLimits,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct WantedLimits {
    /// The configuration's limits again
    #[arg(long)]
    pub(crate) reset: bool,
    /// Custom images per region
    #[arg(long)]
    pub(crate) images_per_region: Option<u32>,
    /// Operations that make an image, per region and day: a number, or none for any number
    #[arg(long)]
    pub(crate) image_operations_per_day: Option<String>,
    /// Accounts that an image can be shared with
    #[arg(long)]
    pub(crate) shares_per_image: Option<u32>,
    /// GiB of an image's system disk
    #[arg(long)]
    pub(crate) system_disk_size: Option<u32>,
    /// Characters of an image's name
    #[arg(long)]
    pub(crate) image_name_length: Option<u32>,
    /// Characters of an image's description
    #[arg(long)]
    pub(crate) image_description_length: Option<u32>,
    /// Instances per region
    #[arg(long)]
    pub(crate) instances_per_region: Option<u32>,
    /// Snapshots per region
    #[arg(long)]
    pub(crate) snapshots_per_region: Option<u32>,
    /// Data disks per region
    #[arg(long)]
    pub(crate) disks_per_region: Option<u32>,
    /// Requests per second
    #[arg(long)]
    pub(crate) requests_per_second: Option<u32>,
    /// Exports to buckets at once
    #[arg(long)]
    pub(crate) export_tasks: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SubAccountRole {
    /// May do what the main account may, but for accounts, others' keys and sharing
    Full,
    /// May look
    ReadOnly,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubAccountCommand {
    /// Create a sub-account and print its first key
    Create {
        /// What you call it
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: SubAccountRole,
    },
    /// List your sub-accounts
    List {
        /// The main account's number, for the operator [default: yours]
        uin: Option<String>,
    },
    /// Change what a sub-account may do
    Role {
        /// The sub-account's number
        uin: String,
        /// What it may do from now on
        #[arg(value_enum)]
        role: SubAccountRole,
    },
    /// Delete a sub-account and its keys; what it made stays yours
    Delete {
        /// The sub-account's number
        uin: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Create a key and print it; its secret is not shown again
    Create {
        /// The number of one of your sub-accounts; for the operator of anybody [default: yours]
        uin: Option<String>,
    },
    /// List keys, without their secrets
    List {
        /// The number of one of your sub-accounts; for the operator of anybody [default: yours]
        uin: Option<String>,
    },
    /// Let a key sign again
    Enable {
        /// Its SecretId
        key: String,
    },
    /// Stop a key from signing
    Disable {
        /// Its SecretId
        key: String,
    },
    /// Delete a key
    Delete {
        /// Its SecretId
        key: String,
    },
}

/// Which operations are shown.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Of this account and its sub-accounts (operator)
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// Done by this account or sub-account itself
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Such as DeleteImages
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Done to this: an image, an instance, an account, …
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Only what was refused
    #[arg(long)]
    pub(crate) refused: bool,
    /// Not before this time, such as 2026-11-24T03:54:00Z
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Before this time
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// How many are skipped, counted from the newest
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
    /// How many are shown at most, up to 100
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u64,
}
