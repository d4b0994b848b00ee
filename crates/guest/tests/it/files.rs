//! Trees of files for tests: a small system that has all that an inspection looks at.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory that becomes a file system.
pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

pub(crate) const KERNEL: &str = "6.1.0-18-amd64";

impl Tree {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().expect("a link has a parent")).expect("a directory");
        symlink(target, path).expect("a link");
        self
    }

    pub(crate) fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.inside(path)).expect("a file to remove");
        self
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.path().join(path.trim_start_matches('/'))
    }
}

/// A Debian 12 in miniature: merged `/usr`, a kernel whose virtio drivers are modules, cloud-init.
pub(crate) fn debian() -> Tree {
    let tree = Tree::new();
    let modules = format!("/usr/lib/modules/{KERNEL}");
    tree.write("/usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n")
        .link("/etc/os-release", "../usr/lib/os-release")
        .write("/etc/debian_version", "12.5\n")
        .write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        .write("/etc/shadow", "root:*:19000:0:99999:7:::\n")
        .write("/etc/fstab", "UUID=11111111-2222-3333-4444-555555555555 / ext4 errors=remount-ro 0 1\n")
        .write("/etc/machine-id", "")
        .write("/usr/bin/dash", elf(62))
        .link("/usr/bin/sh", "dash")
        .link("/bin", "usr/bin")
        .link("/lib", "usr/lib")
        .write(&format!("/boot/vmlinuz-{KERNEL}"), bzimage(&format!("{KERNEL} (debian-kernel@lists.debian.org) #1 SMP")))
        .write(&format!("/boot/config-{KERNEL}"), "CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_NET=m\n")
        .write(&format!("/boot/initrd.img-{KERNEL}"), initramfs("zstd -q", &["virtio_blk", "virtio_pci"]))
        .write("/boot/grub/grub.cfg", "menuentry\n")
        .write(&format!("{modules}/modules.builtin"), "kernel/fs/ext4/ext4.ko\n")
        .write(
            &format!("{modules}/modules.dep"),
            "kernel/drivers/block/virtio_blk.ko:\nkernel/drivers/net/virtio_net.ko: a\nkernel/drivers/virtio/virtio_pci.ko:\n",
        )
        .write(&format!("/var/lib/dpkg/info/linux-image-{KERNEL}.list"), "/boot\n")
        .write("/usr/bin/cloud-init", "#!/usr/bin/python3\n")
        .write("/usr/lib/systemd/system-generators/cloud-init-generator", "#!/bin/sh\n")
        .write("/etc/cloud/cloud.cfg", "datasource_list: [ NoCloud, None ]\n")
        .write("/etc/network/interfaces", "auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n");
    tree
}

/// The header of a program for a machine.
pub(crate) fn elf(machine: u16) -> Vec<u8> {
    let mut head = vec![0u8; 64];
    head[..6].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1]);
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head
}

/// The head of a kernel's image with its banner.
pub(crate) fn bzimage(banner: &str) -> Vec<u8> {
    let mut head = vec![0u8; 16 << 10];
    head[0x202..0x206].copy_from_slice(b"HdrS");
    head[0x20E..0x210].copy_from_slice(&0x3000u16.to_le_bytes());
    head[0x3200..0x3200 + banner.len()].copy_from_slice(banner.as_bytes());
    head
}

/// An initramfs as Debian makes it: microcode in a plain archive, then an archive that a shell command compresses.
pub(crate) fn initramfs(compress: &str, drivers: &[&str]) -> Vec<u8> {
    let early = Tree::new();
    early.write("kernel/x86/microcode/GenuineIntel.bin", vec![7; 3000]);
    let main = Tree::new();
    main.write("init", "#!/bin/sh\n").write("usr/bin/busybox", elf(62));
    for driver in drivers {
        main.write(&format!("usr/lib/modules/{KERNEL}/kernel/drivers/{driver}.ko"), vec![9; 20_000]);
    }
    let mut bytes = shell("find . | LC_ALL=C sort | cpio --quiet -o -H newc", early.path());
    bytes.extend(shell(
        &format!("find . | LC_ALL=C sort | cpio --quiet -o -H newc | {compress}"),
        main.path(),
    ));
    bytes
}

/// What a command writes.
pub(crate) fn shell(command: &str, directory: &Path) -> Vec<u8> {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", command])
        .env("PATH", search_path())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    output.stdout
}

/// What a command writes, given its input.
pub(crate) fn shell_with_input(command: &str, directory: &Path, input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(input).expect("a temporary file");
    shell(&format!("{command} <{}", file.path().display()), directory)
}

/// Debian keeps mke2fs and sfdisk out of an ordinary user's way.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
