//! Which distribution a system is: os-release, and the older files that distributions had before it.
//!
//! Source: os-release(5); the older files as the distributions' packages write them.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::tree::Root;

/// A distribution, as far as rules tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum Distribution {
    AlmaLinux,
    CentOs,
    CoreOs,
    Debian,
    Fedora,
    OpenCloudOs,
    OpenSuse,
    OracleLinux,
    RedHat,
    Rocky,
    Suse,
    TencentOs,
    Ubuntu,
    /// Any other that names itself.
    Other,
}

/// What a system says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The distribution.
    pub distribution: Distribution,
    /// Its own identifier, such as `debian`.
    pub id: String,
    /// Its version, such as `12` or `22.04`; empty where it has none.
    pub version: String,
    /// As people write it, such as `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: String,
    /// Whether an os-release file says so, and not only an older one.
    pub from_os_release: bool,
}

const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const RED_HAT_RELEASE: [&str; 2] = ["/etc/centos-release", "/etc/redhat-release"];

/// Reads what the system says it is; `None` where it says nothing.
pub(crate) fn read(root: &Root) -> Result<Option<Release>> {
    for path in OS_RELEASE {
        if let Some(text) = root.text(path)?
            && let Some(mut release) = parse_os_release(&text)
        {
            if release.version.is_empty() {
                release.version = root.text("/etc/debian_version")?.unwrap_or_default().trim().to_owned();
            }
            return Ok(Some(release));
        }
    }
    for path in RED_HAT_RELEASE {
        if let Some(release) = root.text(path)?.as_deref().and_then(parse_release_line) {
            return Ok(Some(release));
        }
    }
    if let Some(release) = root.text("/etc/SuSE-release")?.as_deref().and_then(parse_suse_release) {
        return Ok(Some(release));
    }
    if let Some(release) = root.text("/etc/lsb-release")?.as_deref().and_then(parse_lsb_release) {
        return Ok(Some(release));
    }
    Ok(root.text("/etc/debian_version")?.map(|text| {
        let version = text.trim().to_owned();
        older("debian", version.clone(), format!("Debian GNU/Linux {version}"))
    }))
}

/// Longest value that is taken, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// The value of a variable in a file of shell assignments, without its quotes.
pub(crate) fn assignment(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once('=')?;
        (key.trim() == name).then(|| unquote(value.trim()).chars().take(VALUE_CHARS_MAX).collect())
    });
    values.next_back()
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.split(quote).next().unwrap_or_default().to_owned();
        }
    }
    value.split('#').next().unwrap_or_default().trim().to_owned()
}

pub(crate) fn parse_os_release(text: &str) -> Option<Release> {
    let id = assignment(text, "ID").filter(|id| !id.is_empty())?;
    let is_coreos = assignment(text, "VARIANT_ID").is_some_and(|variant| variant == "coreos");
    let distribution = if is_coreos { Distribution::CoreOs } else { distribution(&id) };
    Some(Release {
        distribution,
        version: assignment(text, "VERSION_ID").unwrap_or_default(),
        pretty_name: assignment(text, "PRETTY_NAME").unwrap_or_else(|| id.clone()),
        id,
        from_os_release: true,
    })
}

fn distribution(id: &str) -> Distribution {
    match id.to_ascii_lowercase().as_str() {
        "almalinux" => Distribution::AlmaLinux,
        "centos" => Distribution::CentOs,
        "coreos" | "flatcar" | "rhcos" => Distribution::CoreOs,
        "debian" => Distribution::Debian,
        "fedora" => Distribution::Fedora,
        "opencloudos" => Distribution::OpenCloudOs,
        "ol" => Distribution::OracleLinux,
        "rhel" | "redhat" => Distribution::RedHat,
        "rocky" => Distribution::Rocky,
        "sles" | "sled" | "suse" | "sle_hpc" | "sle-micro" => Distribution::Suse,
        "tencentos" | "tlinux" => Distribution::TencentOs,
        "ubuntu" => Distribution::Ubuntu,
        other if other.starts_with("opensuse") => Distribution::OpenSuse,
        _ => Distribution::Other,
    }
}

