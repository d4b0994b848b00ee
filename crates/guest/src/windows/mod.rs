//! What a Windows system is: version, edition, architecture, virtio drivers, cloudbase-init.
//!
//! Sources: the registry values that Windows' own setup writes; the virtio-win project's driver and service names.

pub(crate) mod hive;

use serde::{Deserialize, Serialize};

use crate::architecture::{self, Architecture};
use crate::error::{Error, Result};
use crate::gap::{Gaps, Part};
use crate::tree::Root;

use hive::Hive;

/// A Windows system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// The partition with its system files; 0 where that is the whole disk.
    pub root_partition: u32,
    /// As people read it, such as `Windows Server 2012 R2 Standard`.
    pub product_name: String,
    /// Such as `ServerStandard`.
    pub edition_id: String,
    /// Such as `6.3`.
    pub version: String,
    /// Such as 9600.
    pub build: u32,
    /// Which release that is.
    pub release: Option<WindowsRelease>,
    /// What the kernel is compiled for.
    pub architecture: Option<Architecture>,
    /// The virtual disk's driver.
    pub viostor: WindowsDriver,
    /// The virtual network card's driver.
    pub netkvm: WindowsDriver,
    /// When cloudbase-init's service starts, where there is one.
    pub cloudbase_init: Option<Start>,
}

/// A release of Windows, as far as rules tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum WindowsRelease {
    Server2003,
    Server2008,
    Server2008R2,
    Server2012,
    Server2012R2,
    Server2016,
    Server2019,
    Server2022,
    Server2025,
    /// A server release that is not known here.
    OtherServer,
    /// A release for desks.
    Client,
}

/// A driver, as far as it is installed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsDriver {
    /// When its service starts; `None` where there is no such service.
    pub start: Option<Start>,
    /// Whether its file is where drivers are.
    pub has_file: bool,
}

/// When a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Start {
    Boot,
    System,
    Automatic,
    Manual,
    Disabled,
    /// A number that means nothing.
    Unknown(u32),
}

impl WindowsDriver {
    /// Whether the system starts its disk with it.
    pub fn starts_at_boot(self) -> bool {
        self.has_file && self.start == Some(Start::Boot)
    }

    /// Whether the system loads it when it finds the device.
    pub fn is_enabled(self) -> bool {
        let enabled =
            matches!(self.start, Some(Start::Boot | Start::System | Start::Automatic | Start::Manual));
        self.has_file && enabled
    }
}

const SYSTEM: &str = "/Windows/System32/config/SYSTEM";
const SOFTWARE: &str = "/Windows/System32/config/SOFTWARE";
const KERNEL: &str = "/Windows/System32/ntoskrnl.exe";
const DRIVERS: &str = "/Windows/System32/drivers";

/// Whether a volume holds a Windows system.
pub(crate) fn is_root(root: &Root) -> Result<bool> {
    Ok(root.is_file(SYSTEM)? && root.is_file(SOFTWARE)?)
}

/// Gathers the facts.
pub(crate) fn read(root: &Root, root_partition: u32, gaps: &mut Gaps) -> Result<Windows> {
    let mut windows = Windows { root_partition, ..Windows::default() };
    gaps.keep(Part::Registry, read_software(root, &mut windows))?;
    gaps.keep(Part::Registry, read_system(root, &mut windows))?;
    let architecture = gaps.keep(Part::Architecture, architecture::of_program(root, KERNEL))?;
    windows.architecture = architecture.or(windows.architecture);
    for (driver, file) in [(&mut windows.viostor, "viostor.sys"), (&mut windows.netkvm, "netkvm.sys")] {
        driver.has_file = gaps.keep(Part::Drivers, root.is_file(&format!("{DRIVERS}/{file}")))?;
    }
    Ok(windows)
}

fn open<'a>(root: &'a Root, path: &str) -> Result<Hive<'a>> {
    let reader = root.open(path)?.ok_or_else(|| Error::Damaged(format!("{path} is gone")))?;
    Hive::open(reader, root.budget())
}

