//! The kernels of a system: their versions, where they come from, and whether they can drive a virtual machine's
//! disk and network.
//!
//! Source: the kernel's "x86 boot protocol" for the version in an image; dpkg's and RPM distributions' packages for
//! how they name theirs.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::initramfs::{self, Initramfs};
use crate::bytes::le16;
use crate::error::Result;
use crate::gap::{Gaps, Part};
use crate::tree::Root;

/// A kernel in `/boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Its version, from its file's name.
    pub version: String,
    /// Its file.
    pub path: String,
    /// What its image says about itself: version, builder, date.
    pub banner: Option<String>,
    /// Where it comes from.
    pub origin: KernelOrigin,
    /// The bus that the virtual devices are on.
    pub virtio_pci: Driver,
    /// The virtual disk.
    pub virtio_blk: Driver,
    /// The virtual network card.
    pub virtio_net: Driver,
    /// Its initramfs, where it has one.
    pub initramfs: Option<Initramfs>,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KernelOrigin {
    /// Named and built as the distribution does it.
    Distribution,
    /// Named or built in another way.
    Foreign,
}

/// Where a kernel has a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// In the kernel itself.
    BuiltIn,
    /// In a module.
    Module {
        /// Whether the initramfs has it; `None` where that could not be read.
        in_initramfs: Option<bool>,
    },
    /// Nowhere.
    Absent,
}

impl Driver {
    /// Whether the kernel has it once the root file system is mounted.
    pub fn is_present(self) -> bool {
        self != Self::Absent
    }

    /// Whether the kernel has it before the root file system is mounted.
    pub fn is_there_at_boot(self) -> bool {
        matches!(self, Self::BuiltIn | Self::Module { in_initramfs: Some(true) })
    }
}

const BOOT: &str = "/boot";
/// Kernels of one system that are looked at.
const KERNELS_MAX: usize = 16;
const DRIVERS: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_net"];
const CONFIG_NAMES: [&str; 3] = ["CONFIG_VIRTIO_PCI", "CONFIG_VIRTIO_BLK", "CONFIG_VIRTIO_NET"];
const IMAGE_PREFIXES: [&str; 4] = ["vmlinuz-", "vmlinux-", "bzImage-", "kernel-"];
const MODULE_DIRECTORIES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
/// The banner lies within the image's setup code, which is at most 64 sectors long.
const IMAGE_HEAD_BYTES: u64 = 64 << 10;
const BANNER_BYTES_MAX: usize = 256;

/// The kernels, the newest first: that is the one which boot loaders start if they are not told otherwise.
pub(crate) fn read(root: &Root, gaps: &mut Gaps) -> Result<Vec<Kernel>> {
    let names = gaps.keep(Part::Kernels, root.list(BOOT))?;
    let mut images: Vec<(&str, &str)> = names
        .iter()
        .filter_map(|name| {
            let prefix = IMAGE_PREFIXES.iter().find(|prefix| name.starts_with(**prefix))?;
            Some((name.as_str(), &name[prefix.len()..]))
        })
        .collect();
    images.sort_by(|a, b| compare_versions(b.1, a.1));
    images.dedup_by(|a, b| a.1 == b.1);
    images.truncate(KERNELS_MAX);
    let mut kernels = Vec::new();
    for (name, version) in images {
        let path = format!("{BOOT}/{name}");
        let kernel = read_kernel(root, &path, version, &names, gaps).map(Some);
        let kernel = gaps.keep(Part::Kernels, kernel)?;
        kernels.extend(kernel);
    }
    Ok(kernels)
}

fn read_kernel(root: &Root, path: &str, version: &str, boot: &[String], gaps: &mut Gaps) -> Result<Kernel> {
    let head = root.read_head(path, IMAGE_HEAD_BYTES)?.unwrap_or_default();
    let banner = banner(&head);
    let (mut drivers, modules) = installed_drivers(root, version)?;
    let initramfs = match initramfs_name(boot, version) {
        Some(name) => {
            let path = format!("{BOOT}/{name}");
            gaps.keep(Part::Initramfs, read_initramfs(root, &path, &modules))?
        }
        None => None,
    };
    let has_file = initramfs_name(boot, version).is_some();
    for (driver, name) in drivers.iter_mut().zip(DRIVERS) {
        if let Driver::Module { in_initramfs } = driver {
            *in_initramfs = match &initramfs {
                Some(found) => Some(found.drivers.iter().any(|known| known == name)),
                None if has_file => None,
                None => Some(false),
            };
        }
    }
    let origin = origin(root, version, banner.as_deref())?;
    let [virtio_pci, virtio_blk, virtio_net] = drivers;
    Ok(Kernel {
        version: version.to_owned(),
        path: path.to_owned(),
        banner,
        origin,
        virtio_pci,
        virtio_blk,
        virtio_net,
        initramfs,
    })
}

