//! The import policy: whether an image may come in, criterion by criterion.
//!
//! ```text
//! file format, size ──┐
//! kiln_guest facts  ──┼─► evaluate(policy, subject) ─► Report: a finding for EVERY criterion, accepted or not
//! what the caller said┘
//! ```
//!
//! The table is in `preset`, the systems in `systems`, each criterion's look at the facts in `disk`, `system`,
//! `network` and `secrets`. Everything here is pure: no I/O, no clock. The order of findings is the table's.

mod criterion;
mod disk;
mod network;
mod preset;
mod secrets;
mod system;
mod systems;
#[cfg(test)]
mod tests;
mod words;

use kiln_guest::Inspection;
use kiln_model::ImportClaim;
use serde::{Deserialize, Serialize};

pub use criterion::Criterion;
pub use preset::{Policy, Preset, Rule, UnknownCriterion};
pub use systems::{SupportedOs, SupportedOsVersions, UnknownSystem, find_system, supported_os};

use crate::checks::is_invisible;
use preset::Accepts;

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The file's format by its usual name, such as `qcow2`.
    pub format: &'a str,
    /// The disk's size as a guest sees it.
    pub virtual_size_bytes: u64,
    /// The largest size that the account may import.
    pub size_limit_bytes: u64,
    /// What is inside.
    pub inspection: &'a Inspection,
    /// What the caller says is inside.
    pub claim: &'a ImportClaim,
}

/// Longest sentence of a finding, in characters.
const FOUND_CHARS_MAX: usize = 1000;

/// How a criterion came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is met, or does not apply.
    Pass,
    /// It is not met; the image may come in.
    Warn,
    /// It is not met; the image may not come in.
    Refuse,
}

/// What was found for a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The criterion, by its stable code.
    pub code: Criterion,
    /// How it came out.
    pub severity: Severity,
    /// What it looks at, as a heading.
    pub subject: String,
    /// What was found, as a sentence.
    pub found: String,
    /// How to mend it, as a sentence; empty where there is nothing to mend.
    pub fix: String,
}

/// What speaks for and against an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The policy it was judged by.
    pub policy: Preset,
    /// A finding for every criterion that is not switched off.
    pub findings: Vec<Finding>,
    /// Whether it may come in.
    pub accepted: bool,
}

impl Report {
    /// The findings that keep the image out.
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Refuse)
    }
}

/// How a look at the facts came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Met,
    /// Not met, in a way that a warning is enough for.
    Tolerable,
    NotMet,
    /// The facts do not say.
    Unknown,
}

/// What a look at the facts found.
struct Check {
    outcome: Outcome,
    found: String,
    fix: &'static str,
}

impl Check {
    fn met(found: impl Into<String>) -> Self {
        Self { outcome: Outcome::Met, found: found.into(), fix: "" }
    }

    fn not_met(found: impl Into<String>, fix: &'static str) -> Self {
        Self { outcome: Outcome::NotMet, found: found.into(), fix }
    }

    fn tolerable(found: impl Into<String>, fix: &'static str) -> Self {
        Self { outcome: Outcome::Tolerable, found: found.into(), fix }
    }

    fn unknown(found: impl Into<String>, fix: &'static str) -> Self {
        Self { outcome: Outcome::Unknown, found: found.into(), fix }
    }
}

/// Judges an image.
pub fn evaluate(policy: &Policy, subject: &Subject<'_>) -> Report {
    let judged = policy.rules.iter().filter(|(_, rule)| *rule != Rule::Off);
    let findings: Vec<Finding> = judged
        .map(|(criterion, rule)| {
            let check = look(*criterion, &policy.accepts, subject);
            Finding {
                code: *criterion,
                severity: severity(check.outcome, *rule, &policy.accepts),
                subject: criterion.subject().to_owned(),
                found: shown(&check.found),
                fix: check.fix.to_owned(),
            }
        })
        .collect();
    let accepted = findings.iter().all(|finding| finding.severity != Severity::Refuse);
    Report { policy: policy.preset, findings, accepted }
}

/// What is said of an image that could not be looked into.
pub(crate) fn unread(policy: &Policy, reason: &str) -> Report {
    let code = Criterion::InspectionComplete;
    let finding = Finding {
        code,
        severity: Severity::Refuse,
        subject: code.subject().to_owned(),
        found: shown(&format!("The image could not be looked into: {reason}.")),
        fix: "Nothing is known of what is in it. Check its file systems (fsck, chkdsk), and look for secrets yourself \
              before you share it."
            .to_owned(),
    };
    Report { policy: policy.preset, findings: vec![finding], accepted: false }
}

/// What was found as people are shown it: of bounded length, and with nothing in it that steers what shows it. Parts of it
/// are a stranger's words.
fn shown(found: &str) -> String {
    found
        .chars()
        .take(FOUND_CHARS_MAX)
        .map(|letter| if letter.is_control() || is_invisible(letter) { ' ' } else { letter })
        .collect()
}

fn severity(outcome: Outcome, rule: Rule, accepts: &Accepts) -> Severity {
    let is_costly = match outcome {
        Outcome::Met => return Severity::Pass,
        Outcome::Tolerable => false,
        Outcome::NotMet => true,
        Outcome::Unknown => accepts.unknown_is_wrong,
    };
    if is_costly && rule == Rule::Refuse { Severity::Refuse } else { Severity::Warn }
}

fn look(criterion: Criterion, accepts: &Accepts, subject: &Subject<'_>) -> Check {
    use kiln_guest::SecretKind;
    match criterion {
        Criterion::FileFormat => disk::file_format(subject),
        Criterion::VirtualSize => disk::virtual_size(subject),
        Criterion::InspectionComplete => disk::inspection_complete(subject),
        Criterion::PartitionTable => disk::partition_table(accepts, subject),
        Criterion::PartitionTableIntact => disk::partition_table_intact(subject),
        Criterion::Bootable => disk::bootable(subject),
        Criterion::RootFileSystem => disk::root_file_system(accepts, subject),
        Criterion::System => system::system(accepts, subject),
        Criterion::OsTypeAgrees => system::os_type(accepts, subject),
        Criterion::OsVersionAgrees => system::os_version(accepts, subject),
        Criterion::ArchitectureAgrees => system::architecture(accepts, subject),
        Criterion::Kernel => system::kernel(subject),
        Criterion::VirtioBlock => system::virtio_block(subject),
        Criterion::VirtioNet => system::virtio_net(subject),
        Criterion::CloudInit => system::cloud_init(subject),
        Criterion::OtherInterfaces => network::other_interfaces(subject),
        Criterion::StaticIpv6 => network::static_ipv6(subject),
        Criterion::License => system::license(subject),
        Criterion::SshHostKeys => secrets::of_kind(subject, SecretKind::SshHostKey),
        Criterion::AuthorizedKeys => secrets::of_kind(subject, SecretKind::AuthorizedKeys),
        Criterion::PrivateKeys => secrets::of_kind(subject, SecretKind::PrivateKey),
        Criterion::ShellHistories => secrets::of_kind(subject, SecretKind::ShellHistory),
        Criterion::CloudCredentials => secrets::of_kind(subject, SecretKind::CloudCredentials),
        Criterion::PasswordHashes => secrets::of_kind(subject, SecretKind::PasswordHash),
        Criterion::MachineId => secrets::of_kind(subject, SecretKind::MachineId),
    }
}
