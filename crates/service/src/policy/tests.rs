//! Each case changes one thing about an image that passes, and names exactly the findings that it costs under each
//! policy.

use std::collections::BTreeMap;

use kiln_guest::{
    Addressing, Architecture as Compiled, Boot, BootCode, BootLoader, CloudInit, Configurator, Content,
    Defect, Distribution, Driver, Exhausted, Gap, GapReason, Inspection, Interface, InterfaceName, Kernel,
    KernelOrigin, Linux, Part, Partition, PartitionKind, Release, Scheme, Secret, SecretKind, Start, System,
    Table, Windows, WindowsDriver, WindowsRelease,
};
use kiln_model::{Architecture, BootMode, ImportClaim, LicenseType};

use super::Severity::{Refuse, Warn};
use super::{Criterion as C, Policy, Preset, Report, Rule, Severity, Subject, evaluate, supported_os};

const GIB: u64 = 1 << 30;

/// An image with the caller's words for it.
struct Image {
    format: &'static str,
    size_bytes: u64,
    inspection: Inspection,
    claim: ImportClaim,
}

impl Image {
    fn judge(&self, policy: &Policy) -> Report {
        evaluate(
            policy,
            &Subject {
                format: self.format,
                virtual_size_bytes: self.size_bytes,
                size_limit_bytes: 50 * GIB,
                inspection: &self.inspection,
                claim: &self.claim,
            },
        )
    }

    fn linux(&mut self) -> &mut Linux {
        match &mut self.inspection.system {
            System::Linux(linux) => linux,
            other => panic!("no Linux: {other:?}"),
        }
    }

    fn windows(&mut self) -> &mut Windows {
        match &mut self.inspection.system {
            System::Windows(windows) => windows,
            other => panic!("no Windows: {other:?}"),
        }
    }

    fn release(&mut self, distribution: Distribution, version: &str, name: &str) {
        let id = name.to_lowercase();
        let release = Release {
            distribution,
            id,
            version: version.into(),
            pretty_name: name.into(),
            from_os_release: true,
        };
        self.linux().release = Some(release);
    }

    fn interface(&mut self, name: &str, ipv4: Addressing, ipv6: Addressing) {
        let name = InterfaceName::Exact(name.into());
        let (configurator, path) = (Configurator::Ifupdown, "/etc/network/interfaces".into());
        self.linux().interfaces.push(Interface { name, ipv4, ipv6, configurator, path });
    }

    fn no_cloud_init(&mut self) {
        self.linux().cloud_init = CloudInit::default();
        self.claim.force = true;
    }
}

fn inspection(content: Content, system: System) -> Inspection {
    let partition = Partition {
        number: 1,
        start_bytes: 1 << 20,
        len_bytes: GIB,
        kind: PartitionKind::Mbr(0x83),
        active: true,
        content,
    };
    let table = Table {
        scheme: Scheme::Mbr,
        boot_signature: true,
        boot_code: BootCode::Grub,
        partitions: vec![partition],
        defects: Vec::new(),
    };
    let boot = Boot { bios: true, loader: Some(BootLoader::Grub2), ..Boot::default() };
    Inspection { size_bytes: 2 * GIB, table, boot, system, secrets: Vec::new(), gaps: Vec::new() }
}

fn image(content: Content, system: System, os_type: &str, os_version: &str) -> Image {
    let claim = ImportClaim {
        os_type: os_type.into(),
        os_version: os_version.into(),
        architecture: Architecture::X86_64,
        boot_mode: BootMode::Bios,
        force: false,
        license: LicenseType::TencentCloud,
    };
    Image { format: "qcow2", size_bytes: 2 * GIB, inspection: inspection(content, system), claim }
}

fn debian() -> Image {
    let module = Driver::Module { in_initramfs: Some(true) };
    let kernel = Kernel {
        version: "6.1.0-18-amd64".into(),
        path: "/boot/vmlinuz-6.1.0-18-amd64".into(),
        banner: None,
        origin: KernelOrigin::Distribution,
        virtio_pci: Driver::BuiltIn,
        virtio_blk: module,
        virtio_net: Driver::Module { in_initramfs: Some(false) },
        initramfs: None,
    };
    let linux = Linux {
        root_partition: 1,
        release: None,
        architecture: Some(Compiled::X86_64),
        kernels: vec![kernel],
        cloud_init: CloudInit { installed: true, enabled: true, ..CloudInit::default() },
        interfaces: Vec::new(),
        mounts: Vec::new(),
    };
    let mut image = image(Content::Ext4, System::Linux(Box::new(linux)), "Debian", "12");
    image.release(Distribution::Debian, "12", "Debian GNU/Linux 12 (bookworm)");
    image
}

