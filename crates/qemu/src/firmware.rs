//! UEFI firmware: finding the distribution's, and giving a machine its own variables.
//!
//! A machine that has a file of variables ([`layout::UEFI_VARIABLES`]) starts by UEFI, any other by BIOS. The firmware's
//! code is the host's and shared; the variables (boot entries above all) are the machine's own.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout;

/// Code and empty variables, where distributions keep them: Debian and Ubuntu, Fedora, openSUSE, Arch.
const PLACES: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

/// Installed UEFI firmware for x86-64 machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// What machines run, read-only.
    pub code: PathBuf,
    /// What a new machine's variables are a copy of.
    pub variables: PathBuf,
}

/// Looks for the firmware where distributions keep it.
///
/// # Errors
/// [`Error::FirmwareMissing`] names the package to install.
pub fn find_firmware() -> Result<Firmware> {
    let mut places =
        PLACES.iter().map(|(code, variables)| Firmware { code: code.into(), variables: variables.into() });
    places
        .find(|firmware| firmware.code.is_file() && firmware.variables.is_file())
        .ok_or(Error::FirmwareMissing)
}

/// Gives the machine of an instance directory empty variables, so that it starts by UEFI.
///
/// # Errors
/// [`Error::Io`] where they cannot be copied.
pub fn write_uefi_variables(firmware: &Firmware, dir: &Path) -> Result<()> {
    let target = dir.join(layout::UEFI_VARIABLES);
    let variables = fs::read(&firmware.variables).map_err(Error::io("read", &firmware.variables))?;
    let write = || {
        let mut file =
            fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&target)?;
        std::io::Write::write_all(&mut file, &variables)
    };
    write().map_err(Error::io("write", &target))
}
