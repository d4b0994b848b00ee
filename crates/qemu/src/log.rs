//! Logs that others append to and Kiln keeps bounded: a log over its limit is copied to `<name>.1` (its tail) and
//! emptied in place. Its writer has it open for appending and goes on at the new end.
//!
//! What is written between the copy and the emptying is lost; a guest that floods its console loses lines, and
//! the host no disk space beyond what fits between two checks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::layout::{CONSOLE_LOG, InstanceDir, QEMU_LOG};

/// A console log over this many bytes is rotated; as much again is kept of what was before.
pub const CONSOLE_LOG_LIMIT_BYTES: u64 = 1 << 20;
/// The same for what QEMU itself prints.
pub const QEMU_LOG_LIMIT_BYTES: u64 = 64 << 10;
/// How often logs are looked at.
pub const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How much of QEMU's log goes into an error message, in bytes.
const REASON_BYTES: u64 = 2000;

/// The newest `max_bytes` of what the guest printed on its serial console, across one rotation.
///
/// # Errors
/// [`crate::Error::Io`] when the instance directory or a log cannot be read; a missing log is empty.
pub fn read_console(dir: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let dir = InstanceDir::open(dir)?;
    let older = format!("{CONSOLE_LOG}.1");
    let mut text = tail(&dir, CONSOLE_LOG, max_bytes)?;
    let room = max_bytes - text.len() as u64;
    if room > 0 {
        let mut joined = tail(&dir, &older, room)?;
        joined.append(&mut text);
        text = joined;
    }
    Ok(text)
}

/// Rotates whichever of the directory's logs is over its limit.
pub(crate) fn bound_logs(dir: &InstanceDir) -> Result<()> {
    bound(dir, CONSOLE_LOG, CONSOLE_LOG_LIMIT_BYTES)?;
    bound(dir, QEMU_LOG, QEMU_LOG_LIMIT_BYTES)
}

/// The end of QEMU's log from byte `from` on, as text for an error message.
pub(crate) fn qemu_log_since(dir: &InstanceDir, from: u64) -> String {
    let length = std::fs::metadata(dir.entry(QEMU_LOG)).map_or(0, |meta| meta.len());
    let wanted = length.saturating_sub(from).min(REASON_BYTES);
    let bytes = tail(dir, QEMU_LOG, wanted).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn open(dir: &InstanceDir, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(dir.entry(name))
}

fn tail(dir: &InstanceDir, name: &str, max_bytes: u64) -> Result<Vec<u8>> {
    match open(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        opened => {
            opened.and_then(|mut file| last_bytes(&mut file, max_bytes)).map_err(dir.failed("read", name))
        }
    }
}

fn last_bytes(file: &mut File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bound(dir: &InstanceDir, name: &str, limit_bytes: u64) -> Result<()> {
    let length = std::fs::metadata(dir.entry(name)).map_or(0, |meta| meta.len());
    if length <= limit_bytes {
        return Ok(());
    }
    let older = format!("{name}.1");
    let rotate = || -> io::Result<()> {
        let mut file = open(dir, name)?;
        let kept = last_bytes(&mut file, limit_bytes)?;
        let _ = std::fs::remove_file(dir.entry(&older));
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.entry(&older))?;
        copy.write_all(&kept)?;
        file.set_len(0)
    };
    rotate().map_err(dir.failed("rotate", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_tail_and_its_writer_goes_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = InstanceDir::open(directory.path()).expect("opened");
        let mut writer = dir.open_log("some.log").expect("a log");
        writer.write_all(&[b'a'; 100]).expect("written");
        writer.write_all(b"tail").expect("written");
        bound(&dir, "some.log", 10).expect("rotated");
        writer.write_all(b"next").expect("written");
        assert_eq!(std::fs::read(dir.entry("some.log")).expect("read"), b"next");
        assert_eq!(std::fs::read(dir.entry("some.log.1")).expect("read"), b"aaaaaatail");
    }

    #[test]
    fn the_console_is_read_across_a_rotation() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("console.log.1"), "older ").expect("written");
        std::fs::write(directory.path().join("console.log"), "newer").expect("written");
        assert_eq!(read_console(directory.path(), 100).expect("read"), b"older newer");
        assert_eq!(read_console(directory.path(), 7).expect("read"), b"r newer");
        assert_eq!(read_console(directory.path(), 3).expect("read"), b"wer");
    }
}
