//! The nouns of an image service: accounts, images, instances, tasks; their states and how these change.
//!
//! Nothing here reads or writes anything. A persisted state is an enum with one exhaustive, pure `transition`;
//! whoever stores a state asks it first. Deliberately absent: SQL, HTTP, and the wire's names for things.

mod account;
mod id;
mod image;
mod instance;
mod limits;
mod object;
mod place;
mod task;
mod time;

pub use account::{Account, ApiKey, KeyPair, Role};
pub use id::{
    AppId, DiskId, ImageId, InstanceId, KeyPairId, ManifestKey, ObjectId, PackKey, ParseIdError, PartId,
    RegionId, SecretId, SnapshotId, TaskId, Uin, UploadId, ZoneId,
};
pub use image::{
    Architecture, BootMode, DiskUsage, Failure, IllegalTransition, Image, ImageDisk, ImageEvent, ImageKind,
    ImageOrigin, ImageShare, ImageState, ImportClaim, LicenseType, SystemFacts,
};
pub use instance::{
    Instance, InstanceEvent, InstanceState, InstanceType, LastOperation, LaunchSettings, OperationState,
};
pub use limits::{Limits, LimitsPreset};
pub use object::{Bucket, BucketName, Object, ObjectDescription, Part, Upload};
pub use place::{Region, Zone};
pub use task::{StopMode, Task, TaskEvent, TaskKind, TaskProgress, TaskState};
pub use time::Timestamp;
