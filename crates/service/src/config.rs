//! What the service is told at its start: plain data, already checked by whoever read the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_chunk_store::CollectionPolicy;
use kiln_model::{InstanceType, Limits, Region, RegionId};
use kiln_notify::{EmailConfig, SmsConfig};
use kiln_qemu::{AcceleratorChoice, Egress};

use crate::confined::Confined;
use crate::objects::ObjectConfig;
use crate::policy::Policy;

/// The service's configuration.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Where everything is kept that the service keeps, but for the data of regions that have another place.
    pub data_dir: PathBuf,
    /// The regions, the first being the default. At least one.
    pub regions: Vec<Region>,
    /// The places of regions' data, where they are said. None is inside another's, or in the way of what else is kept.
    pub region_dirs: BTreeMap<RegionId, PathBuf>,
    /// The sizes that machines come in, the first being the default. At least one.
    pub instance_types: Vec<InstanceType>,
    /// What accounts may have and do, unless theirs is set otherwise.
    pub limits: Limits,
    /// Whom imports may connect to, and how patiently.
    pub transfer: kiln_transfer::Policy,
    /// What images must be to come in.
    pub import_policy: Policy,
    /// Whether whom an image is shared with may copy it, to a custom image of his own in its region.
    pub copies_of_shared_images: bool,
    /// How guests run.
    pub instances: InstanceConfig,
    /// When unused content is removed.
    pub collection: CollectionConfig,
    /// How people are told of what happened.
    pub notifications: NotificationConfig,
    /// Where image exports are served over TCP, if anywhere.
    pub nbd_tcp: Option<SocketAddr>,
    /// Buckets.
    pub objects: ObjectConfig,
    /// Memory for decompressed chunks, per region, in bytes.
    pub chunk_cache_bytes: usize,
    /// The program that does what must not be done in the service's own process (see
    /// [`crate::work_confined`]): the binary itself.
    pub helper: PathBuf,
    /// Tasks on images that are worked on at once.
    pub image_workers: usize,
    /// Tasks on instances that are worked on at once.
    pub instance_workers: usize,
}

/// How guests run.
#[derive(Debug, Clone)]
pub struct InstanceConfig {
    /// How guest code is executed.
    pub accelerator: AcceleratorChoice,
    /// Where QEMU is looked for, in the form of `PATH`.
    pub search_path: std::ffi::OsString,
    /// What network cards are connected to.
    pub network: InstanceNetwork,
    /// QEMU processes run as this user id plus the instance's ordinal, inspections as this one, where the service runs
    /// as root.
    pub first_uid: u32,
    /// How long a guest may take to switch itself off.
    pub power_off_grace: Duration,
}

/// What instances' network cards are connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceNetwork {
    /// QEMU's own user-mode network, one per instance.
    User(Egress),
    /// A bridge of the host.
    Bridge(String),
}

/// How people are told of what happened; where nothing is set, messages are only kept.
#[derive(Debug, Clone, Default)]
pub struct NotificationConfig {
    /// By e-mail.
    pub email: Option<EmailConfig>,
    /// By short messages.
    pub sms: Option<SmsConfig>,
}

/// When unused content is removed.
#[derive(Debug, Clone)]
pub struct CollectionConfig {
    /// Ages, grace, and how much may go at once.
    pub policy: CollectionPolicy,
    /// Time between two collections in the background.
    pub interval: Duration,
}

impl ServiceConfig {
    /// Where the disks of files and images are looked into: no instance's ordinal is 0.
    pub(crate) fn confined(&self) -> Confined {
        Confined::new(self.helper.clone(), self.instances.first_uid)
    }

    /// Where the content of a region's images is.
    pub fn store_dir(&self, region: &RegionId) -> PathBuf {
        self.region_dir(region).join("store")
    }

    /// Where files that are being imported into a region wait.
    pub(crate) fn staging_dir(&self, region: &RegionId) -> PathBuf {
        self.region_dir(region).join("staging")
    }

    /// Where the files of a region's objects are.
    pub(crate) fn objects_dir(&self, region: &RegionId) -> PathBuf {
        self.region_dir(region).join("objects")
    }

    /// Where the data of a region are: its images' content, its objects, and the files that wait.
    pub fn region_dir(&self, region: &RegionId) -> PathBuf {
        match self.region_dirs.get(region) {
            Some(dir) => dir.clone(),
            None => self.data_dir.join("regions").join(region.as_str()),
        }
    }

    /// The socket at which the operator reads images.
    pub fn export_socket(&self) -> PathBuf {
        self.data_dir.join("run").join("nbd.sock")
    }

    /// The SQLite catalogue.
    pub fn catalog_path(data_dir: &Path) -> PathBuf {
        data_dir.join("catalog.sqlite")
    }

    /// Where the files of data disks are. Beside the instances, on one file system with them.
    pub fn disks_dir(&self) -> PathBuf {
        self.data_dir.join("disks")
    }

    /// Where the files of instances are.
    pub fn instances_dir(&self) -> PathBuf {
        self.data_dir.join("instances")
    }
}
