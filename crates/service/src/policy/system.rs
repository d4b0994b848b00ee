//! Criteria about the system: which it is, whether it is what the caller says, and whether it runs here.

use kiln_guest::{Architecture as Compiled, Distribution, Kernel, KernelOrigin, Linux, System, Windows};
use kiln_model::{Architecture, LicenseType};

use super::preset::Accepts;
use super::systems::{Kind, Supported, by_os_type, fold, version_agrees};
use super::{Check, Subject, words};

const NO_SYSTEM: &str = "No operating system was found that can be looked into.";
const NO_SYSTEM_FIX: &str = "Import a system disk whose root is on an unencrypted partition, outside LVM.";

/// The name that a system gives itself.
fn name_of(system: &System) -> Option<String> {
    match system {
        System::None => None,
        System::Linux(linux) => linux.release.as_ref().map(|release| release.pretty_name.clone()),
        System::Windows(windows) => Some(windows.product_name.clone()),
    }
}

/// The entry of the policy's list that a system is.
fn supported<'a>(accepts: &'a Accepts, system: &System) -> Option<&'a Supported> {
    let systems = accepts.systems;
    match system {
        System::None => None,
        System::Linux(linux) => {
            let release = linux.release.as_ref()?;
            let is_listed = |one: &&Supported| matches!(one.kind, Kind::Linux(list) if list.contains(&release.distribution));
            let other = || systems.iter().find(|one| matches!(one.kind, Kind::OtherLinux));
            let is_other = accepts.any_linux && release.from_os_release;
            systems.iter().find(is_listed).or_else(|| if is_other { other() } else { None })
        }
        System::Windows(windows) => systems.iter().find(|one| match one.kind {
            Kind::Windows(release, editions) => {
                windows.release == Some(release)
                    && (editions.is_empty()
                        || editions.iter().any(|edition| windows.edition_id.starts_with(edition)))
            }
            _ => false,
        }),
    }
}

pub(super) fn system(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    let system = &subject.inspection.system;
    if *system == System::None {
        return Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX);
    }
    let Some(name) = name_of(system) else {
        return Check::not_met(
            "The system does not say which distribution it is.",
            "Install the distribution's release package, which brings /etc/os-release.",
        );
    };
    match supported(accepts, system) {
        Some(_) => Check::met(format!("The system is {name}.")),
        None => Check::not_met(
            format!("The system is {name}, which is not supported."),
            "Import one of the systems that DescribeImportImageOs lists.",
        ),
    }
}

pub(super) fn os_type(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    let said = &subject.claim.os_type;
    let system = &subject.inspection.system;
    let Some(name) = name_of(system) else {
        return Check::unknown(
            format!("OsType is {said}; which system it is could not be found out."),
            NO_SYSTEM_FIX,
        );
    };
    // A system that is not supported may still be what the caller says it is.
    let agrees = match (supported(accepts, system), by_os_type(accepts.systems, said)) {
        (Some(found), Some(meant)) => {
            found.name == meant.name || matches!((meant.kind, system), (Kind::OtherLinux, System::Linux(_)))
        }
        _ => fold(&name).contains(&fold(said)),
    };
    let found = format!("OsType is {said}; the system is {name}.");
    if agrees {
        Check::met(found)
    } else {
        Check::not_met(found, "Import it with the OsType of the system that is in the image.")
    }
}

