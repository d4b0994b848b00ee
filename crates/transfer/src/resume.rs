//! What is kept beside a partly fetched file so that a later fetch can go on: `<file>.resume`, JSON.
//!
//! Two kinds of interruption are told apart. Within one boot of the machine whatever was written is in the file,
//! synced or not, so its length says how far it got. After a power loss only what was synced counts. The boot's id
//! tells which it was; so a fetch need not wait for the disk, and still never trusts a byte that may be missing.
//!
//! Invariant: the first `synced_bytes` of the file are those of the version that `validator` identifies, and are
//! on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{SourceUrl, Validator};

/// The longest sidecar that is read; a longer one is not ours.
const MAX_SIDECAR_BYTES: u64 = 16 * 1024;
/// The kernel's id of the present boot, see random(4).
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The content of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeState {
    /// Of the whole URL: its query may be a secret, so the URL itself is not kept.
    pub(crate) source_sha256: String,
    /// Without one, only a complete file is of use.
    pub(crate) validator: Option<Validator>,
    pub(crate) total_bytes: Option<u64>,
    pub(crate) synced_bytes: u64,
    /// The boot in which the file was written. None where the system gives no id: then only synced bytes count.
    pub(crate) boot_id: Option<String>,
    /// The file was fetched to its end, and its digest, where one was expected, was right.
    pub(crate) complete: bool,
}

/// How much of a file can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    Begun { offset: u64, validator: Validator },
    Complete { size_bytes: u64 },
}

impl ResumeState {
    /// A file of which nothing is fetched yet.
    pub(crate) fn new(source: &SourceUrl, validator: Option<Validator>, total_bytes: Option<u64>) -> Self {
        let source_sha256 = digest_of(source);
        let boot_id = boot_id();
        Self { source_sha256, validator, total_bytes, synced_bytes: 0, boot_id, complete: false }
    }

    /// Reads a sidecar. One that is missing, spoilt or of another source is no error: there is nothing to resume.
    pub(crate) fn load(path: &Path, source: &SourceUrl) -> Option<Self> {
        let mut text = String::new();
        File::open(path).ok()?.take(MAX_SIDECAR_BYTES).read_to_string(&mut text).ok()?;
        let state: Self = serde_json::from_str(&text).ok()?;
        (state.source_sha256 == digest_of(source)).then_some(state)
    }

    /// Replaces the sidecar in one step, so that a reader finds the old or the new one. With `durable` it survives
    /// a power loss from here on.
    pub(crate) fn store(&self, path: &Path, durable: bool) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let new = with_suffix(path, ".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let written = file.write_all(&text).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        fs::rename(&new, path)?;
        if durable {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }

    /// How much of a file of `file_bytes` can be kept.
    pub(crate) fn standing(&self, file_bytes: u64) -> Standing {
        let same_boot = self.boot_id.is_some() && self.boot_id == boot_id();
        if self.complete && same_boot && self.total_bytes == Some(file_bytes) {
            return Standing::Complete { size_bytes: file_bytes };
        }
        let kept = if same_boot { file_bytes } else { self.synced_bytes.min(file_bytes) };
        match &self.validator {
            Some(validator) if kept > 0 && self.total_bytes.is_none_or(|total| kept <= total) => {
                Standing::Begun { offset: kept, validator: validator.clone() }
            }
            _ => Standing::Nothing,
        }
    }

    /// The same in the present boot, with `synced_bytes` on the disk.
    pub(crate) fn in_this_boot(self, synced_bytes: u64) -> Self {
        Self { boot_id: boot_id(), synced_bytes, ..self }
    }
}

/// The sidecar of a file.
pub(crate) fn sidecar_of(destination: &Path) -> PathBuf {
    with_suffix(destination, ".resume")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn digest_of(source: &SourceUrl) -> String {
    hex::encode(Sha256::digest(source.as_str()))
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID_PATH).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceUrl {
        SourceUrl::parse("http://example.com/a?sign=secret").expect("valid")
    }

    fn state() -> ResumeState {
        ResumeState::new(&source(), Some(Validator::ETag("\"1\"".to_owned())), Some(100))
    }

    fn begun(offset: u64) -> Standing {
        Standing::Begun { offset, validator: Validator::ETag("\"1\"".to_owned()) }
    }

    #[test]
    fn within_a_boot_the_length_counts_and_after_one_what_was_synced() {
        let here = ResumeState { synced_bytes: 30, ..state() };
        assert_eq!(here.standing(80), begun(80));
        let rebooted = ResumeState { boot_id: Some("another".to_owned()), ..here.clone() };
        assert_eq!(rebooted.standing(80), begun(30));
        assert_eq!(rebooted.standing(20), begun(20));
        let unknown = ResumeState { boot_id: None, ..here.clone() };
        assert_eq!(unknown.standing(80), begun(30));
        assert_eq!(here.standing(101), Standing::Nothing);
        assert_eq!(here.standing(0), Standing::Nothing);
        assert_eq!(ResumeState { validator: None, ..here }.standing(80), Standing::Nothing);
    }

    #[test]
    fn complete_counts_only_at_full_length_in_the_same_boot() {
        let complete = ResumeState { complete: true, validator: None, ..state() };
        assert_eq!(complete.standing(100), Standing::Complete { size_bytes: 100 });
        assert_eq!(complete.standing(99), Standing::Nothing);
        let rebooted = ResumeState { boot_id: Some("another".to_owned()), ..complete };
        assert_eq!(rebooted.standing(100), Standing::Nothing);
    }

    #[test]
    fn a_sidecar_is_read_back_and_anything_else_is_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = sidecar_of(&dir.path().join("disk"));
        assert_eq!(ResumeState::load(&path, &source()), None);
        state().store(&path, true).expect("stored");
        assert_eq!(ResumeState::load(&path, &source()), Some(state()));
        assert!(!fs::read_to_string(&path).expect("text").contains("secret"));
        let other = SourceUrl::parse("http://example.com/b").expect("valid");
        assert_eq!(ResumeState::load(&path, &other), None);
        for spoilt in ["", "{}", "[", &"x".repeat(20_000)] {
            fs::write(&path, spoilt).expect("written");
            assert_eq!(ResumeState::load(&path, &source()), None);
        }
    }
}
