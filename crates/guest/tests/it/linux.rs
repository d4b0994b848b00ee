//! Linux systems on real file systems.

use kiln_guest::{
    Addressing, Architecture, BootCode, BootLoader, Compression, Content, Distribution, Driver, GapReason,
    Inspection, KernelOrigin, Linux, PartitionKind, Scheme, SecretKind, System,
};

use crate::disks::{Disk, system_disk};
use crate::files::{KERNEL, Tree, debian, elf, initramfs};

fn linux(inspection: &Inspection) -> &Linux {
    assert_eq!(inspection.gaps, []);
    match &inspection.system {
        System::Linux(linux) => linux,
        other => panic!("no Linux system: {other:?}"),
    }
}

/// That the system of [`debian`] was seen as it is.
fn check_debian(inspection: &Inspection) {
    let linux = linux(inspection);
    let release = linux.release.as_ref().expect("a release");
    assert_eq!((release.distribution, release.version.as_str()), (Distribution::Debian, "12"));
    assert_eq!(linux.architecture, Some(Architecture::X86_64));
    assert_eq!(linux.kernels.len(), 1);
    let kernel = &linux.kernels[0];
    assert_eq!((kernel.version.as_str(), kernel.origin), (KERNEL, KernelOrigin::Distribution));
    assert!(kernel.banner.as_ref().is_some_and(|banner| banner.contains("debian-kernel")));
    assert_eq!(kernel.virtio_blk, Driver::Module { in_initramfs: Some(true) });
    assert_eq!(kernel.virtio_pci, Driver::Module { in_initramfs: Some(true) });
    assert_eq!(kernel.virtio_net, Driver::Module { in_initramfs: Some(false) });
    let initramfs = kernel.initramfs.as_ref().expect("an initramfs");
    assert_eq!(initramfs.compressions, [Compression::None, Compression::Zstd]);
    assert!(linux.cloud_init.installed && linux.cloud_init.enabled);
    assert_eq!(linux.cloud_init.datasources, ["NoCloud", "None"]);
    assert_eq!(linux.interfaces.len(), 1);
    assert_eq!(linux.interfaces[0].ipv4, Addressing::Automatic);
    assert_eq!(inspection.secrets, []);
}

#[test]
fn the_same_system_is_seen_on_every_file_system() {
    let tree = debian();
    for (kind, content) in
        [("ext2", Content::Ext2), ("ext3", Content::Ext3), ("ext4", Content::Ext4), ("xfs", Content::Xfs)]
    {
        let disk = if kind == "xfs" { xfs_disk(&tree) } else { system_disk(kind, &tree) };
        let inspection = disk.inspect();
        check_debian(&inspection);
        let partition = inspection.root_partition().expect("a root partition");
        assert_eq!((partition.content, partition.active), (content, true), "{kind}");
        assert_eq!(inspection.table.scheme, Scheme::Mbr);
        assert!(inspection.boot.bios && !inspection.boot.uefi);
        assert_eq!(inspection.boot.loader, Some(BootLoader::Grub2));
    }
}

fn xfs_disk(tree: &Tree) -> Disk {
    let disk = Disk::new(400);
    disk.partition("label: dos\nstart=2048, type=83, bootable\n").grub();
    disk.file_system("xfs", 1, 399, tree);
    disk
}

#[test]
fn large_directories_and_files_in_pieces_are_read_on_xfs() {
    let tree = debian();
    for number in 0..1500 {
        tree.write(&format!("/boot/filler-with-a-rather-long-name-{number:05}"), "x");
        tree.write(&format!("/var/lib/dpkg/info/package-{number:05}.list"), "x");
    }
    check_debian(&xfs_disk(&tree).inspect());
}

#[test]
fn a_boot_partition_of_its_own_is_mounted() {
    let root = debian();
    let boot = Tree::new();
    for name in [format!("vmlinuz-{KERNEL}"), format!("config-{KERNEL}"), format!("initrd.img-{KERNEL}")] {
        let content = std::fs::read(root.path().join("boot").join(&name)).expect("a file");
        boot.write(&name, content);
        root.remove(&format!("/boot/{name}"));
    }
    root.write("/etc/fstab", "/dev/vda2 / ext4 defaults 0 1\n/dev/vda1 /boot ext3 defaults 0 2\n");
    let disk = Disk::new(128);
    disk.partition("label: dos\nstart=2048, size=64M, type=83, bootable\ntype=83\n").grub();
    disk.file_system("ext3", 1, 64, &boot).file_system("ext4", 65, 63, &root);
    let inspection = disk.inspect();
    check_debian(&inspection);
    assert_eq!(linux(&inspection).root_partition, 2);
}

#[test]
fn a_gpt_disk_with_an_efi_system_partition_starts_both_ways() {
    let efi = Tree::new();
    efi.write("EFI/BOOT/BOOTX64.EFI", "MZ")
        .write("EFI/debian/grubx64.efi", "MZ")
        .write("EFI/debian/grub.cfg", "x");
    let disk = Disk::new(160);
    disk.partition(
        "label: gpt\nsize=1M, type=21686148-6449-6E6F-744E-656564454649\n\
         size=40M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
         size=8M, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\ntype=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n",
    );
    disk.grub().file_system("vfat", 2, 40, &efi).file_system("swap", 42, 8, &efi);
    disk.file_system("ext4", 50, 100, &debian());
    let inspection = disk.inspect();
    check_debian(&inspection);
    let contents: Vec<_> = inspection.table.partitions.iter().map(|partition| partition.content).collect();
    assert_eq!(contents, [Content::Unknown, Content::Fat32, Content::Swap, Content::Ext4]);
    assert_eq!((inspection.table.scheme, inspection.table.defects.len()), (Scheme::Gpt, 0));
    assert!(inspection.boot.bios && inspection.boot.uefi);
    assert_eq!(inspection.boot.efi_system_partition, Some(2));
    assert_eq!(inspection.boot.efi_programs, ["/EFI/BOOT/BOOTX64.EFI", "/EFI/debian/grubx64.efi"]);
}

