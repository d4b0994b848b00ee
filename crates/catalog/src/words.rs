//! How the model's enums are written in columns. The words are for ever: rows carry them.

use kiln_model::{
    ApplicationState, Architecture, BootMode, Channel, DeliveryState, DiskState, DiskUsage, ImageKind,
    ImageState, InstanceState, LicenseType, ListingState, MessageEvent, OperationState, Role, SnapshotState,
    SubAccountRole, TaskState,
};

use crate::{ImageView, StoreState};

/// An enum that a column holds as a word.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every value and its word.
    const WORDS: &'static [(Self, &'static str)];

    /// The word of this value.
    fn word(self) -> &'static str;

    /// The value of a word.
    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
    }
}

macro_rules! words {
    ($name:ident { $($value:ident = $word:literal),+ $(,)? }) => {
        impl Word for $name {
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$value, $word)),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }
        }
    };
}

words!(Role { Operator = "operator", Main = "main" });
words!(SubAccountRole { Full = "full", ReadOnly = "read_only" });
words!(ApplicationState { Pending = "pending", Granted = "granted", Refused = "refused" });
words!(Channel { Email = "email", Sms = "sms" });
words!(DeliveryState { Pending = "pending", Sent = "sent", GivenUp = "given_up" });
words!(MessageEvent {
    ImportSucceeded = "import_succeeded",
    ImportFailed = "import_failed",
    ImageShared = "image_shared",
    ShareCancelled = "share_cancelled",
    ImportPermissionRequested = "import_permission_requested",
    ImportPermissionGranted = "import_permission_granted",
    ImportPermissionRefused = "import_permission_refused",
    ProviderRequested = "provider_requested",
    ProviderAccepted = "provider_accepted",
    ProviderRefused = "provider_refused",
    ListingSubmitted = "listing_submitted",
    ListingPublished = "listing_published",
    ListingReturned = "listing_returned",
    ListingWithdrawn = "listing_withdrawn",
});
words!(LicenseType { TencentCloud = "tencent_cloud", Byol = "byol" });
words!(ImageKind { Public = "public", Market = "market", Custom = "custom" });
words!(ImageState {
    Creating = "creating",
    Importing = "importing",
    Syncing = "syncing",
    Normal = "normal",
    CreateFailed = "create_failed",
    ImportFailed = "import_failed",
    Deleted = "deleted",
});
words!(ListingState {
    Submitted = "submitted",
    Published = "published",
    Returned = "returned",
    Withdrawn = "withdrawn",
    Replaced = "replaced",
});
words!(ImageView { Own = "own", Shared = "shared", Public = "public", Market = "market" });
words!(Architecture { X86_64 = "x86_64", I386 = "i386", Arm64 = "arm64" });
words!(BootMode { Bios = "bios", Uefi = "uefi" });
words!(DiskState {
    Unattached = "unattached",
    Attaching = "attaching",
    Attached = "attached",
    Detaching = "detaching",
    Terminated = "terminated",
});
words!(SnapshotState { Creating = "creating", Normal = "normal", Deleted = "deleted" });
words!(DiskUsage { System = "system", Data = "data" });
words!(InstanceState {
    Pending = "pending",
    LaunchFailed = "launch_failed",
    Running = "running",
    Stopped = "stopped",
    Starting = "starting",
    Stopping = "stopping",
    Rebooting = "rebooting",
    Terminating = "terminating",
    Terminated = "terminated",
});
words!(OperationState { Operating = "operating", Success = "success", Failed = "failed" });
words!(TaskState {
    Queued = "queued",
    Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Cancelled = "cancelled",
});
words!(StoreState { Pending = "pending", Live = "live", Condemned = "condemned" });