fn windows() -> Image {
    let windows = Windows {
        root_partition: 1,
        product_name: "Windows Server 2012 R2 Standard".into(),
        edition_id: "ServerStandard".into(),
        version: "6.3".into(),
        build: 9600,
        release: Some(WindowsRelease::Server2012R2),
        architecture: Some(Compiled::X86_64),
        viostor: WindowsDriver { start: Some(Start::Boot), has_file: true },
        netkvm: WindowsDriver { start: Some(Start::Manual), has_file: true },
        cloudbase_init: None,
    };
    image(Content::Ntfs, System::Windows(Box::new(windows)), "Windows Server 2012", "R2")
}

fn costs(report: &Report) -> Vec<(C, Severity)> {
    let costly = report.findings.iter().filter(|finding| finding.severity != Severity::Pass);
    let costs: Vec<_> = costly.map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(report.accepted, costs.iter().all(|(_, severity)| *severity != Refuse));
    for finding in &report.findings {
        assert!(finding.found.ends_with('.'), "{finding:?}");
        assert_eq!(finding.fix.is_empty(), finding.severity == Severity::Pass, "{finding:?}");
    }
    costs
}

/// Checks what an image costs under `guide` and under `modern`.
fn check(
    what: &str,
    mut image: Image,
    change: impl FnOnce(&mut Image),
    guide: &[(C, Severity)],
    modern: &[(C, Severity)],
) {
    change(&mut image);
    for (preset, expected) in [(Preset::Guide, guide), (Preset::Modern, modern)] {
        assert_eq!(costs(&image.judge(&Policy::preset(preset))), expected, "{what} under {preset:?}");
    }
}

/// The same under both.
fn both(what: &str, image: Image, change: impl FnOnce(&mut Image), expected: &[(C, Severity)]) {
    check(what, image, change, expected, expected);
}

#[test]
fn what_passes_costs_nothing_and_the_report_still_lists_everything() {
    both("Debian", debian(), |_| {}, &[]);
    both("Windows", windows(), |_| {}, &[]);
    assert_eq!(debian().judge(&Policy::preset(Preset::Guide)).findings.len(), 25);
}

#[test]
fn file_and_size() {
    both("format", debian(), |i| i.format = "vhdx", &[(C::FileFormat, Refuse)]);
    both("size", debian(), |i| i.size_bytes = 50 * GIB, &[]);
    both("too large", debian(), |i| i.size_bytes = 50 * GIB + 1, &[(C::VirtualSize, Refuse)]);
}

#[test]
fn partitions_and_starting() {
    let gpt = |image: &mut Image| image.inspection.table.scheme = Scheme::Gpt;
    check("GPT", debian(), gpt, &[(C::PartitionTable, Refuse)], &[]);
    let uefi = |image: &mut Image| {
        image.inspection.table.scheme = Scheme::Gpt;
        image.claim.boot_mode = BootMode::Uefi;
        image.inspection.boot = Boot {
            uefi: true,
            efi_system_partition: Some(1),
            loader: Some(BootLoader::Grub2),
            ..Boot::default()
        };
    };
    both("GPT with UEFI", debian(), uefi, &[]);
    both(
        "UEFI without its partition",
        debian(),
        |i| i.claim.boot_mode = BootMode::Uefi,
        &[(C::Bootable, Refuse)],
    );
    both("no boot loader", debian(), |i| i.inspection.boot.bios = false, &[(C::Bootable, Refuse)]);
    both("no table", debian(), |i| i.inspection.table.scheme = Scheme::None, &[(C::PartitionTable, Refuse)]);
    let defect =
        |image: &mut Image| image.inspection.table.defects.push(Defect::Overlap { number: 2, with: 1 });
    both("overlap", debian(), defect, &[(C::PartitionTableIntact, Warn)]);
}

#[test]
fn root_file_systems() {
    let on = |content| move |image: &mut Image| image.inspection.table.partitions[0].content = content;
    both("ext3", debian(), on(Content::Ext3), &[]);
    both("ext2", debian(), on(Content::Ext2), &[(C::RootFileSystem, Refuse)]);
    check("XFS", debian(), on(Content::Xfs), &[(C::RootFileSystem, Refuse)], &[]);
}

