//! Looking at an image file and judging what is in it: the format's reader, the inspection, the policy, in this order.
//!
//! What the format's reader refuses (references to other files, encryption, absurd tables) is refused before any other
//! look. Everything else is a finding of the report. What reads the disk's content runs confined, in a process of its
//! own. Nothing here changes anything.

use std::sync::Arc;

use kiln_block::BlockDevice;
use kiln_disk_format::{Limits, OpenedImage};
use kiln_guest::{Gap, GapReason, Inspection, Part};
use kiln_model::ImportClaim;

use crate::confined::{Confined, Unfinished};
use crate::policy::{self, Policy, Report, Subject};

/// The largest disk that is opened at all, so that one over an account's limit gets a whole report.
const MAX_VIRTUAL_SIZE_BYTES: u64 = 64 << 40;

/// A file that was looked at.
pub struct Judgement {
    /// The disk in the file.
    pub opened: OpenedImage,
    /// What is on it.
    pub inspection: Inspection,
    /// What speaks for and against it.
    pub report: Report,
}

/// Why a file could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgementError {
    /// It is no image that is safe to read.
    #[error(transparent)]
    Format(#[from] kiln_disk_format::Error),
    /// It cannot be looked into.
    #[error(transparent)]
    Unreadable(#[from] Unfinished),
}

/// Judges a file by a policy, what is in it being looked at by `confined`. Blocks; uses what an inspection may use (see
/// [`kiln_guest::Limits`]).
///
/// # Errors
/// [`JudgementError`] where there is nothing that a policy could judge.
pub fn judge(
    confined: &Confined,
    file: Arc<dyn BlockDevice>,
    policy: &Policy,
    claim: &ImportClaim,
    size_limit_bytes: u64,
) -> Result<Judgement, JudgementError> {
    let limits = Limits { max_virtual_size_bytes: MAX_VIRTUAL_SIZE_BYTES, ..Limits::default() };
    let opened = kiln_disk_format::open(file, &limits)?;
    let (inspection, report) =
        judge_disk(confined, &opened.device, opened.format.name(), 0, policy, claim, size_limit_bytes)?;
    Ok(Judgement { opened, inspection, report })
}

/// Judges a system disk; `format` is what the file is in which it came. Nobody looks for secrets on the `data_disks` that
/// come with it, and the report says so. Blocks, as [`judge`] does.
///
/// # Errors
/// Where the disk cannot be read.
pub(crate) fn judge_disk(
    confined: &Confined,
    disk: &Arc<dyn BlockDevice>,
    format: &str,
    data_disks: usize,
    policy: &Policy,
    claim: &ImportClaim,
    size_limit_bytes: u64,
) -> Result<(Inspection, Report), Unfinished> {
    let mut inspection = confined.inspect(disk.as_ref())?;
    if data_disks > 0 {
        let detail = format!("nothing is looked for on data disks, and the image has {data_disks}");
        inspection.gaps.push(Gap { part: Part::Secrets, reason: GapReason::Unsupported, detail });
    }
    let virtual_size_bytes = disk.size_bytes();
    let subject = Subject { format, virtual_size_bytes, size_limit_bytes, inspection: &inspection, claim };
    let report = policy::evaluate(policy, &subject);
    Ok((inspection, report))
}
