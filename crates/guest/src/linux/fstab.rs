//! `/etc/fstab`: which volumes a system mounts where.

use serde::{Deserialize, Serialize};

use crate::content::Identity;

/// What a system calls the volume that it mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say all")]
pub enum MountSource {
    Uuid(String),
    Label(String),
    PartUuid(String),
    PartLabel(String),
    /// A path, such as `/dev/vda1`, or anything else.
    Device(String),
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume.
    pub source: MountSource,
    /// Where it is mounted.
    pub at: String,
    /// The file system that is asked for, such as `ext4`.
    pub file_system: String,
}

/// More lines than any machine has volumes.
const LINES_MAX: usize = 512;

/// The mounts of a file.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    let lines = text.lines().take(LINES_MAX).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let mut words = line.split_whitespace();
    let (source, at, file_system) = (words.next()?, words.next()?, words.next()?);
    Some(Mount { source: source_of(source), at: at.to_owned(), file_system: file_system.to_owned() })
}

fn source_of(text: &str) -> MountSource {
    let Some((kind, value)) = text.split_once('=') else {
        return MountSource::Device(text.to_owned());
    };
    let value = value.trim_matches('"');
    match kind.to_ascii_uppercase().as_str() {
        "UUID" => MountSource::Uuid(value.to_ascii_lowercase()),
        "LABEL" => MountSource::Label(value.to_owned()),
        "PARTUUID" => MountSource::PartUuid(value.to_ascii_lowercase()),
        "PARTLABEL" => MountSource::PartLabel(value.to_owned()),
        _ => MountSource::Device(text.to_owned()),
    }
}

impl MountSource {
    /// Whether it means the partition with this number and identity on the system disk.
    pub(crate) fn means(&self, number: u32, identity: &Identity) -> bool {
        match self {
            Self::Uuid(uuid) => identity.uuid.as_ref() == Some(uuid),
            Self::Label(label) => identity.label.as_ref() == Some(label),
            Self::PartUuid(_) | Self::PartLabel(_) => false,
            Self::Device(path) => is_partition_of_first_disk(path, number),
        }
    }
}

/// `/dev/vda1`, `/dev/sda1`, `/dev/xvda1`, `/dev/nvme0n1p1`, and links that udev makes from UUIDs are not among them.
fn is_partition_of_first_disk(path: &str, number: u32) -> bool {
    let disks = ["/dev/vda", "/dev/sda", "/dev/hda", "/dev/xvda", "/dev/nvme0n1p"];
    disks.iter().filter_map(|disk| path.strip_prefix(disk)).any(|rest| rest == number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_mounts_that_mean_partitions() {
        let mounts = parse(
            "# a comment\nUUID=ABCD-12 / ext4 errors=remount-ro 0 1\n/dev/vda2\t/boot\text3 defaults 1 2\nLABEL=d /d xfs\nbroken\n",
        );
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            (mounts[0].source.clone(), mounts[0].at.as_str()),
            (MountSource::Uuid("abcd-12".into()), "/")
        );
        let identity = Identity { uuid: Some("abcd-12".into()), label: None };
        assert!(mounts[0].source.means(7, &identity));
        assert!(mounts[1].source.means(2, &Identity::default()) && !mounts[1].source.means(1, &identity));
        assert!(!mounts[2].source.means(1, &identity));
    }
}