#[test]
fn a_root_that_cannot_be_read() {
    let none = |content| {
        move |image: &mut Image| {
            image.inspection.system = System::None;
            image.inspection.table.partitions[0].content = content;
        }
    };
    let unknown = [
        C::System,
        C::OsTypeAgrees,
        C::OsVersionAgrees,
        C::ArchitectureAgrees,
        C::Kernel,
        C::VirtioBlock,
        C::VirtioNet,
        C::CloudInit,
        C::OtherInterfaces,
        C::StaticIpv6,
        C::License,
        C::SshHostKeys,
        C::AuthorizedKeys,
        C::PrivateKeys,
        C::ShellHistories,
        C::CloudCredentials,
        C::PasswordHashes,
        C::MachineId,
    ];
    let warnings: Vec<_> = unknown.iter().map(|criterion| (*criterion, Warn)).collect();
    let is_warning = |criterion| matches!(criterion, C::Kernel) || criterion >= C::SshHostKeys;
    let refused = |criterion| (criterion, if is_warning(criterion) { Warn } else { Refuse });
    let guide: Vec<_> = [C::RootFileSystem].into_iter().chain(unknown).map(refused).collect();
    check("Btrfs", debian(), none(Content::Btrfs), &guide, &warnings);
    let lvm: Vec<_> = [(C::RootFileSystem, Refuse)].into_iter().chain(warnings).collect();
    check("LVM", debian(), none(Content::Lvm), &guide, &lvm);
}

#[test]
fn what_could_not_be_looked_at_keeps_an_image_out() {
    let gap = |reason| {
        move |image: &mut Image| {
            image.inspection.gaps.push(Gap { part: Part::Kernels, reason, detail: "x".into() });
        }
    };
    both("damage", debian(), gap(GapReason::Damaged), &[(C::InspectionComplete, Refuse)]);
    both("budget", debian(), gap(GapReason::Exhausted(Exhausted::Time)), &[(C::InspectionComplete, Refuse)]);
    both("not read here", debian(), gap(GapReason::Unsupported), &[]);
}

#[test]
fn the_system_must_be_supported_and_be_what_the_caller_says() {
    let fedora = |image: &mut Image| {
        image.release(Distribution::Fedora, "39", "Fedora Linux 39");
        image.claim.os_type = "Fedora".into();
        image.claim.os_version = "39".into();
    };
    check("Fedora", debian(), fedora, &[(C::System, Refuse)], &[]);
    let other = |image: &mut Image| {
        image.release(Distribution::Other, "1.0", "Some Linux 1");
        image.claim.os_type = "other linux".into();
        image.claim.os_version = "-".into();
    };
    check("another Linux", debian(), other, &[(C::System, Refuse), (C::OsTypeAgrees, Refuse)], &[]);
    let no_release = [(C::System, Refuse), (C::OsTypeAgrees, Refuse), (C::OsVersionAgrees, Refuse)];
    check(
        "no release",
        debian(),
        |i| i.linux().release = None,
        &no_release,
        &[(C::System, Refuse), (C::OsTypeAgrees, Warn), (C::OsVersionAgrees, Warn)],
    );
    both("OsType", debian(), |i| i.claim.os_type = "Ubuntu".into(), &[(C::OsTypeAgrees, Refuse)]);
    for (said, found, agrees) in [
        ("12", "12.5", true),
        ("12.5", "12", true),
        ("-", "12", true),
        ("11", "12", false),
        ("1", "12", false),
        ("22.04", "22.04.3", true),
        ("22.10", "22.04", false),
    ] {
        let change = |image: &mut Image| {
            image.release(Distribution::Debian, found, "Debian");
            image.claim.os_version = said.into();
        };
        let expected = [(C::OsVersionAgrees, Refuse)];
        both(&format!("{said} {found}"), debian(), change, if agrees { &[] } else { &expected });
    }
    let arch = |image: &mut Image| image.claim.architecture = Architecture::I386;
    both("Architecture", debian(), arch, &[(C::ArchitectureAgrees, Refuse)]);
    let arm = |image: &mut Image| {
        image.claim.architecture = Architecture::Arm64;
        image.linux().architecture = Some(Compiled::Arm64);
    };
    check("arm64", debian(), arm, &[(C::ArchitectureAgrees, Refuse)], &[]);
}

