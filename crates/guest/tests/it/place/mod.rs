//! Writing a file offline: the file systems are made by `mke2fs` and `mkntfs`, and judged by `e2fsck`, `debugfs`,
//! `ntfsfix`, `ntfscat` and, where the tests run as root, by the kernel.

mod disk;
mod ext;
mod hostile;
mod ntfs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::{CowDevice, FileDevice};
use kiln_guest::place::{self, CHANGED_BYTES_MAX, PlaceError};
use kiln_testkit::qemu_img::run;

/// Where Debian keeps the tools, out of an ordinary user's way.
fn sbin(tool: &str) -> String {
    let path = format!("/usr/sbin/{tool}");
    if Path::new(&path).exists() { path } else { tool.to_owned() }
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// Makes a sparse file.
fn blank(path: &Path, size_bytes: u64) {
    std::fs::File::create(path).and_then(|file| file.set_len(size_bytes)).expect("a sparse file");
}

/// Puts a file into the file system that takes all of `image`, and applies the changes to a copy of it.
fn placed(image: &Path, path: &str, content: &[u8]) -> Result<PathBuf, PlaceError> {
    let base = FileDevice::new(std::fs::File::open(image).expect("the image exists")).expect("a file");
    let size = std::fs::metadata(image).expect("the image exists").len();
    let layer = Arc::new(CowDevice::new(base, CHANGED_BYTES_MAX));
    place::file(layer.clone(), (0, size), path, content)?;
    Ok(patched(image, &layer.changes()))
}

fn patched(image: &Path, changes: &place::Changes) -> PathBuf {
    use std::os::unix::fs::FileExt;
    let copy = image.with_extension("written");
    run("cp", ["--sparse=always", utf8(image), utf8(&copy)]);
    let file = std::fs::File::options().write(true).open(&copy).expect("the copy exists");
    for (offset, bytes) in changes {
        file.write_all_at(bytes, *offset).expect("writable");
    }
    copy
}