fn older(id: &str, version: String, pretty_name: String) -> Release {
    Release {
        distribution: distribution(id),
        id: id.to_owned(),
        version,
        pretty_name,
        from_os_release: false,
    }
}

/// `CentOS release 6.10 (Final)`, `Red Hat Enterprise Linux Server release 6.5 (Santiago)`.
pub(crate) fn parse_release_line(text: &str) -> Option<Release> {
    let line = text.lines().next()?.trim();
    let (name, rest) = line.split_once(" release ")?;
    let version = rest.split_whitespace().next().unwrap_or_default().to_owned();
    let id = match name {
        name if name.starts_with("CentOS") => "centos",
        name if name.starts_with("Red Hat") => "rhel",
        name if name.starts_with("Fedora") => "fedora",
        name if name.starts_with("Oracle") => "ol",
        name => name.split_whitespace().next()?,
    };
    Some(older(id, version, line.to_owned()))
}

/// `openSUSE 13.2 (x86_64)`, `SUSE Linux Enterprise Server 11 (x86_64)`, then `VERSION = 11`, `PATCHLEVEL = 4`.
pub(crate) fn parse_suse_release(text: &str) -> Option<Release> {
    let line = text.lines().next()?.trim();
    let id = if line.starts_with("openSUSE") { "opensuse" } else { "sles" };
    let mut version = assignment(text, "VERSION")?;
    if let Some(level) = assignment(text, "PATCHLEVEL").filter(|level| level != "0") {
        version = format!("{version}.{level}");
    }
    Some(older(id, version, line.to_owned()))
}

pub(crate) fn parse_lsb_release(text: &str) -> Option<Release> {
    let id = assignment(text, "DISTRIB_ID")?.to_ascii_lowercase();
    let version = assignment(text, "DISTRIB_RELEASE").unwrap_or_default();
    let name = assignment(text, "DISTRIB_DESCRIPTION").unwrap_or_else(|| format!("{id} {version}"));
    Some(older(&id, version, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::root;

    fn check(files: &[(&str, &str)], distribution: Distribution, version: &str) {
        let release = read(&root(files)).expect("readable").expect("a release");
        assert_eq!((release.distribution, release.version.as_str()), (distribution, version), "{files:?}");
    }

    #[test]
    fn every_kind_of_file_is_understood() {
        let bookworm = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        check(&[("/usr/lib/os-release", bookworm)], Distribution::Debian, "12");
        check(
            &[("/etc/os-release", "ID=debian\n"), ("/etc/debian_version", "trixie/sid\n")],
            Distribution::Debian,
            "trixie/sid",
        );
        check(&[("/etc/os-release", "ID='ubuntu'\nVERSION_ID=22.04 # LTS")], Distribution::Ubuntu, "22.04");
        check(
            &[("/etc/os-release", "ID=\"opensuse-leap\"\nVERSION_ID=\"15.5\"")],
            Distribution::OpenSuse,
            "15.5",
        );
        check(
            &[("/etc/os-release", "ID=fedora\nVARIANT_ID=coreos\nVERSION_ID=39")],
            Distribution::CoreOs,
            "39",
        );
        check(&[("/etc/redhat-release", "CentOS release 6.10 (Final)\n")], Distribution::CentOs, "6.10");
        check(
            &[("/etc/redhat-release", "Red Hat Enterprise Linux Server release 5.11 (Tikanga)")],
            Distribution::RedHat,
            "5.11",
        );
        check(
            &[(
                "/etc/SuSE-release",
                "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n",
            )],
            Distribution::Suse,
            "11.4",
        );
        check(
            &[("/etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.04")],
            Distribution::Ubuntu,
            "10.04",
        );
        check(&[("/etc/debian_version", "6.0.10\n")], Distribution::Debian, "6.0.10");
        assert_eq!(read(&root(&[("/etc/passwd", "")])).expect("readable"), None);
    }
}