#[test]
fn logical_partitions_of_sfdisk_are_found() {
    let disk = Disk::new(160);
    disk.partition("label: dos\ndisk1 : start=2048, size=8M, type=83\ndisk2 : type=5\ndisk5 : size=20M, type=82\ndisk6 : type=83\n");
    let table = disk.inspect().table;
    let kinds: Vec<_> = table.partitions.iter().map(|partition| (partition.number, partition.kind)).collect();
    assert_eq!(
        kinds,
        [1, 5, 6].into_iter().zip([0x83, 0x82, 0x83].map(PartitionKind::Mbr)).collect::<Vec<_>>()
    );
    assert_eq!(table.defects, []);
}

#[test]
fn a_file_system_on_the_whole_disk_is_a_disk_without_a_table() {
    let disk = Disk::new(64);
    disk.file_system("ext4", 0, 64, &debian());
    let inspection = disk.inspect();
    check_debian(&inspection);
    assert_eq!((inspection.table.scheme, linux(&inspection).root_partition), (Scheme::None, 0));
    assert_eq!(inspection.table.boot_code, BootCode::Absent);
    assert!(!inspection.boot.bios);
}

#[test]
fn btrfs_is_recognised() {
    let disk = Disk::new(140);
    disk.partition("label: dos\nstart=2048, type=83, bootable\n").file_system("btrfs", 1, 139, &debian());
    let inspection = disk.inspect();
    assert_eq!(inspection.table.partitions[0].content, Content::Btrfs);
    assert_eq!(inspection.system, System::None);
}

#[test]
fn every_compression_of_an_initramfs_is_read() {
    let tree = debian();
    let path = format!("/boot/initrd.img-{KERNEL}");
    for (command, compression) in [
        ("cat", Compression::None),
        ("gzip", Compression::Gzip),
        ("xz --check=crc32", Compression::Xz),
        ("xz --format=lzma", Compression::Lzma),
        ("zstd -q -19", Compression::Zstd),
        ("lz4 -l -q", Compression::Lz4),
        ("lz4 -q", Compression::Lz4),
        ("bzip2", Compression::Bzip2),
    ] {
        tree.write(&path, initramfs(command, &["virtio_blk", "virtio_pci"]));
        let disk = system_disk("ext4", &tree);
        let inspection = disk.inspect();
        let kernel = &linux(&inspection).kernels[0];
        assert_eq!(kernel.virtio_blk, Driver::Module { in_initramfs: Some(true) }, "{command}");
        let compressions = &kernel.initramfs.as_ref().expect("an initramfs").compressions;
        assert_eq!(compressions, &[Compression::None, compression], "{command}");
    }
}

#[test]
fn what_is_missing_is_missing() {
    let tree = debian();
    tree.remove("/usr/bin/cloud-init").remove(&format!("/var/lib/dpkg/info/linux-image-{KERNEL}.list"));
    tree.write("/var/lib/dpkg/info/dpkg.list", "");
    tree.write(&format!("/boot/initrd.img-{KERNEL}"), initramfs("gzip", &["ext4"]));
    tree.write("/etc/network/interfaces", "iface eth0 inet dhcp\niface eth1 inet static\n");
    tree.write("/usr/bin/dash", elf(3));
    tree.write("/root/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    tree.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    tree.write("/etc/shadow", "root:$y$j9T$x$y:19000:0:99999:7:::\n");
    let inspection = system_disk("ext3", &tree).inspect();
    let linux = linux(&inspection);
    assert!(!linux.cloud_init.installed);
    assert_eq!(linux.kernels[0].origin, KernelOrigin::Foreign);
    assert_eq!(linux.kernels[0].virtio_blk, Driver::Module { in_initramfs: Some(false) });
    assert_eq!(linux.interfaces.len(), 2);
    assert_eq!(linux.architecture, Some(Architecture::I386));
    let kinds: Vec<_> = inspection.secrets.iter().map(|secret| secret.kind).collect();
    assert_eq!(kinds, [SecretKind::PasswordHash, SecretKind::MachineId, SecretKind::PrivateKey]);
}

#[test]
fn a_system_that_was_running_is_read_all_the_same() {
    for kind in ["ext3", "ext4 without checksums", "ext4"] {
        let disk = system_disk(kind, &debian());
        disk.run("debugfs -w -R 'feature needs_recovery' part 2>/dev/null >&2");
        disk.run("dd if=part of=disk bs=1M seek=1 conv=notrunc,sparse status=none");
        let mut inspection = disk.inspect();
        let caveats = std::mem::take(&mut inspection.gaps);
        let reasons: Vec<_> = caveats.iter().map(|gap| gap.reason).collect();
        assert_eq!(reasons, [GapReason::Unsupported], "{kind}: {caveats:?}");
        check_debian(&inspection);
    }
}

#[test]
fn an_inspection_is_kept_as_it_is() {
    let inspection = system_disk("ext4", &debian()).inspect();
    let text = serde_json::to_string(&inspection).expect("plain data");
    assert_eq!(serde_json::from_str::<Inspection>(&text).expect("the same shape"), inspection);
}
