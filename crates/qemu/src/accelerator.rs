//! Which way guest code runs, and whether KVM really works here.
//!
//! That `/dev/kvm` opens proves nothing: inside virtual machines it often does, and then QEMU aborts while it sets
//! the processor up, or guests hang. So a guest is run: `probe/probe.S`, a firmware of 600 bytes that goes through
//! the modes, registers and interrupts without which Linux does not boot, as the same user and with the same
//! processor model that machines get. Anything but its success within a few seconds means TCG.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::command_line::{SANDBOX, accelerator_options};
use crate::config::Identity;
use crate::emulator::Qemu;
use crate::error::{Error, Result};
use crate::layout::{InstanceDir, QEMU_LOG};
use crate::log::qemu_log_since;
use crate::process::{Ending, Process};
use crate::spawn::Spawn;

/// How long the probe guest may take. It needs well under a tenth of a second where KVM works.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel's interface to hardware virtualisation.
const KVM_DEVICE: &str = "/dev/kvm";
/// The probe guest, assembled from `probe/probe.S`.
const PROBE_CODE: &[u8] = include_bytes!("probe/probe.bin");
/// The byte the guest ends with, as QEMU's isa-debug-exit device turns it into an exit status.
const PROBE_STATUS: i32 = 0x2a << 1 | 1;
const PROBE_ROM: &str = "probe.rom";
const ROM_BYTES: usize = 64 << 10;
/// Where a processor starts, from the end of the firmware, and what stands there: a jump to F000:0000.
const RESET_VECTOR: usize = ROM_BYTES - 16;
const RESET_JUMP: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];

/// How guest code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// On the host's processor, through KVM.
    Kvm,
    /// Translated by QEMU.
    Tcg,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceleratorChoice {
    /// KVM where a guest really runs on it, else TCG.
    #[default]
    Auto,
    /// This one, unchecked.
    Fixed(Accelerator),
}

impl FromStr for AcceleratorChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Fixed(Accelerator::Kvm)),
            "tcg" => Ok(Self::Fixed(Accelerator::Tcg)),
            _ => Err(Error::Config(format!("accelerator {text:?} is none of auto, kvm, tcg"))),
        }
    }
}

/// The accelerator to use, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// What machines are to be started with.
    pub accelerator: Accelerator,
    /// A sentence for the operator.
    pub reason: String,
}

/// Decides the accelerator once; callers keep the answer. `scratch` is an existing directory for a few files
/// that are removed again; `identity` is the one machines will have.
///
/// # Errors
/// [`Error::Io`] when the probe's own files cannot be written. A probe that fails is an answer, not an error.
pub async fn detect(
    choice: AcceleratorChoice,
    qemu: &Qemu,
    identity: Option<Identity>,
    scratch: &Path,
) -> Result<Detection> {
    if let AcceleratorChoice::Fixed(accelerator) = choice {
        return Ok(Detection { accelerator, reason: "chosen by the operator".into() });
    }
    let opened = OpenOptions::new().read(true).write(true).open(KVM_DEVICE);
    let failure = match opened {
        Err(error) => Some(format!("{KVM_DEVICE} cannot be opened: {error}")),
        Ok(_) => probe(Accelerator::Kvm, qemu, identity, scratch).await?,
    };
    Ok(match failure {
        None => Detection { accelerator: Accelerator::Kvm, reason: "a test guest ran on KVM".into() },
        Some(failure) => Detection { accelerator: Accelerator::Tcg, reason: failure },
    })
}

