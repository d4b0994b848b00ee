//! NTFS volumes of `mkntfs`, written here and read by ntfs-3g's tools.

use std::path::{Path, PathBuf};

use kiln_guest::place::PlaceError;
use kiln_testkit::qemu_img::run;

use super::{blank, placed, sbin, utf8};

const PATH: &str = "/qcloud-network-config.ini";
const NAME: &str = "qcloud-network-config.ini";
const MIB: u64 = 1 << 20;

/// A volume and where it is kept.
pub(super) struct Volume {
    directory: tempfile::TempDir,
    image: PathBuf,
}

/// A volume as `mkntfs` makes it.
pub(super) fn volume(size_bytes: u64) -> Volume {
    volume_with(size_bytes, &[])
}

fn volume_with(size_bytes: u64, options: &[&str]) -> Volume {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.raw");
    blank(&image, size_bytes);
    run(&sbin("mkntfs"), ["-q", "-F", "-f"].iter().chain(options).copied().chain([utf8(&image)]));
    Volume { directory, image }
}

impl Volume {
    pub(super) fn image(&self) -> &Path {
        &self.image
    }

    /// Puts a file into the root with ntfs-3g's own tool.
    fn copy_in(&self, name: &str, content: &[u8]) {
        let source = self.directory.path().join("source");
        std::fs::write(&source, content).expect("a file");
        run(&sbin("ntfscp"), ["-q", utf8(&self.image), utf8(&source), name]);
    }

    /// Places the file, and lets the tools judge the result.
    fn check(&self, case: &str, content: &[u8]) {
        let written = placed(&self.image, PATH, content).unwrap_or_else(|error| panic!("{case}: {error}"));
        let path = utf8(&written);
        run("ntfsfix", ["-n", path]);
        assert_eq!(run("ntfscat", [path, NAME]).as_bytes(), content, "{case}");
        let names = |image: &Path| {
            let listed = run("ntfsls", [utf8(image)]);
            let mut names: Vec<_> = listed.lines().map(str::to_owned).filter(|name| name != NAME).collect();
            names.sort();
            names
        };
        assert_eq!(names(&written), names(&self.image), "{case}");
        // Clusters, records and the bitmaps that count them agree.
        run(&sbin("ntfsresize"), ["--info", "--force", "--no-progress-bar", path]);
        // Its own next writer finds its way too.
        let source = self.directory.path().join("another");
        std::fs::write(&source, "x").expect("a file");
        run(&sbin("ntfscp"), ["-q", path, utf8(&source), "another"]);
        assert!(run("ntfsls", [path]).lines().any(|name| name == "another"), "{case}");
    }
}

#[test]
fn volumes_of_every_cluster_size_take_the_file() {
    let long: Vec<u8> = (0..9_000).map(|n| b'a' + (n % 26) as u8).collect();
    for cluster in ["512", "1024", "4096", "65536"] {
        let volume = volume_with(64 * MIB, &["-c", cluster]);
        volume.check(cluster, b"[ip]\r\nip = 10.0.0.5\r\n");
        volume.check(cluster, &long);
        volume.check(cluster, b"");
    }
}

#[test]
fn a_file_of_that_name_is_replaced() {
    for old in [&b"old"[..], &[7; 200_000]] {
        let volume = volume(64 * MIB);
        volume.copy_in(NAME, old);
        volume.check("replaced", b"new");
    }
}

/// A root whose own record overflowed is refused; one of any ordinary size is not.
#[test]
fn root_directories_of_every_size_take_the_name() {
    let volume = volume(64 * MIB);
    for n in 0..77 {
        volume.copy_in(&format!("file-number-{n}.txt"), b"x");
        if n % 7 == 0 || (20..45).contains(&n) {
            volume.check(&format!("{n} files"), b"new");
        }
    }
    for n in 77..120 {
        volume.copy_in(&format!("file-number-{n}.txt"), b"x");
    }
    let error = placed(&volume.image, PATH, b"x").expect_err("ntfs-3g has put the index elsewhere");
    assert!(matches!(error, PlaceError::FileSystem(_)), "{error:?}");
}

#[test]
fn a_volume_that_asks_for_a_check_is_refused() {
    let volume = volume(16 * MIB);
    run("ntfsfix", [utf8(&volume.image)]);
    // ntfsfix leaves the dirty flag set, so that Windows looks at the volume itself.
    let error = placed(&volume.image, PATH, b"x").expect_err("it is to be refused");
    assert!(matches!(error, PlaceError::Unsuitable(_)), "{error:?}");
}