pub(super) fn os_version(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    const FIX: &str = "Import it with the OsVersion of the system that is in the image.";
    let said = subject.claim.os_version.trim();
    let (version, agrees) = match &subject.inspection.system {
        System::None => (None, false),
        System::Linux(linux) => match &linux.release {
            Some(release) => (Some(release.version.clone()), version_agrees(said, &release.version)),
            None => (None, false),
        },
        System::Windows(windows) => {
            let name = fold(&windows.product_name);
            (Some(windows.product_name.clone()), name.contains(&fold(said)))
        }
    };
    let Some(version) = version else {
        return Check::unknown(
            format!("OsVersion is {said}; the version could not be found out."),
            NO_SYSTEM_FIX,
        );
    };
    let is_unsaid = matches!(said, "" | "-");
    let any_will_do = supported(accepts, &subject.inspection.system).is_some_and(|one| one.versions == ["-"]);
    let found = match is_unsaid {
        true => format!("The system's version is {version}; OsVersion does not say which it should be."),
        false => format!("OsVersion is {said}; the system's version is {version}."),
    };
    if is_unsaid || any_will_do || agrees { Check::met(found) } else { Check::not_met(found, FIX) }
}

pub(super) fn architecture(accepts: &Accepts, subject: &Subject<'_>) -> Check {
    let said = subject.claim.architecture;
    let system = &subject.inspection.system;
    let found = match system {
        System::None => None,
        System::Linux(linux) => linux.architecture,
        System::Windows(windows) => windows.architecture,
    };
    let Some(found) = found else {
        return Check::unknown("What the system is compiled for could not be found out.", NO_SYSTEM_FIX);
    };
    let own = match found {
        Compiled::X86_64 => Some(Architecture::X86_64),
        Compiled::I386 => Some(Architecture::I386),
        Compiled::Arm64 => Some(Architecture::Arm64),
        _ => None,
    };
    let (asked, compiled) = (words::architecture(said), words::compiled(found));
    let sentence = format!("Architecture is {asked}; the system is compiled for {compiled}.");
    let allowed = supported(accepts, system).map(|one| one.architectures);
    match own {
        Some(own) if allowed.is_some_and(|allowed| !allowed.contains(&own)) => {
            Check::not_met(sentence, "Import a system for 64 bit; Windows for 32 bit is not supported.")
        }
        Some(own) if own == said => Check::met(sentence),
        Some(_) => {
            Check::not_met(sentence, "Import it with the Architecture of the system that is in the image.")
        }
        None => Check::not_met(sentence, "Import a system for x86_64."),
    }
}

/// The kernel that is started unless the boot loader is told otherwise: the newest.
fn first_kernel(linux: &Linux) -> Option<&Kernel> {
    linux.kernels.first()
}

pub(super) fn kernel(subject: &Subject<'_>) -> Check {
    let linux = match &subject.inspection.system {
        System::None => return Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX),
        System::Windows(_) => return Check::met("It does not apply to Windows."),
        System::Linux(linux) => linux,
    };
    const FIX: &str =
        "Install the distribution's own kernel package; another kernel may lack drivers that instances need.";
    match first_kernel(linux) {
        Some(kernel) if kernel.origin == KernelOrigin::Distribution => {
            Check::met(format!("The kernel {} is the distribution's own.", kernel.version))
        }
        Some(kernel) => {
            Check::not_met(format!("The kernel {} is not the distribution's own.", kernel.version), FIX)
        }
        None => Check::not_met("There is no kernel in /boot.", FIX),
    }
}

pub(super) fn virtio_block(subject: &Subject<'_>) -> Check {
    match &subject.inspection.system {
        System::None => Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX),
        System::Windows(windows) => windows_driver("viostor", windows.viostor.starts_at_boot(), windows),
        System::Linux(linux) => linux_block(linux),
    }
}

