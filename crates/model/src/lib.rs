//! The nouns of an image service: accounts, images, instances, tasks; their states and how these change.
//!
//! Nothing here reads or writes anything. A persisted state is an enum with one exhaustive, pure `transition`;
//! whoever stores a state asks it first. Deliberately absent: SQL, HTTP, and the wire's names for things.

mod account;
mod contact;
mod cors;
mod disk;
mod id;
mod image;
mod instance;
mod limits;
mod market;
mod message;
mod object;
mod place;
mod price;
mod snapshot;
mod tag;
mod task;
mod time;
mod usage;

pub use account::{
    Account, ApiKey, ApplicationEvent, ApplicationState, ImportApplication, KeyPair, Role, SubAccount,
    SubAccountRole,
};
pub use contact::{Contact, Email, Phone};
pub use cors::{CORS_METHODS, CorsRule};
pub use disk::{Attachment, Disk, DiskEvent, DiskState};
pub use id::{
    AppId, DiskId, ImageId, InstanceId, KeyPairId, ListingId, ManifestKey, ObjectId, PackKey, ParseIdError,
    PartId, RegionId, SecretId, SnapshotId, TaskId, Uin, UploadId, ZoneId,
};
pub use image::{
    Architecture, BootMode, DiskUsage, Failure, IllegalTransition, Image, ImageDisk, ImageEvent, ImageKind,
    ImageOrigin, ImageShare, ImageState, ImportClaim, LicenseType, SystemFacts,
};
pub use instance::{
    Components, GuestChange, GuestPassword, Instance, InstanceEvent, InstanceState, InstanceType,
    LastOperation, LaunchSettings, OperationState,
};
pub use limits::{Limits, LimitsPreset};
pub use market::{Listing, ListingEvent, ListingState, Provider};
pub use message::{Channel, Delivery, DeliveryEvent, DeliveryState, Message, MessageEvent};
pub use object::{Bucket, BucketName, Object, ObjectDescription, Part, Upload};
pub use place::{Region, Zone};
pub use price::{Money, Price};
pub use snapshot::{Snapshot, SnapshotEvent, SnapshotState};
pub use tag::{Resource, Tag};
pub use task::{ExportFile, ExportFormat, StopMode, Task, TaskEvent, TaskKind, TaskProgress, TaskState};
pub use time::Timestamp;
pub use usage::{EarningsLine, Month, UsageLine, UsageRecord, earnings};