#[test]
fn kernels_and_drivers() {
    let kernel = |change: fn(&mut Kernel)| move |image: &mut Image| change(&mut image.linux().kernels[0]);
    both("own kernel", debian(), kernel(|k| k.origin = KernelOrigin::Foreign), &[(C::Kernel, Warn)]);
    both("block built in", debian(), kernel(|k| k.virtio_blk = Driver::BuiltIn), &[]);
    let not_in_initramfs = kernel(|k| k.virtio_blk = Driver::Module { in_initramfs: Some(false) });
    both("block not in the initramfs", debian(), not_in_initramfs, &[(C::VirtioBlock, Refuse)]);
    let unread = kernel(|k| k.virtio_blk = Driver::Module { in_initramfs: None });
    check("initramfs not read", debian(), unread, &[(C::VirtioBlock, Refuse)], &[(C::VirtioBlock, Warn)]);
    both("no net", debian(), kernel(|k| k.virtio_net = Driver::Absent), &[(C::VirtioNet, Refuse)]);
    let no_bus = kernel(|k| k.virtio_pci = Driver::Absent);
    both("no bus", debian(), no_bus, &[(C::VirtioBlock, Refuse), (C::VirtioNet, Refuse)]);
    check(
        "no kernel",
        debian(),
        |i| i.linux().kernels.clear(),
        &[(C::Kernel, Warn), (C::VirtioBlock, Refuse), (C::VirtioNet, Refuse)],
        &[(C::Kernel, Warn), (C::VirtioBlock, Warn), (C::VirtioNet, Warn)],
    );
}

#[test]
fn cloud_init_unless_forced() {
    let none = |image: &mut Image| image.linux().cloud_init = CloudInit::default();
    both("none", debian(), none, &[(C::CloudInit, Refuse)]);
    both("none, forced", debian(), Image::no_cloud_init, &[]);
    both("disabled", debian(), |i| i.linux().cloud_init.enabled = false, &[(C::CloudInit, Refuse)]);
}

#[test]
fn network() {
    use Addressing::{Automatic, Static, Unset};
    both("eth0", debian(), |i| i.interface("eth0", Automatic, Automatic), &[]);
    let other = |image: &mut Image| image.interface("ens3", Static, Unset);
    both("other, with cloud-init", debian(), other, &[(C::OtherInterfaces, Warn)]);
    let forced = |image: &mut Image| {
        image.no_cloud_init();
        image.interface("ens3", Static, Unset);
    };
    both("other, without", debian(), forced, &[(C::OtherInterfaces, Refuse)]);
    let both_interfaces = |image: &mut Image| {
        image.no_cloud_init();
        image.interface("eth0", Automatic, Unset);
        image.interface("eth1", Automatic, Unset);
    };
    both("other beside eth0", debian(), both_interfaces, &[(C::OtherInterfaces, Warn)]);
    let ipv6 = |image: &mut Image| {
        image.no_cloud_init();
        image.interface("eth0", Static, Static);
    };
    both("static IPv6", debian(), ipv6, &[(C::StaticIpv6, Refuse)]);
    let left_alone = |image: &mut Image| {
        image.linux().cloud_init.network_disabled = true;
        image.interface("eth0", Unset, Static);
    };
    both("cloud-init leaves the network alone", debian(), left_alone, &[(C::StaticIpv6, Refuse)]);
}

#[test]
fn red_hat_needs_its_importers_licence() {
    let red_hat = |image: &mut Image| {
        image.release(Distribution::RedHat, "7.9", "Red Hat Enterprise Linux Server 7.9");
        image.claim.os_type = "Redhat".into();
        image.claim.os_version = "7".into();
    };
    both("provider's licence", debian(), red_hat, &[(C::License, Refuse)]);
    let own = |image: &mut Image| {
        red_hat(image);
        image.claim.license = LicenseType::Byol;
    };
    both("own licence", debian(), own, &[]);
}

#[test]
fn windows_rules() {
    let datacenter = |image: &mut Image| {
        image.windows().edition_id = "ServerDatacenter".into();
        image.windows().product_name = "Windows Server 2012 R2 Datacenter".into();
    };
    check("edition", windows(), datacenter, &[(C::System, Refuse)], &[]);
    let later = |image: &mut Image| {
        image.windows().release = Some(WindowsRelease::Server2019);
        image.windows().product_name = "Windows Server 2019 Datacenter".into();
        image.claim.os_type = "Windows Server 2019".into();
        image.claim.os_version = "-".into();
    };
    check("2019", windows(), later, &[(C::System, Refuse)], &[]);
    let narrow = |image: &mut Image| {
        image.windows().architecture = Some(Compiled::I386);
        image.claim.architecture = Architecture::I386;
    };
    both("32 bit", windows(), narrow, &[(C::ArchitectureAgrees, Refuse)]);
    both(
        "disk driver",
        windows(),
        |i| i.windows().viostor.start = Some(Start::Manual),
        &[(C::VirtioBlock, Refuse)],
    );
    both(
        "disk driver's file",
        windows(),
        |i| i.windows().viostor.has_file = false,
        &[(C::VirtioBlock, Refuse)],
    );
    both(
        "card disabled",
        windows(),
        |i| i.windows().netkvm.start = Some(Start::Disabled),
        &[(C::VirtioNet, Refuse)],
    );
    both(
        "no card driver",
        windows(),
        |i| i.windows().netkvm = WindowsDriver::default(),
        &[(C::VirtioNet, Refuse)],
    );
    both("version", windows(), |i| i.claim.os_version = "2008".into(), &[(C::OsVersionAgrees, Refuse)]);
    both("said to be Linux", windows(), |i| i.claim.os_type = "Debian".into(), &[(C::OsTypeAgrees, Refuse)]);
}