fn linux_block(linux: &Linux) -> Check {
    const FIX: &str = "Put the modules virtio_blk and virtio_pci into the initramfs (update-initramfs -u with them in \
                       /etc/initramfs-tools/modules, or dracut --add-drivers), or use a kernel that has them built in.";
    let Some(kernel) = first_kernel(linux) else {
        return Check::unknown(
            "There is no kernel in /boot to look at.",
            "Install the distribution's kernel.",
        );
    };
    let drivers = [kernel.virtio_blk, kernel.virtio_pci];
    let found = format!(
        "The kernel {} has virtio_blk {}, virtio_pci {}.",
        kernel.version,
        words::driver(kernel.virtio_blk),
        words::driver(kernel.virtio_pci)
    );
    let is_unread = |driver| matches!(driver, kiln_guest::Driver::Module { in_initramfs: None });
    if drivers.iter().all(|driver| driver.is_there_at_boot()) {
        Check::met(found)
    } else if drivers.iter().all(|driver| driver.is_there_at_boot() || is_unread(*driver)) {
        Check::unknown(format!("{found} Its initramfs could not be read."), FIX)
    } else {
        Check::not_met(found, FIX)
    }
}

pub(super) fn virtio_net(subject: &Subject<'_>) -> Check {
    const FIX: &str = "Install a kernel with the virtio_net and virtio_pci drivers, built in or as modules.";
    match &subject.inspection.system {
        System::None => Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX),
        System::Windows(windows) => windows_driver("netkvm", windows.netkvm.is_enabled(), windows),
        System::Linux(linux) => match first_kernel(linux) {
            None => Check::unknown("There is no kernel in /boot to look at.", FIX),
            Some(kernel) => {
                let found = format!(
                    "The kernel {} has virtio_net {}, virtio_pci {}.",
                    kernel.version,
                    words::driver(kernel.virtio_net),
                    words::driver(kernel.virtio_pci)
                );
                let is_met = kernel.virtio_net.is_present() && kernel.virtio_pci.is_present();
                if is_met { Check::met(found) } else { Check::not_met(found, FIX) }
            }
        },
    }
}

fn windows_driver(name: &str, is_met: bool, windows: &Windows) -> Check {
    let driver = if name == "viostor" { windows.viostor } else { windows.netkvm };
    let file = if driver.has_file { "is there" } else { "is missing" };
    let start = words::start(driver);
    let found = format!("The driver {name}.sys {file}, with {start}.");
    if is_met {
        Check::met(found)
    } else {
        Check::not_met(
            found,
            "Install the virtio-win drivers (viostor, netkvm) and let the system start with them once.",
        )
    }
}

pub(super) fn cloud_init(subject: &Subject<'_>) -> Check {
    const FIX: &str = "Install and enable cloud-init, or import with Force=true; a forced image gets its network file \
                       written before its first start.";
    let linux = match &subject.inspection.system {
        System::None => return Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX),
        System::Windows(windows) => {
            let is_there = windows.cloudbase_init.is_some();
            return Check::met(if is_there { "cloudbase-init is installed." } else { "Windows needs none." });
        }
        System::Linux(linux) => linux,
    };
    let found = match (linux.cloud_init.installed, linux.cloud_init.enabled) {
        (true, true) => return Check::met("cloud-init is installed and enabled."),
        (true, false) => "cloud-init is installed, but it is disabled.",
        (false, _) => "cloud-init is not installed.",
    };
    if subject.claim.force {
        return Check::met(format!("{found} Force=true allows that."));
    }
    Check::not_met(found, FIX)
}

pub(super) fn license(subject: &Subject<'_>) -> Check {
    let is_red_hat = match &subject.inspection.system {
        System::None => return Check::unknown(NO_SYSTEM, NO_SYSTEM_FIX),
        System::Linux(linux) => {
            linux.release.as_ref().is_some_and(|release| release.distribution == Distribution::RedHat)
        }
        System::Windows(_) => false,
    };
    let said = subject.claim.license;
    if !is_red_hat {
        return Check::met(format!(
            "LicenseType is {}; the system asks for no licence of the importer's.",
            words::license(said)
        ));
    }
    match said {
        LicenseType::Byol => Check::met("The system is Red Hat, with the importer's own licence."),
        LicenseType::TencentCloud => Check::not_met(
            "The system is Red Hat, whose licence is not provided here.",
            "Import it with LicenseType=BYOL, under a subscription of your own.",
        ),
    }
}
