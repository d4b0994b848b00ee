//! ext2, ext3 and ext4 in many combinations of features, sizes of directories, and things that are in the way.

use std::path::{Path, PathBuf};

use kiln_guest::place::PlaceError;
use kiln_testkit::qemu_img::run;

use super::{blank, placed, sbin, utf8};

const PATH: &str = "/etc/qcloud-network-config.ini";
const MIB: u64 = 1 << 20;

/// What `/etc` has in it beside the usual.
#[derive(Clone, Copy, PartialEq)]
enum InTheWay {
    Nothing,
    LongFile,
    ShortLink,
    LongLink,
    HardLink,
    Directory,
}

/// A tree for `mke2fs -d`: `/etc` with so many files.
fn tree(directory: &Path, files: usize, in_the_way: InTheWay) -> PathBuf {
    let root = directory.join("root");
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc).expect("a directory");
    std::fs::create_dir_all(root.join("usr/bin")).expect("a directory");
    for n in 0..files {
        std::fs::write(etc.join(format!("configuration-{n}.conf")), format!("{n}")).expect("a file");
    }
    let file = etc.join("qcloud-network-config.ini");
    match in_the_way {
        InTheWay::Nothing => {}
        InTheWay::LongFile => std::fs::write(file, vec![7; 300_000]).expect("a file"),
        InTheWay::ShortLink => std::os::unix::fs::symlink("/etc/configuration-1.conf", file).expect("a link"),
        InTheWay::LongLink => std::os::unix::fs::symlink("x".repeat(300), file).expect("a link"),
        InTheWay::HardLink => {
            std::fs::write(&file, "old").expect("a file");
            std::fs::hard_link(file, etc.join("other")).expect("a link");
        }
        InTheWay::Directory => std::fs::create_dir(file).expect("a directory"),
    }
    root
}

struct Sample {
    directory: tempfile::TempDir,
    root: PathBuf,
    image: PathBuf,
}

fn sample(files: usize, in_the_way: InTheWay) -> Sample {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = tree(directory.path(), files, in_the_way);
    let image = directory.path().join("disk.raw");
    Sample { directory, root, image }
}

impl Sample {
    fn make(&self, size_bytes: u64, options: &str) {
        blank(&self.image, size_bytes);
        let options = options.split_whitespace();
        let root = utf8(&self.root);
        run(&sbin("mke2fs"), ["-q", "-F", "-d", root].into_iter().chain(options).chain([utf8(&self.image)]));
    }

    fn debugfs(&self, command: &str) {
        run(&sbin("debugfs"), ["-w", "-R", command, utf8(&self.image)]);
    }

    /// Places the file, and lets the tools judge the result.
    fn check(&self, case: &str, content: &[u8]) {
        let written = placed(&self.image, PATH, content).unwrap_or_else(|error| panic!("{case}: {error}"));
        let path = utf8(&written);
        let said = run(&sbin("e2fsck"), ["-fn", path]);
        let complaints: Vec<_> = said.lines().filter(|line| !ordinary(line)).collect();
        assert!(complaints.is_empty(), "{case}: {complaints:#?}");
        let header = run(&sbin("dumpe2fs"), ["-h", path]);
        assert!(header.lines().any(|line| line.starts_with("Filesystem state:") && line.ends_with(" clean")));
        let seen = run(&sbin("debugfs"), ["-R", &format!("cat {PATH}"), path]);
        assert_eq!(seen.as_bytes(), content, "{case}");
        let stat = run(&sbin("debugfs"), ["-R", &format!("stat {PATH}"), path]);
        for expected in ["Type: regular    Mode:  0644", "User:     0   Group:     0", "Links: 1 "] {
            assert!(stat.contains(expected), "{case}: {stat}");
        }
        self.check_with_kernel(case, &written, content);
    }

    /// Everything is as it was, and the file is there, as the kernel sees it. Only root can ask it.
    fn check_with_kernel(&self, case: &str, written: &Path, content: &[u8]) {
        if !Path::new("/dev/loop-control").exists() || !is_root() {
            return;
        }
        let mount = self.directory.path().join("mount");
        std::fs::create_dir_all(&mount).expect("a directory");
        run("mount", ["-o", "loop,ro", utf8(written), utf8(&mount)]);
        let seen = std::fs::read(mount.join(&PATH[1..]));
        let names = |root: &Path| {
            let entries = std::fs::read_dir(root.join("etc")).expect("a directory");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
            names.retain(|name| {
                name != "qcloud-network-config.ini" && !name.as_encoded_bytes().starts_with(b"more")
            });
            names.sort();
            names
        };
        let (now, before) = (names(&mount), names(&self.root));
        unmount(&mount);
        assert_eq!(seen.expect("the file is there"), content, "{case}");
        assert!(now == before, "{case}: {} names of {}", now.len(), before.len());
    }

