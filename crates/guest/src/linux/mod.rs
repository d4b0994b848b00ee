//! What a Linux system is: distribution, kernels, drivers, cloud-init, network.

pub(crate) mod cloud_init;
pub(crate) mod cpio;
pub(crate) mod decompress;
pub(crate) mod fstab;
pub(crate) mod initramfs;
pub(crate) mod kernel;
pub(crate) mod network;
pub(crate) mod release;
pub(crate) mod yaml;

use serde::{Deserialize, Serialize};

use crate::architecture::{self, Architecture};
use crate::error::Result;
use crate::gap::{Gaps, Part};
use crate::tree::Root;

use cloud_init::CloudInit;
use fstab::Mount;
use kernel::Kernel;
use network::Interface;
use release::Release;

/// A Linux system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linux {
    /// The partition with its root file system; 0 where that is on the whole disk.
    pub root_partition: u32,
    /// What it says it is.
    pub release: Option<Release>,
    /// What its programs are compiled for.
    pub architecture: Option<Architecture>,
    /// Its kernels, the newest first.
    pub kernels: Vec<Kernel>,
    /// Its cloud-init.
    pub cloud_init: CloudInit,
    /// The configuration of its network interfaces, without the loopback's.
    pub interfaces: Vec<Interface>,
    /// What `/etc/fstab` mounts.
    pub mounts: Vec<Mount>,
}

/// Whether a tree is the root of a Linux system, and not a data disk or a separate `/boot`.
pub(crate) fn is_root(root: &Root) -> Result<bool> {
    let mut marks = 0;
    for path in ["/etc/passwd", "/etc/fstab", "/etc/os-release", "/usr/lib/os-release", "/etc/redhat-release"]
    {
        marks += u32::from(root.exists(path)?);
    }
    let has_programs =
        root.exists("/bin/sh")? || root.exists("/sbin/init")? || root.is_directory("/usr/bin")?;
    Ok(marks > 0 && has_programs && root.is_directory("/etc")?)
}

/// Gathers the facts.
pub(crate) fn read(root: &Root, root_partition: u32, mounts: Vec<Mount>, gaps: &mut Gaps) -> Result<Linux> {
    Ok(Linux {
        root_partition,
        release: gaps.keep(Part::System, release::read(root))?,
        architecture: gaps.keep(Part::Architecture, architecture::of_linux(root))?,
        kernels: kernel::read(root, gaps)?,
        cloud_init: gaps.keep(Part::CloudInit, cloud_init::read(root))?,
        interfaces: network::read(root, gaps)?,
        mounts,
    })
}