fn read_software(root: &Root, windows: &mut Windows) -> Result<()> {
    let mut hive = open(root, SOFTWARE)?;
    let Some(key) = hive.key(&["Microsoft", "Windows NT", "CurrentVersion"])? else {
        return Ok(());
    };
    windows.product_name = hive.text(key, "ProductName")?.unwrap_or_default();
    windows.edition_id = hive.text(key, "EditionID")?.unwrap_or_default();
    windows.version = hive.text(key, "CurrentVersion")?.unwrap_or_default();
    // Windows 10 and later go on to say 6.3 there.
    if let Some(major) = hive.number(key, "CurrentMajorVersionNumber")? {
        let minor = hive.number(key, "CurrentMinorVersionNumber")?.unwrap_or(0);
        windows.version = format!("{major}.{minor}");
    }
    let build = match hive.text(key, "CurrentBuild")? {
        Some(build) => Some(build),
        None => hive.text(key, "CurrentBuildNumber")?,
    };
    windows.build = build.and_then(|build| build.parse().ok()).unwrap_or(0);
    let kind = hive.text(key, "InstallationType")?.unwrap_or_default();
    let is_server = kind.starts_with("Server") || windows.product_name.contains("Server");
    windows.release = release(&windows.version, windows.build, is_server);
    Ok(())
}

fn release(version: &str, build: u32, is_server: bool) -> Option<WindowsRelease> {
    if version.is_empty() {
        return None;
    }
    if !is_server {
        return Some(WindowsRelease::Client);
    }
    Some(match (version, build) {
        ("5.2", _) => WindowsRelease::Server2003,
        ("6.0", _) => WindowsRelease::Server2008,
        ("6.1", _) => WindowsRelease::Server2008R2,
        ("6.2", _) => WindowsRelease::Server2012,
        ("6.3", _) => WindowsRelease::Server2012R2,
        ("10.0", 14393) => WindowsRelease::Server2016,
        ("10.0", 17763) => WindowsRelease::Server2019,
        ("10.0", 20348) => WindowsRelease::Server2022,
        ("10.0", 26100) => WindowsRelease::Server2025,
        _ => WindowsRelease::OtherServer,
    })
}

fn read_system(root: &Root, windows: &mut Windows) -> Result<()> {
    let mut hive = open(root, SYSTEM)?;
    let current = match hive.key(&["Select"])? {
        Some(key) => hive.number(key, "Current")?.unwrap_or(1),
        None => 1,
    };
    let set = format!("ControlSet{current:03}");
    if let Some(key) = hive.key(&[&set, "Control", "Session Manager", "Environment"])? {
        let name = hive.text(key, "PROCESSOR_ARCHITECTURE")?.unwrap_or_default();
        windows.architecture = match name.to_ascii_uppercase().as_str() {
            "AMD64" => Some(Architecture::X86_64),
            "X86" => Some(Architecture::I386),
            "ARM64" => Some(Architecture::Arm64),
            "IA64" => Some(Architecture::Itanium),
            _ => None,
        };
    }
    windows.viostor.start = start_of(&mut hive, &set, "viostor")?;
    windows.netkvm.start = start_of(&mut hive, &set, "netkvm")?;
    windows.cloudbase_init = start_of(&mut hive, &set, "cloudbase-init")?;
    Ok(())
}

fn start_of(hive: &mut Hive<'_>, set: &str, service: &str) -> Result<Option<Start>> {
    let Some(key) = hive.key(&[set, "Services", service])? else {
        return Ok(None);
    };
    Ok(hive.number(key, "Start")?.map(|start| match start {
        0 => Start::Boot,
        1 => Start::System,
        2 => Start::Automatic,
        3 => Start::Manual,
        4 => Start::Disabled,
        other => Start::Unknown(other),
    }))
}