#[test]
fn none_found_where_not_all_was_searched_is_no_pass() {
    let cut_short = |image: &mut Image| {
        let detail = "more files than are searched".to_owned();
        image.inspection.gaps.push(Gap { part: Part::Secrets, reason: GapReason::Unsupported, detail });
    };
    let secrets = [
        C::SshHostKeys,
        C::AuthorizedKeys,
        C::PrivateKeys,
        C::ShellHistories,
        C::CloudCredentials,
        C::PasswordHashes,
        C::MachineId,
    ];
    both("cut short", debian(), cut_short, &secrets.map(|criterion| (criterion, Warn)));
}

#[test]
fn what_a_stranger_wrote_is_shown_short_and_plain() {
    let long = format!("Debian\u{1b}[2J\n\u{202e}{}", "x".repeat(5000));
    let shown = super::shown(&long);
    assert_eq!(shown.chars().count(), super::FOUND_CHARS_MAX);
    assert!(shown.starts_with("Debian [2J  x"), "{shown:.40}");
}

#[test]
fn secrets_are_warnings() {
    for (kind, criterion) in [
        (SecretKind::SshHostKey, C::SshHostKeys),
        (SecretKind::AuthorizedKeys, C::AuthorizedKeys),
        (SecretKind::PrivateKey, C::PrivateKeys),
        (SecretKind::ShellHistory, C::ShellHistories),
        (SecretKind::CloudCredentials, C::CloudCredentials),
        (SecretKind::PasswordHash, C::PasswordHashes),
        (SecretKind::MachineId, C::MachineId),
    ] {
        let secret = Secret { kind, path: "/x".into(), user: Some("root".into()) };
        both("secret", debian(), |i| i.inspection.secrets.push(secret), &[(criterion, Warn)]);
    }
}

#[test]
fn operators_override_by_code() {
    let mut overrides =
        BTreeMap::from([("PrivateKeys".to_owned(), Rule::Refuse), ("Kernel".to_owned(), Rule::Off)]);
    let policy = Policy::with_overrides(Preset::Guide, &overrides).expect("known codes");
    let mut image = debian();
    image.inspection.secrets.push(Secret {
        kind: SecretKind::PrivateKey,
        path: "/root/key".into(),
        user: None,
    });
    image.linux().kernels[0].origin = KernelOrigin::Foreign;
    let report = image.judge(&policy);
    assert_eq!(costs(&report), [(C::PrivateKeys, Refuse)]);
    assert!(report.findings.iter().all(|finding| finding.code != C::Kernel));
    overrides.insert("Kernl".to_owned(), Rule::Off);
    assert!(Policy::with_overrides(Preset::Guide, &overrides).is_err());
}

#[test]
fn reports_are_kept_as_they_are() {
    let report = debian().judge(&Policy::preset(Preset::Guide));
    let text = serde_json::to_string(&report).expect("plain data");
    assert!(text.contains(r#"{"code":"FileFormat","severity":"pass","subject":"file format""#), "{text}");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("the same shape"), report);
    for finding in &report.findings {
        assert_eq!(serde_json::to_value(finding.code).expect("a code"), finding.code.code());
    }
}

#[test]
fn the_list_of_systems_is_the_policys() {
    let guide = supported_os(&Policy::preset(Preset::Guide));
    assert_eq!(guide.linux, ["CentOS", "RedHat", "Ubuntu", "Debian", "CoreOS", "OpenSUSE", "SUSE"]);
    assert_eq!(guide.windows, ["Windows Server 2008", "Windows Server 2012"]);
    let debian = guide.versions.iter().find(|one| one.name == "Debian").expect("listed");
    assert!(debian.versions.contains(&"12"));
    assert_eq!(debian.architectures, [Architecture::X86_64, Architecture::I386]);
    let modern = supported_os(&Policy::preset(Preset::Modern));
    assert!(modern.windows.contains(&"Windows Server 2022") && modern.linux.contains(&"Other Linux"));
    assert_eq!(modern.versions.len(), modern.linux.len() + modern.windows.len());
}
