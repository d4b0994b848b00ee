//! The catalogue: what exists, in SQL. Accounts, keys, images, shares, instances, tasks, and what the stores hold.
//!
//! [`Catalog`] opens transactions, [`Tx`] has a small method per query. A method stores, finds or counts; it checks
//! what keeps the rows consistent (unique names, legal transitions, fences, reference counts) and nothing else.
//!
//! Deliberately absent: rules. Who may do what, limits and refusals are the service's, which checks them in the
//! transaction that acts on the answer. There is no clock either: methods that need the time are given it.
//!
//! Invariants: a state changes only by the model's `transition`; a task's rows change only under its present
//! fence; a pack or manifest is condemned and forgotten only without references (the eight rules of `garbage`).
//!
//! The SQL is what SQLite and PostgreSQL both take; only SQLite is connected so far.

mod accounts;
mod buckets;
mod catalog;
mod client_tokens;
mod column;
mod disk_list;
mod disks;
mod error;
mod garbage;
mod image_components;
mod image_fees;
mod image_list;
mod image_operations;
mod image_reports;
mod images;
mod import_applications;
mod instance_list;
mod instances;
mod keys;
mod leases;
mod manifests;
mod market;
mod messages;
mod objects;
mod operation_log;
mod packs;
mod shares;
mod snapshot_list;
mod snapshots;
mod store_state;
mod sub_accounts;
mod tags;
mod tasks;
mod uploads;
mod usage;
mod words;

pub use catalog::{Catalog, Tx};
pub use client_tokens::ClientTokenUse;
pub use disk_list::DiskQuery;
pub use error::{Error, Result, Unique};
pub use garbage::{StoreKey, StoreObject, StoreTotals};
pub use image_list::{ImageQuery, ImageView, ListedImage};
pub use import_applications::ImportApplicationQuery;
pub use instance_list::InstanceQuery;
pub use keys::KeyHolder;
pub use manifests::{ManifestRow, PublishedManifest};
pub use market::ListingQuery;
pub use messages::{DueDelivery, NewMessage};
pub use operation_log::{OperationEntry, OperationOutcome, OperationQuery};
pub use snapshot_list::SnapshotQuery;
pub use snapshots::SnapshotTotals;
pub use store_state::{StoreEvent, StoreState};
pub use tags::TagCondition;
pub use tasks::TaskQuery;
pub use usage::UsageQuery;

/// How many rows a list gives when nothing else is asked for.
pub const DEFAULT_LIST_LIMIT: u64 = 20;
