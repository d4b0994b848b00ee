//! The use cases of Kiln: the only place with rules.
//!
//! An adapter turns what came over its wire into a [`Command`], calls [`Service::perform`], and renders the
//! [`Answer`] or the [`Refusal`]. Every use case is a file in `actions`; long work is a task, done by a file in
//! `jobs`. Checks stand in every use case in one order: who asks, whether the request is well formed, whether what
//! it names exists for the caller, states, names, limits.

mod actions;
mod checks;
mod collection;
mod command;
mod config;
mod confined;
mod exports;
mod jobs;
mod judgement;
mod ledger;
mod machines;
mod maintenance;
mod objects;
pub mod policy;
mod refusal;
mod region_store;
mod service;

pub use collection::{CollectionReport, collect_garbage};
pub use command::*;
pub use config::{CollectionConfig, InstanceConfig, InstanceNetwork, ServiceConfig};
pub use confined::{Confined, Unfinished, work_confined};
pub use judgement::{Judgement, JudgementError, judge};
pub use kiln_catalog::ImageView;
pub use maintenance::{StoreCheck, check_store};
pub use objects::{
    CompletedPart, CopyObject, HostNames, ListObjects, ObjectConfig, ObjectPage, OpenObject, PutCondition,
    PutObject, PutPart, UploadPage, names_of_host,
};
pub use refusal::{Refusal, RefusalKind};
pub use service::{Service, StartError};
