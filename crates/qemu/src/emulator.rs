//! Finding the QEMU program and its version. Machines of one architecture only: x86-64.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::error::{Error, Result};

/// The program that runs x86-64 machines.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The Debian package it is in.
pub const PACKAGE: &str = "qemu-system-x86";
/// The oldest usable release: the first 6.2 takes every option that the command line uses.
pub const OLDEST: (u32, u32) = (6, 2);
/// How long `--version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// An installed QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub path: PathBuf,
    /// Its release, as it says it ("7.2.22").
    pub version: String,
}

/// Looks for QEMU in the directories of `search_path` (the value of `PATH`) and asks for its version.
///
/// # Errors
/// [`Error::Missing`] names the package to install; [`Error::Unusable`] says what the program did instead.
pub async fn find_qemu(search_path: &OsStr) -> Result<Qemu> {
    let candidates = std::env::split_paths(search_path).map(|directory| directory.join(PROGRAM));
    let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
        return Err(Error::Missing { program: PROGRAM, package: PACKAGE });
    };
    let version = version_of(&path).await?;
    Ok(Qemu { path, version })
}

async fn version_of(path: &Path) -> Result<String> {
    let unusable = |reason: String| Error::Unusable { path: path.to_owned(), reason };
    let mut command = tokio::process::Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output())
        .await
        .map_err(|_| unusable("it did not tell its version in time".into()))?
        .map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version =
        parse_version(&text).ok_or_else(|| unusable(format!("its version is unclear: {text:.200}")))?;
    if release(&version).is_none_or(|release| release < OLDEST) {
        return Err(unusable(format!("release {version} is older than {}.{}", OLDEST.0, OLDEST.1)));
    }
    Ok(version)
}

/// "QEMU emulator version 7.2.22 (Debian …)" → "7.2.22".
fn parse_version(text: &str) -> Option<String> {
    let rest = text.strip_prefix("QEMU emulator version ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright";
        assert_eq!(parse_version(debian).as_deref(), Some("7.2.22"));
        assert_eq!(release("10.0.2"), Some((10, 0)));
        assert_eq!(release("unknown"), None);
    }

    #[tokio::test]
    async fn a_missing_qemu_names_its_package() {
        let error = find_qemu(OsStr::new("/nonexistent")).await.expect_err("nothing there");
        assert!(error.to_string().contains("apt-get install qemu-system-x86"), "{error}");
    }
}
