//! `qemu-img` and `qemu-io` as oracles: what QEMU makes of an image file.
//!
//! Every function panics with the tool's own words when the tool is missing or fails: a test without its oracle
//! has proved nothing. Not here: starting guests, and opinions about what the answers should be.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use kiln_block::{Extent, ExtentKind};

/// Runs a tool and returns what it printed.
///
/// # Panics
/// Where the tool cannot be started or does not exit with 0.
pub fn run<I: AsRef<OsStr>>(tool: &str, arguments: impl IntoIterator<Item = I>) -> String {
    let mut command = Command::new(tool);
    command.args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("{tool} must be installed: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}:\n{stdout}{stderr}", output.status);
    stdout
}

/// Makes an empty image of `size_bytes`; `options` are those of `qemu-img create -o`, none where empty.
///
/// # Panics
/// As [`run`].
pub fn create(path: &Path, format: &str, options: &str, size_bytes: u64) {
    let mut arguments = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    let size = size_bytes.to_string();
    let file = path.to_str().expect("test paths are UTF-8");
    arguments.extend([file, &size]);
    run("qemu-img", arguments);
}

/// Runs `qemu-io` commands (`write -P 7 64k 4k`, `discard 0 1M`, …) on an image, in order.
///
/// # Panics
/// As [`run`], and where one of the commands fails.
pub fn io<S: AsRef<str>>(path: &Path, format: &str, commands: &[S]) {
    let mut arguments = vec!["-f".to_owned(), format.to_owned()];
    for command in commands {
        arguments.extend(["-c".to_owned(), command.as_ref().to_owned()]);
    }
    arguments.push(path.to_str().expect("test paths are UTF-8").to_owned());
    let said = run("qemu-io", arguments);
    assert!(!said.contains("failed"), "qemu-io on {path:?}: {said}");
}

/// Converts an image to another format; `options` as for [`create`].
///
/// # Panics
/// As [`run`].
pub fn convert(from: &Path, from_format: &str, to: &Path, to_format: &str, options: &str, compressed: bool) {
    let mut command = vec![OsStr::new("convert"), OsStr::new("-q")];
    if compressed {
        command.push(OsStr::new("-c"));
    }
    if !options.is_empty() {
        command.extend([OsStr::new("-o"), OsStr::new(options)]);
    }
    command.extend([OsStr::new("-f"), OsStr::new(from_format), OsStr::new("-O"), OsStr::new(to_format)]);
    command.extend([from.as_os_str(), to.as_os_str()]);
    run("qemu-img", command);
}

/// What the guest of the image would read: the whole disk, as `qemu-img convert -O raw` writes it.
///
/// # Panics
/// As [`run`], and where there is no room for a temporary file.
pub fn contents(path: &Path, format: &str) -> Vec<u8> {
    let raw = tempfile::NamedTempFile::new().expect("temporary file");
    convert(path, format, raw.path(), "raw", "", false);
    std::fs::read(raw.path()).expect("qemu-img wrote it")
}

/// The extents of an image alone (no backing file), as `qemu-img map --output=json` gives them, those of one
/// kind merged.
///
/// # Panics
/// As [`run`], and where the answer is not the JSON that QEMU documents.
pub fn map(path: &Path, format: &str) -> Vec<Extent> {
    let file = path.to_str().expect("test paths are UTF-8");
    let said = run("qemu-img", ["map", "--output=json", "-f", format, file]);
    let rows: serde_json::Value = serde_json::from_str(&said).expect("qemu-img prints JSON");
    let mut extents: Vec<Extent> = Vec::new();
    for row in rows.as_array().expect("an array of extents") {
        let number = |name: &str| row[name].as_u64().expect("a number of bytes");
        let flag = |name: &str| row[name].as_bool().expect("a flag");
        let kind = match (flag("data"), flag("zero"), flag("present")) {
            (true, _, _) => ExtentKind::Data,
            (false, true, true) => ExtentKind::Zero,
            _ => ExtentKind::Hole,
        };
        let extent = Extent { offset: number("start"), len: number("length"), kind };
        match extents.last_mut() {
            Some(last) if last.kind == kind => last.len += extent.len,
            _ => extents.push(extent),
        }
    }
    extents
}

/// The answer of `qemu-img info --output=json`.
///
/// # Panics
/// As [`run`].
pub fn info(path: &Path) -> serde_json::Value {
    let file = path.to_str().expect("test paths are UTF-8");
    serde_json::from_str(&run("qemu-img", ["info", "--output=json", file])).expect("qemu-img prints JSON")
}

/// Checks an image's structure with `qemu-img check`, which also counts leaked clusters as a failure.
///
/// # Panics
/// As [`run`].
pub fn check(path: &Path, format: &str) {
    run("qemu-img", [OsStr::new("check"), OsStr::new("-f"), OsStr::new(format), path.as_os_str()]);
}

/// Compares what two images' guests would read, byte for byte.
///
/// # Panics
/// As [`run`]; where the contents differ, too.
pub fn compare(a: &Path, a_format: &str, b: &Path, b_format: &str) {
    let arguments = ["compare", "-f", a_format, "-F", b_format].map(OsStr::new);
    let files = [a.as_os_str(), b.as_os_str()];
    run("qemu-img", arguments.into_iter().chain(files));
}