/// Runs the probe guest; `None` means that it succeeded, else why not.
pub(crate) async fn probe(
    accelerator: Accelerator,
    qemu: &Qemu,
    identity: Option<Identity>,
    scratch: &Path,
) -> Result<Option<String>> {
    let directory = scratch.join(format!("accelerator-probe-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(Error::io("make directory", &directory))?;
    let outcome = probe_in(accelerator, qemu, identity, &directory).await;
    if let Err(error) = fs::remove_dir_all(&directory) {
        tracing::warn!(directory = %directory.display(), %error, "the probe's directory was not removed");
    }
    outcome
}

async fn probe_in(
    accelerator: Accelerator,
    qemu: &Qemu,
    identity: Option<Identity>,
    directory: &Path,
) -> Result<Option<String>> {
    let dir = InstanceDir::open(directory)?;
    let rom = dir.entry(PROBE_ROM);
    fs::write(&rom, probe_rom()).map_err(dir.failed("write", PROBE_ROM))?;
    fs::set_permissions(&rom, fs::Permissions::from_mode(0o644)).map_err(dir.failed("write", PROBE_ROM))?;
    if let Some(identity) = identity {
        dir.let_through(identity)?;
    }
    let spawn = Spawn {
        program: &qemu.path,
        arguments: &probe_arguments(accelerator),
        directory: &dir.short_path(),
        log: dir.open_log(QEMU_LOG)?,
        sockets: &[],
        identity,
        extra_group: kvm_group(accelerator),
    };
    let process = Process::of_child(spawn.start()?).map_err(dir.failed("watch the process of", PROBE_ROM))?;
    let ending = match tokio::time::timeout(PROBE_TIMEOUT, process.ended()).await {
        Ok(ending) => ending,
        Err(_) => {
            process.kill();
            process.ended().await;
            let seconds = PROBE_TIMEOUT.as_secs();
            return Ok(Some(format!("a test guest did not finish within {seconds} s")));
        }
    };
    Ok((ending != Ending::Exited(PROBE_STATUS)).then(|| {
        let log = qemu_log_since(&dir, 0);
        format!("a test guest failed ({ending:?}): {}", log.lines().next().unwrap_or("no message"))
    }))
}

fn probe_rom() -> Vec<u8> {
    let mut rom = vec![0; ROM_BYTES];
    rom[..PROBE_CODE.len()].copy_from_slice(PROBE_CODE);
    rom[RESET_VECTOR..RESET_VECTOR + RESET_JUMP.len()].copy_from_slice(&RESET_JUMP);
    rom
}

fn probe_arguments(accelerator: Accelerator) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-machine",
        "pc,usb=off",
        "-m",
        "size=16M",
        "-bios",
        PROBE_ROM,
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
        "-sandbox",
        SANDBOX,
    ]
    .map(String::from)
    .to_vec();
    for (option, value) in accelerator_options(accelerator) {
        arguments.extend([option.to_owned(), value]);
    }
    arguments
}

/// The group whose members may use KVM, where that is how this host grants it. Never root's.
pub(crate) fn kvm_group(accelerator: Accelerator) -> Option<u32> {
    if accelerator == Accelerator::Tcg {
        return None;
    }
    let meta = fs::metadata(KVM_DEVICE).ok()?;
    (meta.mode() & 0o060 == 0o060 && meta.gid() != 0).then_some(meta.gid())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_probe_is_what_its_source_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let (object, binary) = (directory.path().join("probe.o"), directory.path().join("probe.bin"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/probe/probe.S");
        let assembled = Command::new("as").arg("--64").arg("-o").arg(&object).arg(&source).status();
        assert!(assembled.expect("as (binutils) is installed").success());
        let mut link = Command::new("ld");
        link.args(["-Ttext=0xf0000", "--oformat", "binary", "-o"]).arg(&binary).arg(&object);
        assert!(link.status().expect("ld (binutils) is installed").success());
        assert_eq!(fs::read(binary).expect("linked"), PROBE_CODE);
    }

    #[tokio::test]
    async fn a_working_accelerator_passes_the_probe_and_leaves_nothing() {
        let path = std::env::var_os("PATH").expect("a search path");
        let qemu = crate::emulator::find_qemu(&path).await.expect("QEMU is installed");
        let scratch = tempfile::tempdir().expect("a directory");
        let outcome = probe(Accelerator::Tcg, &qemu, None, scratch.path()).await.expect("probed");
        assert_eq!(outcome, None);
        assert_eq!(fs::read_dir(scratch.path()).expect("listed").count(), 0);
    }

    #[test]
    fn choices_are_read_as_the_operator_writes_them() {
        assert_eq!("auto".parse::<AcceleratorChoice>().expect("a choice"), AcceleratorChoice::Auto);
        assert!("KVM!".parse::<AcceleratorChoice>().is_err());
    }
}
