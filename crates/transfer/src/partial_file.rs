//! The local file of a fetch and its sidecar: opened, locked, and how much of it can be kept. All calls block.
//!
//! Invariant: while a `PartialFile` exists, no other one, in this or another process, has the same file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::response::Head;
use crate::resume::{ResumeState, Standing, sidecar_of};
use crate::{Error, Result, SourceUrl};

/// Removes a fetched or partly fetched file and what is kept beside it. Missing ones are fine.
///
/// # Errors
/// [`Error::File`] where one of them cannot be removed.
pub fn discard(destination: &Path) -> Result<()> {
    for path in [sidecar_of(destination), destination.to_owned()] {
        remove_if_there(&path).map_err(|error| Error::file(&path, error))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A locked file and what is known of it.
pub(crate) struct PartialFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) sidecar: PathBuf,
    source: SourceUrl,
    state: Option<ResumeState>,
    standing: Standing,
}

impl PartialFile {
    /// Opens or creates the file (mode 0600), and cuts off what cannot be kept.
    pub(crate) fn open(path: &Path, source: &SourceUrl) -> Result<Self> {
        let failed = |error| Error::file(path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let sidecar = sidecar_of(path);
        let state = ResumeState::load(&sidecar, source);
        let length = file.metadata().map_err(failed)?.len();
        let standing = state.as_ref().map_or(Standing::Nothing, |state| state.standing(length));
        if let Standing::Begun { offset, .. } = standing {
            file.set_len(offset).map_err(failed)?;
        }
        Ok(Self { file, path: path.to_owned(), sidecar, source: source.clone(), state, standing })
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(crate) fn state(&self) -> Option<&ResumeState> {
        self.state.as_ref()
    }

    /// Gets ready for the body that `head` announces: a continuation of what is there, or from the start. The
    /// sidecar says so durably before the body's first byte is written.
    ///
    /// # Errors
    /// [`Error::WrongRange`] where the body continues another version of the file; nothing is kept then.
    pub(crate) fn begin(self, head: &Head) -> Result<(Self, ResumeState)> {
        let state = match (&self.standing, &self.state) {
            (Standing::Begun { .. }, Some(state)) if head.start_bytes > 0 => {
                if let Some(reason) = contradiction(state, head) {
                    self.forget()?;
                    return Err(Error::WrongRange { reason });
                }
                // After a power loss the file was cut to what is synced; within a boot it may be longer than that.
                let synced_bytes = state.synced_bytes.min(head.start_bytes);
                state.clone().in_this_boot(synced_bytes)
            }
            _ => {
                self.file.set_len(0).map_err(|error| Error::file(&self.path, error))?;
                ResumeState::new(&self.source, head.validator.clone(), head.total_bytes)
            }
        };
        state.store(&self.sidecar, true).map_err(|error| Error::file(&self.sidecar, error))?;
        Ok((self, state))
    }

    /// Compares the SHA-256 of the whole file with the one that it must have.
    ///
    /// # Errors
    /// [`Error::ChecksumMismatch`]; nothing is kept then.
    pub(crate) fn check_digest(&self, found: [u8; 32], expected: [u8; 32]) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        self.forget()?;
        Err(Error::ChecksumMismatch { expected: hex::encode(expected), found: hex::encode(found) })
    }

    /// Keeps nothing of what was fetched.
    pub(crate) fn forget(&self) -> Result<()> {
        remove_if_there(&self.sidecar).map_err(|error| Error::file(&self.sidecar, error))?;
        self.file.set_len(0).map_err(|error| Error::file(&self.path, error))
    }
}

/// Why the body that `head` announces cannot be the rest of the file that `state` describes. If-Range should have
/// prevented it; not every server knows it.
fn contradiction(state: &ResumeState, head: &Head) -> Option<String> {
    if head.validator.is_some() && head.validator != state.validator {
        return Some("the file has changed".to_owned());
    }
    match (state.total_bytes, head.total_bytes) {
        (Some(before), Some(now)) if before != now => {
            Some(format!("its size was {before} bytes and is now {now}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validator;

    fn source() -> SourceUrl {
        SourceUrl::parse("http://example.com/disk").expect("valid")
    }

    fn head(start_bytes: u64, tag: &str) -> Head {
        let validator = Some(Validator::ETag(tag.to_owned()));
        Head { start_bytes, total_bytes: Some(100), validator, ranges: true, framed: true }
    }

    #[test]
    fn one_fetch_at_a_time_has_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk");
        let first = PartialFile::open(&path, &source()).expect("opened");
        assert!(matches!(PartialFile::open(&path, &source()), Err(Error::InUse { .. })));
        drop(first);
        assert!(PartialFile::open(&path, &source()).is_ok());
    }

    #[test]
    fn a_foreign_file_is_not_continued() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk");
        fs::write(&path, [1; 50]).expect("written");
        let partial = PartialFile::open(&path, &source()).expect("opened");
        assert_eq!(partial.standing(), &Standing::Nothing);
        let (partial, state) = partial.begin(&head(0, "\"1\"")).expect("begun");
        assert_eq!((state.synced_bytes, partial.file.metadata().expect("metadata").len()), (0, 0));
    }

    #[test]
    fn a_continuation_of_another_version_drops_everything() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk");
        let (partial, _) =
            PartialFile::open(&path, &source()).and_then(|p| p.begin(&head(0, "\"1\""))).expect("begun");
        partial.file.set_len(50).expect("length");
        drop(partial);
        let partial = PartialFile::open(&path, &source()).expect("opened");
        assert!(matches!(partial.standing(), Standing::Begun { offset: 50, .. }));
        assert!(matches!(partial.begin(&head(50, "\"2\"")), Err(Error::WrongRange { .. })));
        let partial = PartialFile::open(&path, &source()).expect("opened");
        assert_eq!(partial.standing(), &Standing::Nothing);
        drop(partial);
        discard(&path).expect("discarded");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
        discard(&path).expect("nothing to discard");
    }
}