/// The version in a bzImage: a pointer at 0x20E, relative to 0x200.
pub(crate) fn banner(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = usize::from(le16(head, 0x20E).filter(|at| *at != 0)?) + 0x200;
    let text = head.get(at..)?;
    let text = &text[..text.len().min(BANNER_BYTES_MAX)];
    let end = text.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8_lossy(&text[..end]).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Where the kernel has each of [`DRIVERS`], and the names of those that are modules.
fn installed_drivers(root: &Root, version: &str) -> Result<([Driver; 3], Vec<&'static str>)> {
    let mut built_in = String::new();
    let mut modules = String::new();
    for directory in MODULE_DIRECTORIES {
        let directory = format!("{directory}/{version}");
        if root.is_directory(&directory)? {
            built_in = root.text(&format!("{directory}/modules.builtin"))?.unwrap_or_default();
            modules = root.text(&format!("{directory}/modules.dep"))?.unwrap_or_default();
            break;
        }
    }
    let config = root.text(&format!("{BOOT}/config-{version}"))?.unwrap_or_default();
    let mut names = Vec::new();
    let drivers = std::array::from_fn(|index| {
        let (name, config_name) = (DRIVERS[index], CONFIG_NAMES[index]);
        let is_configured_in = config.lines().any(|line| line.strip_prefix(config_name) == Some("=y"));
        if is_configured_in || built_in.lines().any(|line| initramfs::is_module(line, name)) {
            return Driver::BuiltIn;
        }
        let mut files = modules.lines().filter_map(|line| line.split(':').next());
        if files.any(|file| initramfs::is_module(file, name)) {
            names.push(name);
            return Driver::Module { in_initramfs: None };
        }
        Driver::Absent
    });
    Ok((drivers, names))
}

/// The initramfs of a version, by the names that distributions use.
fn initramfs_name(boot: &[String], version: &str) -> Option<String> {
    let candidates = [
        format!("initrd.img-{version}"),
        format!("initramfs-{version}.img"),
        format!("initrd-{version}"),
        format!("initrd-{version}.img"),
        format!("initramfs-{version}"),
    ];
    candidates.into_iter().find(|name| boot.contains(name))
}

/// Looks into the initramfs, where there is something to look for.
fn read_initramfs(root: &Root, path: &str, wanted: &[&str]) -> Result<Option<Initramfs>> {
    let Some(mut reader) = root.open(path)? else {
        return Ok(None);
    };
    let mut found = if wanted.is_empty() {
        Initramfs::default()
    } else {
        initramfs::find_drivers(&mut reader, root.budget(), wanted)?
    };
    found.path = path.to_owned();
    Ok(Some(found))
}

/// A kernel is the distribution's own where its version has the distribution's form, its package is installed (as
/// far as dpkg can be asked), and its image, where it says so, was built where the distribution builds.
fn origin(root: &Root, version: &str, banner: Option<&str>) -> Result<KernelOrigin> {
    let packaged = match root.is_directory("/var/lib/dpkg/info")? {
        true => is_in_dpkg(root, version)?,
        false => true,
    };
    let built = banner.is_none_or(is_distribution_builder);
    let own = has_distribution_form(version) && packaged && built;
    Ok(if own { KernelOrigin::Distribution } else { KernelOrigin::Foreign })
}

fn is_in_dpkg(root: &Root, version: &str) -> Result<bool> {
    for package in ["linux-image", "linux-image-unsigned", "linux-signed-image"] {
        if root.is_file(&format!("/var/lib/dpkg/info/{package}-{version}.list"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The forms of versions that distributions give: `6.1.0-18-cloud-amd64`, `5.15.0-91-generic`,
/// `3.10.0-1160.el7.x86_64`, `5.14.21-150500.55-default`, `6.5.6-300.fc39.x86_64`.
pub(crate) fn has_distribution_form(version: &str) -> bool {
    const ARCHITECTURES: [&str; 6] = ["amd64", "686", "686-pae", "arm64", "486", "i386"];
    const FLAVOURS: [&str; 14] = [
        "generic",
        "virtual",
        "kvm",
        "server",
        "lowlatency",
        "aws",
        "azure",
        "gcp",
        "oracle",
        "default",
        "vanilla",
        "xen",
        "pae",
        "kvmsmall",
    ];
    let has_rpm_release = [".el", ".fc", ".amzn", ".tl", ".oc", ".an"].iter().any(|mark| {
        version.split(mark).skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    let Some((upstream, rest)) = version.split_once('-') else {
        return has_rpm_release;
    };
    let is_numbered = upstream.split('.').all(|part| part.parse::<u32>().is_ok())
        && rest.starts_with(|first: char| first.is_ascii_digit());
    let words = || rest.split('-').skip(1);
    let has_flavour = words().any(|word| FLAVOURS.contains(&word))
        || ARCHITECTURES.iter().any(|name| rest.ends_with(&format!("-{name}")));
    // CentOS 5 and 6 had no architecture in it.
    is_numbered && (has_flavour || has_rpm_release)
}

/// Who distributions let build their kernels, as the banner shows it: `user@host` in parentheses.
fn is_distribution_builder(banner: &str) -> bool {
    const BUILDERS: [&str; 12] = [
        "debian-kernel@lists.debian.org",
        "@lists.debian.org",
        "buildd@",
        "mockbuild@",
        "mockbuild_",
        "geeko@",
        "builder@kbuilder",
        "root@kbuilder",
        "kernel@kernel",
        "@build",
        ".redhat.com",
        ".fedoraproject.org",
    ];
    !banner.contains('@') || BUILDERS.iter().any(|builder| banner.contains(builder))
}

/// Compares versions number by number, as package managers do in the simple cases; rescue kernels come first.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (pieces(a), pieces(b));
    loop {
        let (one, other) = (left.next(), right.next());
        if one.is_none() && other.is_none() {
            return Ordering::Equal;
        }
        match one.cmp(&other) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Word(&'a str),
    Number(u64),
}

fn pieces(version: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = version;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let first = rest.chars().next()?;
        let is_same = |c: char| c.is_ascii_alphanumeric() && c.is_ascii_digit() == first.is_ascii_digit();
        let (piece, after) = rest.split_at(rest.find(|c| !is_same(c)).unwrap_or(rest.len()));
        rest = after;
        Some(if first.is_ascii_digit() {
            Piece::Number(piece.parse().unwrap_or(u64::MAX))
        } else {
            Piece::Word(piece)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    fn kernels(files: &[(&str, &str)]) -> Vec<Kernel> {
        let mut gaps = Gaps::default();
        let kernels = read(&root(files), &mut gaps).expect("readable");
        assert_eq!(gaps.found, []);
        kernels
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let mut versions = ["5.10.0-9-amd64", "0-rescue-abc", "5.10.0-21-amd64", "6.1.0-1-amd64", "5.9.15"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(
            versions,
            ["6.1.0-1-amd64", "5.10.0-21-amd64", "5.10.0-9-amd64", "5.9.15", "0-rescue-abc"]
        );
    }

    #[test]
    fn distributions_versions_have_their_forms() {
        for own in [
            "6.1.0-18-cloud-amd64",
            "4.9.0-13-686-pae",
            "5.15.0-91-generic",
            "3.10.0-1160.el7.x86_64",
            "2.6.32-754.el6.i686",
            "2.6.18-419.el5",
            "5.14.21-150500.55.36-default",
            "6.5.6-300.fc39.x86_64",
        ] {
            assert!(has_distribution_form(own), "{own}");
        }
        for foreign in ["6.6.8", "5.4.0-custom", "6.1.55-mine", "4.19.91-rt", "6.1.0-x-amd64"] {
            assert!(!has_distribution_form(foreign), "{foreign}");
        }
    }

    #[test]
    fn drivers_are_where_the_kernels_own_lists_say() {
        let found = kernels(&[
            ("/boot/vmlinuz-6.1.0-18-amd64", ""),
            ("/boot/config-6.1.0-18-amd64", "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=m\n"),
            ("/usr/lib/modules/6.1.0-18-amd64/modules.builtin", "kernel/drivers/net/virtio_net.ko\n"),
            ("/usr/lib/modules/6.1.0-18-amd64/modules.dep", "kernel/drivers/block/virtio_blk.ko.xz: a b\n"),
            ("/var/lib/dpkg/info/linux-image-6.1.0-18-amd64.list", ""),
        ]);
        assert_eq!(found[0].virtio_pci, Driver::BuiltIn);
        assert_eq!(found[0].virtio_net, Driver::BuiltIn);
        assert_eq!(
            found[0].virtio_blk,
            Driver::Module { in_initramfs: Some(false) },
            "there is no initramfs"
        );
        assert_eq!(found[0].origin, KernelOrigin::Distribution);
    }

    #[test]
    fn a_kernel_without_a_package_or_with_another_builder_is_foreign() {
        let unpackaged = [("/boot/vmlinuz-6.1.0-18-amd64", ""), ("/var/lib/dpkg/info/dpkg.list", "")];
        assert_eq!(kernels(&unpackaged)[0].origin, KernelOrigin::Foreign);
        assert!(is_distribution_builder("6.1.0-18-amd64 (debian-kernel@lists.debian.org) #1 SMP"));
        assert!(!is_distribution_builder("6.1.0-18-amd64 (me@laptop) #3 SMP"));
    }

    #[test]
    fn an_image_tells_its_banner() {
        let mut head = vec![0u8; 0x1000];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20E..0x210].copy_from_slice(&0x400u16.to_le_bytes());
        head[0x600..0x60C].copy_from_slice(b"6.1.0 (a@b)\0");
        assert_eq!(banner(&head).as_deref(), Some("6.1.0 (a@b)"));
        head[0x20E..0x210].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(banner(&head), None);
        assert_eq!(banner(b"short"), None);
    }
}
