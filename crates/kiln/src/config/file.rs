//! The configuration file, part by part, as it is written; what it means is worked out above.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use kiln_model::LimitsPreset;
use kiln_service::policy::{Preset, Rule};
use serde::Deserialize;

use super::FIRST_UID;

/// The configuration file. Every part is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) api: ApiPart,
    pub(super) tls: TlsPart,
    pub(super) notifications: NotificationsPart,
    pub(super) transfer: TransferPart,
    pub(super) import: ImportPart,
    pub(super) limits: LimitsPart,
    pub(super) sharing: SharingPart,
    pub(super) instances: InstancesPart,
    pub(super) collection: CollectionPart,
    pub(super) nbd: NbdPart,
    pub(super) objects: ObjectsPart,
    pub(super) workers: WorkersPart,
    pub(super) store: StorePart,
    pub(super) regions: Option<Vec<RegionPart>>,
    pub(super) instance_types: Option<Vec<InstanceTypePart>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiPart {
    pub(super) strict_replay: bool,
    pub(super) allow_unsigned_payload: bool,
    pub(super) requests_per_second: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotificationsPart {
    pub(super) smtp: Option<String>,
    pub(super) from: Option<String>,
    pub(super) sms_webhook: Option<String>,
    pub(super) sms_token: Option<String>,
}

/// Written without anything: passwords and tokens are in it.
impl std::fmt::Debug for NotificationsPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotificationsPart")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsPart {
    pub(super) mode: TlsMode,
    pub(super) names: Vec<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// When TLS is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TlsMode {
    /// Where the address that is listened on is not a loopback one.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: secrets of guests and what is asked for can be read on the way, and requests can be sent again.
    Off,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ImportPart {
    pub(super) policy: Preset,
    pub(super) criteria: BTreeMap<String, Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SharingPart {
    pub(super) allow_copies: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TransferPart {
    pub(super) allow_private: Vec<IpNet>,
}

/// What is not given is the preset's. The names are those of `kiln account set-limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsPart {
    pub(super) preset: LimitsPreset,
    pub(super) images_per_region: Option<u32>,
    pub(super) image_operations_per_day: Option<ImageOperations>,
    pub(super) shares_per_image: Option<u32>,
    /// In GiB.
    pub(super) system_disk_size: Option<u32>,
    pub(super) image_name_length: Option<u32>,
    pub(super) image_description_length: Option<u32>,
    pub(super) instances_per_region: Option<u32>,
    pub(super) snapshots_per_region: Option<u32>,
    pub(super) disks_per_region: Option<u32>,
    pub(super) export_tasks: Option<u32>,
}

/// How many image operations a day may have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "give a number, or \"none\" for any number")]
pub(super) enum ImageOperations {
    AtMost(u32),
    Unbounded(Unbounded),
}

/// The word for no bound.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unbounded {
    None,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct InstancesPart {
    pub(super) accelerator: String,
    pub(super) network: String,
    pub(super) first_uid: u32,
    pub(super) power_off_grace_seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CollectionPart {
    pub(super) interval_seconds: u64,
    pub(super) min_age_seconds: u32,
    pub(super) grace_seconds: u32,
    pub(super) max_share_percent: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NbdPart {
    pub(super) listen: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ObjectsPart {
    pub(super) listen: Option<SocketAddr>,
    pub(super) account_gib: u64,
    pub(super) upload_hours: u32,
    pub(super) requests_per_second: u32,
    pub(super) requests_at_once: usize,
    pub(super) allowed_origins: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WorkersPart {
    pub(super) images: usize,
    pub(super) instances: usize,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StorePart {
    pub(super) cache_mib: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionPart {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) name: String,
    pub(super) copying: bool,
    /// Absolute, or in the server's data directory.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) zones: Vec<ZonePart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZonePart {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) number: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceTypePart {
    pub(super) name: String,
    pub(super) vcpus: u32,
    pub(super) memory_gib: f64,
    #[serde(default)]
    pub(super) per_hour: f64,
    #[serde(default)]
    pub(super) per_month: f64,
}

impl Default for ApiPart {
    fn default() -> Self {
        Self { strict_replay: false, allow_unsigned_payload: false, requests_per_second: 100 }
    }
}

impl Default for ImportPart {
    fn default() -> Self {
        Self { policy: Preset::Guide, criteria: BTreeMap::new() }
    }
}

impl Default for InstancesPart {
    fn default() -> Self {
        Self {
            accelerator: "auto".to_owned(),
            network: "isolated".to_owned(),
            first_uid: FIRST_UID,
            power_off_grace_seconds: 60,
        }
    }
}

impl Default for CollectionPart {
    fn default() -> Self {
        Self { interval_seconds: 600, min_age_seconds: 3600, grace_seconds: 86_400, max_share_percent: 10 }
    }
}

impl Default for ObjectsPart {
    fn default() -> Self {
        Self {
            listen: None,
            account_gib: 1024,
            upload_hours: 168,
            requests_per_second: 1000,
            requests_at_once: 64,
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for WorkersPart {
    fn default() -> Self {
        Self { images: 2, instances: 8 }
    }
}

impl Default for StorePart {
    fn default() -> Self {
        Self { cache_mib: 64 }
    }
}
