//! `kiln image report` and `kiln image inspect`: what is inside an image, criterion by criterion.

use std::process::ExitCode;
use std::sync::Arc;

use kiln_block::FileDevice;
use kiln_model::{Architecture, BootMode, ImportClaim, LicenseType, Limits, LimitsPreset};
use kiln_service::Confined;
use kiln_service::policy::{Policy, Preset};
use serde_json::Value;

use crate::arguments::{Claim, Inspect, OutputForm};
use crate::client::Error;
use crate::config::{FIRST_UID, SELF};
use crate::output;

pub(super) const COLUMNS: &[(&str, &str)] =
    &[("", "/Severity"), ("CRITERION", "/Code"), ("FOUND", "/Found"), ("TO DO", "/Fix")];

/// Judges a file of this machine as an import with the default limits would; fails where it would be refused.
pub(super) fn inspect(form: OutputForm, inspect: &Inspect) -> Result<ExitCode, Error> {
    let preset = if inspect.policy == "modern" { Preset::Modern } else { Preset::Guide };
    let file = super::open_image_file(&inspect.file)?;
    let limit = Limits::preset(LimitsPreset::Guide).system_disk_bytes;
    let policy = Policy::preset(preset);
    let confined = Confined::new(SELF.into(), FIRST_UID);
    let device = Arc::new(FileDevice::new(file)?);
    let judged = kiln_service::judge(&confined, device, &policy, &claim(&inspect.claim), limit);
    let judgement = judged.map_err(|error| format!("{}: {error}", inspect.file.display()))?;
    let mut report = kiln_tencent_api::report_shape(&judgement.report);
    if form == OutputForm::Json {
        report["Format"] = judgement.opened.format.name().into();
        report["Inspection"] = serde_json::to_value(&judgement.inspection)?;
    }
    print(form, &report, "");
    Ok(if judgement.report.accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a report in the form that the API has for it, or `none` where there is none.
pub(super) fn print(form: OutputForm, report: &Value, none: &str) {
    if report.is_null() && form == OutputForm::Table {
        return output::line(none);
    }
    output::listing(form, report, "FindingSet", COLUMNS);
    if form == OutputForm::Table {
        let accepted = report["Accepted"].as_bool().unwrap_or_default();
        let verdict = if accepted { "may come in" } else { "may NOT come in" };
        output::line(&format!("By the policy {}, the image {verdict}.", output::text(&report["Policy"])));
    }
}

/// The arguments' parser has let through only these words.
fn claim(said: &Claim) -> ImportClaim {
    ImportClaim {
        os_type: said.os_type.clone(),
        os_version: said.os_version.clone(),
        architecture: match said.architecture.as_str() {
            "i386" => Architecture::I386,
            "arm64" => Architecture::Arm64,
            _ => Architecture::X86_64,
        },
        boot_mode: if said.boot_mode == "UEFI" { BootMode::Uefi } else { BootMode::Bios },
        force: said.force,
        license: if said.license == "BYOL" { LicenseType::Byol } else { LicenseType::TencentCloud },
    }
}
