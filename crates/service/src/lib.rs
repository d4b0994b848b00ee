//! The use cases of Kiln: the only place with rules.
//!
//! An adapter turns what came over its wire into a [`Command`], calls [`Service::perform`], and renders the
//! [`Answer`] or the [`Refusal`]. Every use case is a file in `actions`; long work is a task, done by a file in
//! `jobs`. Checks stand in every use case in one order: who asks, whether the request is well formed, whether what
//! it names exists for the caller, states, names, limits.

mod account_command;
mod actions;
mod checks;
mod collection;
mod command;
mod config;
mod confined;
mod disk_command;
mod exports;
mod guest_settings;
mod jobs;
mod judgement;
mod key_pair_command;
mod ledger;
mod machine_disks;
mod machines;
mod maintenance;
mod market_command;
mod notifications;
mod objects;
pub mod policy;
mod price_command;
mod public_image_command;
mod rate_limit;
mod recent;
mod refusal;
mod region_store;
mod service;
mod snapshot_command;
mod tagging;
mod tickets;
mod usage;

pub use account_command::*;
pub use actions::OpenScreen;
pub use collection::{CollectionReport, collect_garbage};
pub use command::*;
pub use config::{CollectionConfig, InstanceConfig, InstanceNetwork, NotificationConfig, ServiceConfig};
pub use confined::{Confined, Unfinished, work_confined};
pub use disk_command::{AttachDisks, CreateDisks, DescribeDisks, DiskCommand, NewDataDisk, SeenDisk};
pub use guest_settings::{
    GuestCommand, ModifyInstancesAttribute, ModifyInstancesKeyPairs, ResetInstance, ResetInstancesPassword,
};
pub use judgement::{Judgement, JudgementError, judge};
pub use key_pair_command::{KeyPairCommand, PrivateKey, SeenKeyPair};
pub use kiln_catalog::{ImageView, KeyHolder, OperationEntry, OperationOutcome};
pub use maintenance::{StoreCheck, check_store};
pub use market_command::{
    DescribeListings, Listings, MarketCommand, ModifyProvider, Providers, ReviewListing, SeenListing,
    SubmitListing,
};
pub use objects::{
    CompletedPart, CopyObject, HostNames, ListObjects, ObjectConfig, ObjectPage, OpenObject, PartEtag,
    PutCondition, PutObject, PutPart, UploadPage, names_of_host,
};
pub use price_command::{InquirePriceResetInstance, InquirePriceRunInstances, PriceCommand, Quote};
pub use public_image_command::{PublicImageCommand, PublishImage, WithdrawImage};
pub use rate_limit::RateLimit;
pub use refusal::{Refusal, RefusalKind};
pub use service::{Service, StartError};
pub use snapshot_command::{CreateSnapshot, DescribeSnapshots, SeenSnapshot, SnapshotCommand};
pub use tagging::{DescribeResourceTags, ModifyResourceTags, TagCommand, TagFailure, TagTarget};
pub use usage::{DescribeUsage, Earnings, Usage, UsageCommand, UsageReport};
