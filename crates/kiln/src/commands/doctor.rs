//! `kiln doctor`: what this machine lacks, and the command that installs it.

use std::path::Path;
use std::process::ExitCode;

use kiln_qemu::AcceleratorChoice;
use serde_json::json;

use crate::arguments::OutputForm;
use crate::client::Error;
use crate::output;

/// Programs of others that the work around Kiln uses: what for, and the package that has it.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("qemu-img", "reading exported images", "qemu-utils"),
    ("nbdcopy", "copying exported images", "libnbd-bin"),
    ("ssh", "kiln instance ssh", "openssh-client"),
];

/// Looks for everything, prints what there is, and fails where instances could not run.
pub(super) async fn run(form: OutputForm) -> Result<ExitCode, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut rows = Vec::new();
    let mut row = |what: &str, state: &str, advice: String| {
        rows.push(json!({ "What": what, "State": state, "Advice": advice }));
    };
    let qemu = kiln_qemu::find_qemu(&path).await;
    match &qemu {
        Ok(qemu) => {
            row("QEMU (instances)", "ok", format!("{} at {}", qemu.version, qemu.path.display()));
            let scratch = std::env::temp_dir();
            let detection = kiln_qemu::detect(AcceleratorChoice::Auto, qemu, None, &scratch).await?;
            let accelerator = format!("{:?}", detection.accelerator).to_uppercase();
            row("accelerator", &accelerator, detection.reason);
        }
        Err(error) => row("QEMU (instances)", "missing", error.to_string()),
    }
    match kiln_qemu::find_firmware() {
        Ok(firmware) => {
            row("UEFI firmware (instances of UEFI images)", "ok", firmware.code.display().to_string())
        }
        Err(error) => row("UEFI firmware (instances of UEFI images)", "missing", error.to_string()),
    }
    for (program, purpose, package) in PROGRAMS {
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
        let what = format!("{program} ({purpose})");
        match found {
            Some(file) => row(&what, "ok", file.display().to_string()),
            None => row(&what, "missing", format!("apt-get install {package}")),
        }
    }
    if !Path::new("/dev/kvm").exists() {
        row(
            "/dev/kvm",
            "missing",
            "guests run on TCG, which is slower; turn virtualisation on in the firmware".to_owned(),
        );
    }
    let columns = [("WHAT", "/What"), ("STATE", "/State"), ("", "/Advice")];
    output::listing(form, &json!({ "Findings": rows }), "Findings", &columns);
    Ok(if qemu.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