    /// Lets the kernel work on the file system; answers whether it could.
    fn used_by_kernel(&self, work: impl FnOnce(&Path)) -> bool {
        if !Path::new("/dev/loop-control").exists() || !is_root() {
            return false;
        }
        let mount = self.directory.path().join("mount");
        std::fs::create_dir_all(&mount).expect("a directory");
        run("mount", ["-o", "loop", utf8(&self.image), utf8(&mount)]);
        work(&mount);
        unmount(&mount);
        true
    }

    fn refusal(&self) -> PlaceError {
        let before = std::fs::read(&self.image).expect("the image exists");
        let error = placed(&self.image, PATH, b"x").expect_err("it is to be refused");
        assert!(before == std::fs::read(&self.image).expect("the image exists"), "the base changed");
        error
    }
}

/// What `e2fsck` says of a sound file system.
fn ordinary(line: &str) -> bool {
    line.is_empty() || line.starts_with("Pass ") || line.contains(" files (") && line.contains(" blocks")
}

/// Another test's process may hold what this one had open, between its fork and its exec.
fn unmount(mount: &Path) {
    let mut tries = 0;
    while !std::process::Command::new("umount").arg("-q").arg(mount).status().expect("umount").success() {
        tries += 1;
        assert!(tries < 100, "{} stays busy", mount.display());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn is_root() -> bool {
    run("id", ["-u"]).trim() == "0"
}

/// Feature sets: of today's and of old `mke2fs`, and of neither.
fn feature_sets() -> Vec<String> {
    let mut sets: Vec<String> = [
        "-t ext4",
        "-t ext3",
        "-t ext4 -O orphan_file",
        "-t ext4 -O fast_commit",
        "-t ext4 -O meta_bg,^resize_inode",
        "-t ext4 -O sparse_super2",
        "-t ext4 -O ^has_journal",
    ]
    .map(str::to_owned)
    .into();
    let with_block_size = [
        "-t ext2",
        "-t ext3",
        "-t ext4",
        "-t ext4 -O inline_data",
        "-t ext4 -O metadata_csum_seed",
        "-t ext4 -O ^metadata_csum,^64bit",
        "-t ext4 -O ^metadata_csum,uninit_bg",
        "-t ext4 -O ^flex_bg",
        "-t ext4 -O ^dir_index",
        "-t ext4 -O ^extent,^64bit",
        "-t ext4 -O ^metadata_csum -I 128",
    ];
    for block in [1024, 2048, 4096] {
        sets.extend(with_block_size.map(|set| format!("{set} -b {block}")));
    }
    sets
}

#[test]
fn every_feature_set_takes_the_file() {
    let sample = sample(40, InTheWay::Nothing);
    let long: Vec<u8> = (0..9_000).map(|n| b'a' + (n % 26) as u8).collect();
    for set in feature_sets() {
        sample.make(64 * MIB, &set);
        sample.check(&set, b"[ip]\nip = 10.0.0.5\n");
        sample.check(&set, &long);
        sample.check(&set, b"");
    }
}

#[test]
fn whatever_has_the_name_is_replaced_and_never_followed() {
    for in_the_way in [InTheWay::LongFile, InTheWay::ShortLink, InTheWay::LongLink, InTheWay::HardLink] {
        let sample = sample(20, in_the_way);
        for set in ["-t ext4", "-t ext3", "-t ext4 -O inline_data", "-t ext4 -b 1024", "-t ext3 -b 1024"] {
            sample.make(64 * MIB, set);
            sample.check(set, b"new");
        }
    }
    let sample = sample(20, InTheWay::Directory);
    sample.make(64 * MIB, "-t ext4");
    assert!(matches!(sample.refusal(), PlaceError::IsDirectory(_)));
}

/// One more name each time, so that some fall on a block that is just full: indexed and not, all hashes.
#[test]
fn directories_of_every_size_take_the_name() {
    let index = "tune2fs -E hash_alg={} $0 && e2fsck -fyD $0; test $? -le 1";
    for files in [80, 86, 87, 88, 89, 90, 170, 350, 351, 352, 353, 1500, 4000] {
        let sample = sample(files, InTheWay::Nothing);
        for set in ["-t ext4", "-t ext3 -b 1024", "-t ext4 -b 1024"] {
            sample.make(64 * MIB, set);
            sample.check(&format!("{set}, {files} files"), b"new");
        }
        for (set, hash) in
            [("-t ext4", "half_md4"), ("-t ext3 -b 1024", "tea"), ("-t ext4 -b 1024", "legacy")]
        {
            sample.make(64 * MIB, set);
            let script = format!("export PATH=$PATH:/usr/sbin; {}", index.replace("{}", hash));
            run("sh", ["-c", &script, utf8(&sample.image)]);
            sample.check(&format!("{set}, {hash}, {files} files"), b"new");
        }
    }
}

#[test]
fn what_a_kernel_left_takes_the_file() {
    for set in ["-t ext4", "-t ext3", "-t ext4 -b 1024", "-t ext3 -b 1024"] {
        let sample = sample(10, InTheWay::Nothing);
        sample.make(64 * MIB, set);
        let used = sample.used_by_kernel(|root| {
            for n in 0..700 {
                std::fs::write(root.join(format!("etc/more-{n}")), "x").expect("writable");
            }
            for n in (0..700).step_by(5) {
                std::fs::remove_file(root.join(format!("etc/more-{n}"))).expect("it is there");
            }
        });
        if used {
            sample.check(set, b"new");
        }
    }
}

#[test]
fn a_disk_of_many_groups_takes_the_file() {
    let sample = sample(10, InTheWay::Nothing);
    for set in ["-t ext4", "-t ext3"] {
        sample.make(20 << 30, set);
        sample.check(set, b"new");
    }
}

#[test]
fn a_full_file_system_refuses_and_a_nearly_full_one_does_not() {
    let sample = sample(10, InTheWay::Nothing);
    // The root's own files, and as many inodes as they take.
    sample.make(16 * MIB, "-t ext4 -N 32");
    for n in 0..32 {
        sample.debugfs(&format!("mkdir /d{n}"));
    }
    assert!(matches!(sample.refusal(), PlaceError::FileSystem(_)));
    sample.make(16 * MIB, "-t ext4");
    let left = |sample: &Sample| -> u64 {
        let header = run(&sbin("dumpe2fs"), ["-h", utf8(&sample.image)]);
        let line = header.lines().find(|line| line.starts_with("Free blocks:")).expect("a header");
        line.split_whitespace().last().expect("a number").parse().expect("a number")
    };
    let block = 1024;
    let fill = sample.directory.path().join("fill");
    blank(&fill, 0);
    for keep in [2, 0] {
        // `debugfs write` skips zeros.
        let bytes = (left(&sample) - keep) * block;
        std::fs::write(&fill, vec![1; bytes as usize - if keep > 0 { 40 * 1024 } else { 0 }])
            .expect("a file");
        let _ = std::process::Command::new(sbin("debugfs"))
            .args(["-w", "-R", &format!("write {} fill{keep}", utf8(&fill)), utf8(&sample.image)])
            .output();
        if keep > 0 {
            sample.check("nearly full", b"new");
        } else if left(&sample) == 0 {
            assert!(matches!(sample.refusal(), PlaceError::FileSystem(_)));
        }
    }
}

#[test]
fn what_is_not_to_be_written_is_refused_with_its_reason() {
    let sample = sample(10, InTheWay::Nothing);
    let cases = [
        ("-t ext4", "feature needs_recovery", "its journal holds changes"),
        ("-t ext3", "feature needs_recovery", "its journal holds changes"),
        ("-t ext4", "ssv state 0", "not taken down in order"),
        ("-t ext4", "ssv state 3", "says of errors"),
        ("-t ext4", "ssv last_orphan 12", "needs a check"),
        ("-t ext4 -O orphan_file", "feature orphan_present", "needs a check"),
        ("-t ext4", "ssv feature_incompat 0x400002c2", "features that are not written"),
        ("-t ext4", "ssv feature_ro_compat 0x4000047b", "features that are not written"),
        ("-t ext4", "ssv feature_compat 0x4000003c", "features that are not written"),
        ("-t ext4 -O bigalloc", "stats", "features that are not written"),
        ("-t ext4 -O quota", "stats", "features that are not written"),
        ("-t ext4 -O encrypt", "stats", "features that are not written"),
        ("-t ext4 -O casefold", "stats", "features that are not written"),
        ("-t ext4 -O verity", "stats", "features that are not written"),
        ("-t ext4", "ssv journal_inum 0", "journal on another disk"),
    ];
    for (set, command, reason) in cases {
        sample.make(32 * MIB, set);
        sample.debugfs(command);
        let error = sample.refusal();
        assert!(matches!(error, PlaceError::Unsuitable(_)), "{set}, {command}: {error:?}");
        assert!(error.to_string().contains(reason), "{set}, {command}: {error}");
    }
}

#[test]
fn a_file_needs_its_directory() {
    let sample = sample(1, InTheWay::Nothing);
    sample.make(32 * MIB, "-t ext4");
    sample.debugfs("symlink link /etc");
    for path in ["/nowhere/file", "/link/file", "/etc/configuration-0.conf/file"] {
        let error = placed(&sample.image, path, b"x").expect_err("it is to be refused");
        assert!(matches!(error, PlaceError::NoDirectory(_)), "{path}: {error:?}");
    }
    for path in ["etc/file", "/etc/../file", "/etc//file", "/", "/etc/"] {
        let error = placed(&sample.image, path, b"x").expect_err("it is to be refused");
        assert!(matches!(error, PlaceError::Invalid(_)), "{path}: {error:?}");
    }
}
