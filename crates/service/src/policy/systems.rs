//! The systems that may come in, by the API's names, and what an importer's words for one mean.
//!
//! Sources: the product rules for which there are; the API's example of DescribeImportImageOs for how they are named.

use kiln_guest::{Distribution, WindowsRelease};
use kiln_model::Architecture;

use super::preset::Policy;

/// A system of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supported {
    /// The API's name, `OsType`.
    pub(super) name: &'static str,
    /// What an inspection calls it.
    pub(super) kind: Kind,
    /// The versions, `OsVersion`; a version such as `22` stands for `22.04` as well.
    pub(super) versions: &'static [&'static str],
    /// What it may be compiled for.
    pub(super) architectures: &'static [Architecture],
}

/// What an inspection calls a system.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A Linux of any of these distributions.
    Linux(&'static [Distribution]),
    /// Any other Linux.
    OtherLinux,
    /// A release of Windows Server, and its editions, by the beginning of their identifiers; none means all.
    Windows(WindowsRelease, &'static [&'static str]),
}

const PC: &[Architecture] = &[Architecture::X86_64, Architecture::I386];
const PC_64: &[Architecture] = &[Architecture::X86_64];
const ALL: &[Architecture] = &[Architecture::X86_64, Architecture::I386, Architecture::Arm64];

const fn linux(
    name: &'static str,
    distributions: &'static [Distribution],
    versions: &'static [&'static str],
    architectures: &'static [Architecture],
) -> Supported {
    Supported { name, kind: Kind::Linux(distributions), versions, architectures }
}

const fn windows(
    name: &'static str,
    release: WindowsRelease,
    editions: &'static [&'static str],
    versions: &'static [&'static str],
) -> Supported {
    Supported { name, kind: Kind::Windows(release, editions), versions, architectures: PC_64 }
}

const CENTOS: &[&str] = &["5", "6", "7", "8", "9", "10"];
const DEBIAN: &[&str] = &["6", "7", "8", "9", "10", "11", "12", "13"];
const UBUNTU: &[&str] = &["10", "12", "14", "16", "18", "20", "22", "24"];
const OPENSUSE: &[&str] = &["11", "12", "13", "42", "15"];
const SUSE: &[&str] = &["10", "11", "12", "13", "15"];
/// Container Linux counts days, Fedora CoreOS releases of Fedora: any version is one.
const ANY: &[&str] = &["-"];

use Distribution as D;
use WindowsRelease as W;

pub(super) const GUIDE: &[Supported] = &[
    linux("CentOS", &[D::CentOs], CENTOS, PC),
    linux("RedHat", &[D::RedHat], CENTOS, PC),
    linux("Ubuntu", &[D::Ubuntu], UBUNTU, PC),
    linux("Debian", &[D::Debian], DEBIAN, PC),
    linux("CoreOS", &[D::CoreOs], ANY, PC),
    linux("OpenSUSE", &[D::OpenSuse], OPENSUSE, PC),
    linux("SUSE", &[D::Suse], SUSE, PC),
    windows(
        "Windows Server 2008",
        W::Server2008R2,
        &["ServerStandard", "ServerDatacenter", "ServerEnterprise"],
        &["R2"],
    ),
    windows("Windows Server 2012", W::Server2012R2, &["ServerStandard"], &["R2"]),
];

pub(super) const MODERN: &[Supported] = &[
    linux("CentOS", &[D::CentOs], CENTOS, ALL),
    linux("RedHat", &[D::RedHat], CENTOS, ALL),
    linux("Ubuntu", &[D::Ubuntu], UBUNTU, ALL),
    linux("Debian", &[D::Debian], DEBIAN, ALL),
    linux("CoreOS", &[D::CoreOs], ANY, ALL),
    linux("OpenSUSE", &[D::OpenSuse], OPENSUSE, ALL),
    linux("SUSE", &[D::Suse], SUSE, ALL),
    linux("Rocky Linux", &[D::Rocky], &["8", "9", "10"], ALL),
    linux("AlmaLinux", &[D::AlmaLinux], &["8", "9", "10"], ALL),
    linux("Fedora", &[D::Fedora], ANY, ALL),
    linux("TencentOS", &[D::TencentOs], ANY, ALL),
    linux("OpenCloudOS", &[D::OpenCloudOs], ANY, ALL),
    Supported { name: "Other Linux", kind: Kind::OtherLinux, versions: ANY, architectures: ALL },
    windows("Windows Server 2008", W::Server2008R2, &[], &["R2"]),
    windows("Windows Server 2012", W::Server2012R2, &[], &["R2"]),
    windows("Windows Server 2016", W::Server2016, &[], ANY),
    windows("Windows Server 2019", W::Server2019, &[], ANY),
    windows("Windows Server 2022", W::Server2022, &[], ANY),
    windows("Windows Server 2025", W::Server2025, &[], ANY),
];

/// What DescribeImportImageOs answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedOs {
    /// The names of the Windows systems.
    pub windows: Vec<&'static str>,
    /// The names of the Linux systems.
    pub linux: Vec<&'static str>,
    /// Each system's versions and architectures.
    pub versions: Vec<SupportedOsVersions>,
}

/// A system's versions and architectures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedOsVersions {
    /// Its name.
    pub name: &'static str,
    /// Its versions; `-` where it has none, or any will do.
    pub versions: &'static [&'static str],
    /// What it may be compiled for.
    pub architectures: &'static [Architecture],
}

/// The systems that a policy lets in.
pub fn supported_os(policy: &Policy) -> SupportedOs {
    let systems = policy.accepts.systems;
    let names = |is_windows: bool| {
        let kinds = systems.iter().filter(move |one| matches!(one.kind, Kind::Windows(..)) == is_windows);
        kinds.map(|one| one.name).collect()
    };
    let versions = systems.iter().map(|one| SupportedOsVersions {
        name: one.name,
        versions: one.versions,
        architectures: one.architectures,
    });
    SupportedOs { windows: names(true), linux: names(false), versions: versions.collect() }
}

/// Why an importer's words mean no system that may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownSystem {
    /// There is no such type.
    Type {
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// There is no such version of the type.
    Version {
        /// The type's name.
        name: &'static str,
        /// The versions that there are.
        known: &'static [&'static str],
    },
}

/// The name of the system that an importer's words mean.
///
/// # Errors
/// What is not known of the words.
pub fn find_system(policy: &Policy, os_type: &str, os_version: &str) -> Result<&'static str, UnknownSystem> {
    let systems = policy.accepts.systems;
    let Some(found) = by_os_type(systems, os_type) else {
        return Err(UnknownSystem::Type { known: systems.iter().map(|one| one.name).collect() });
    };
    let is_known = |version: &&str| *version == "-" || version_agrees(version, os_version);
    if os_version.trim() == "-" || found.versions.iter().any(is_known) {
        return Ok(found.name);
    }
    Err(UnknownSystem::Version { name: found.name, known: found.versions })
}

/// The system that an importer's `OsType` means; spelling is not looked at.
pub(super) fn by_os_type<'a>(systems: &'a [Supported], os_type: &str) -> Option<&'a Supported> {
    systems.iter().find(|one| fold(one.name) == fold(os_type))
}

/// A text without what people write in different ways.
pub(super) fn fold(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a version that was said means one that was found: the shorter one is the beginning of the longer, number
/// by number.
pub(super) fn version_agrees(said: &str, found: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.split(['.', '-', ' ', '/']).filter(|part| !part.is_empty()).map(fold).collect()
    };
    let (said, found) = (parts(said), parts(found));
    said.iter().zip(&found).all(|(one, other)| one == other) && !found.is_empty()
}
