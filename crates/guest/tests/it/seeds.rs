//! Seeds for the fuzzers of this crate's parsers: what the tests inspect, by fuzz target.

use crate::disks::{Disk, system_disk};
use crate::files::{KERNEL, Tree, debian, initramfs, shell};
use crate::target::pack;
use crate::windows_disk;

/// A seed: the fuzz target, a name, the bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// All of them, in an order that does not change.
pub(crate) fn seeds() -> Vec<Seed> {
    [tables(), hives(), archives(), texts(), disks()].concat()
}

fn named(target: &'static str, contents: impl IntoIterator<Item = Vec<u8>>) -> Vec<Seed> {
    let contents = contents.into_iter().enumerate();
    contents.map(|(number, content)| (target, format!("seed-{number}"), content)).collect()
}

fn tables() -> Vec<Seed> {
    let scripts = [
        "label: dos\nstart=2048, type=83, bootable\n",
        "label: dos\ndisk1 : start=64, size=64, type=83\ndisk2 : type=5\ndisk5 : size=64, type=82\ndisk6 : type=83\n",
        "label: gpt\nsize=512K, type=uefi\nsize=64K\ntype=linux\n",
    ];
    named(
        "partition_table",
        scripts.map(|script| {
            let disk = Disk::new(4);
            disk.partition(script);
            // Both copies of a GPT, and none of the nothing between them.
            shell("head -c 40960 disk; tail -c 20480 disk", disk.path().parent().expect("a directory"))
        }),
    )
}

fn hives() -> Vec<Seed> {
    named("hive", [windows_disk::system(), windows_disk::software()])
}

fn archives() -> Vec<Seed> {
    let plain = || initramfs("cat", &["virtio_blk"]);
    let compressed = ["gzip", "xz --check=crc32", "zstd -q", "lz4 -l -q", "bzip2", "lzma"];
    let compressed = compressed.map(|command| initramfs(command, &["virtio_blk", "virtio_net"]));
    [named("cpio", [plain()]), named("initramfs", [plain()].into_iter().chain(compressed))].concat()
}

fn texts() -> Vec<Seed> {
    let texts = [
        "auto lo eth0\niface lo inet loopback\niface eth0 inet static\n  address 192.0.2.2/24\n  gateway 192.0.2.1\n",
        "source /etc/network/interfaces.d/*\nallow-hotplug eth1\niface eth1 inet6 static\n\taddress 2001:db8::2\n",
        "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true, match: {macaddress: \"52:54:00:00:00:01\"}}\n",
        "network:\n  ethernets:\n    all:\n      addresses: [192.0.2.2/24, \"2001:db8::2/64\"]\n  bonds: {}\n",
        "DEVICE=eth0\nBOOTPROTO=static\nIPADDR=192.0.2.2\nIPV6ADDR=\"2001:db8::2/64\"\nONBOOT=yes\n",
        "[Match]\nName=eth0 en*\n[Network]\nDHCP=yes\nAddress=192.0.2.2/24\n",
        "[connection]\ntype=ethernet\ninterface-name=eth1\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=manual\naddress1=2001:db8::2/64\n",
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\nID_LIKE=\"a b\"\n",
        "CentOS Linux release 7.9.2009 (Core)\n",
        "SUSE Linux Enterprise Server 12 (x86_64)\nVERSION = 12\nPATCHLEVEL = 5\n",
        "UUID=11111111-2222-3333-4444-555555555555 / ext4 errors=remount-ro 0 1\nLABEL=b /boot xfs ro 0 2\n",
        "datasource_list: [ NoCloud, None ]\nusers:\n - default\nsystem_info:\n  distro: debian\n",
        "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC\n",
    ];
    named("text", texts.map(|text| text.as_bytes().to_vec()))
}

/// Disks as small as their tools make them, with a system that has something to find in each corner.
fn disks() -> Vec<Seed> {
    let small = || {
        let tree = debian();
        tree.write(&format!("/boot/initrd.img-{KERNEL}"), initramfs("zstd -q", &["virtio_blk"]))
            .write("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA somebody\n")
            .write("/root/.bash_history", "ls\n");
        tree
    };
    let ext = ["ext2", "ext3", "ext4", "ext4 without checksums"];
    let ext = ext.map(|kind| pack(system_disk(kind, &small()).device().as_ref()));
    let xfs = ["xfs", "xfs without checksums"].map(|kind| {
        let disk = Disk::new(400);
        disk.partition("label: dos\nstart=2048, type=83, bootable\n").file_system(kind, 1, 399, &small());
        pack(disk.device().as_ref())
    });
    let efi = Tree::new();
    efi.write("EFI/BOOT/BOOTX64.EFI", "MZ");
    let fat = Disk::new(64);
    fat.partition("label: gpt\nsize=40M, type=uefi\ntype=linux\n").file_system("vfat", 1, 40, &efi);
    let fat = pack(fat.device().as_ref());
    let ntfs = pack(windows_disk::small_system_disk().device().as_ref());
    let placed = ext.iter().cloned().chain([ntfs.clone()]);
    [named("place", placed), named("disk", ext.iter().cloned().chain(xfs).chain([fat, ntfs]))].concat()
}
