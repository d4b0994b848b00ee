//! The policies, as data: what each criterion costs, and what is accepted.
//!
//! Source: the table "Import policy" of the product rules. `guide` is that table; `modern` also takes GPT, UEFI, XFS
//! and Btrfs roots, later Windows Server releases and any Linux with an os-release.

use std::collections::BTreeMap;

use kiln_guest::Content;
use serde::{Deserialize, Serialize};

use super::criterion::Criterion;
use super::systems::{self, Supported};

/// What a criterion that is not met costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The image does not come in.
    Refuse,
    /// It comes in, and the report says so.
    Warn,
    /// It is not looked at.
    Off,
}

use Criterion as C;
use Rule::{Refuse, Warn};

/// Criterion, `guide`, `modern`: in the order of reports.
#[rustfmt::skip]
const PRESETS: &[(Criterion, Rule, Rule)] = &[
    (C::FileFormat,           Refuse, Refuse),
    (C::VirtualSize,          Refuse, Refuse),
    (C::InspectionComplete,   Refuse, Refuse),
    (C::PartitionTable,       Refuse, Refuse),
    (C::PartitionTableIntact, Warn,   Warn),
    (C::Bootable,             Refuse, Refuse),
    (C::RootFileSystem,       Refuse, Refuse),
    (C::System,               Refuse, Refuse),
    (C::OsTypeAgrees,         Refuse, Refuse),
    (C::OsVersionAgrees,      Refuse, Refuse),
    (C::ArchitectureAgrees,   Refuse, Refuse),
    (C::Kernel,               Warn,   Warn),
    (C::VirtioBlock,          Refuse, Refuse),
    (C::VirtioNet,            Refuse, Refuse),
    (C::CloudInit,            Refuse, Refuse),
    (C::OtherInterfaces,      Refuse, Refuse),
    (C::StaticIpv6,           Refuse, Refuse),
    (C::License,              Refuse, Refuse),
    (C::SshHostKeys,          Warn,   Warn),
    (C::AuthorizedKeys,       Warn,   Warn),
    (C::PrivateKeys,          Warn,   Warn),
    (C::ShellHistories,       Warn,   Warn),
    (C::CloudCredentials,     Warn,   Warn),
    (C::PasswordHashes,       Warn,   Warn),
    (C::MachineId,            Warn,   Warn),
];

/// A policy that a region's operator can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The published rules.
    Guide,
    /// What today's systems need as well.
    Modern,
}

/// A policy: what it accepts, and what each criterion costs.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) preset: Preset,
    pub(super) rules: Vec<(Criterion, Rule)>,
    pub(super) accepts: Accepts,
}

/// What a policy accepts beyond what is always so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepts {
    /// The systems that may come in.
    pub(super) systems: &'static [Supported],
    /// Whether a Linux that is none of them may, if an os-release names it.
    pub(super) any_linux: bool,
    /// Whether GPT may be used where the image starts by BIOS.
    pub(super) gpt_with_bios: bool,
    /// The file systems that a Linux root may be on.
    pub(super) linux_roots: &'static [Content],
    /// Whether what could not be found out costs as much as what was found wrong.
    pub(super) unknown_is_wrong: bool,
}

const GUIDE: Accepts = Accepts {
    systems: systems::GUIDE,
    any_linux: false,
    gpt_with_bios: false,
    linux_roots: &[Content::Ext3, Content::Ext4],
    unknown_is_wrong: true,
};

const MODERN: Accepts = Accepts {
    systems: systems::MODERN,
    any_linux: true,
    gpt_with_bios: true,
    linux_roots: &[Content::Ext3, Content::Ext4, Content::Xfs, Content::Btrfs],
    unknown_is_wrong: false,
};

/// An override names a criterion that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no criterion {0:?}; the criteria are: {1}")]
pub struct UnknownCriterion(pub String, pub String);

impl Policy {
    /// A preset as it is.
    pub fn preset(preset: Preset) -> Self {
        let rule = |guide, modern| if preset == Preset::Guide { guide } else { modern };
        Self {
            preset,
            rules: PRESETS
                .iter()
                .map(|(criterion, guide, modern)| (*criterion, rule(*guide, *modern)))
                .collect(),
            accepts: if preset == Preset::Guide { GUIDE } else { MODERN },
        }
    }

    /// A preset with other rules for some criteria, named by their codes.
    ///
    /// # Errors
    /// Where a code is none.
    pub fn with_overrides(
        preset: Preset,
        overrides: &BTreeMap<String, Rule>,
    ) -> Result<Self, UnknownCriterion> {
        let mut policy = Self::preset(preset);
        for (code, rule) in overrides {
            let known = policy.rules.iter_mut().find(|(criterion, _)| criterion.code() == code);
            let Some((_, own)) = known else {
                let codes: Vec<_> = PRESETS.iter().map(|(criterion, ..)| criterion.code()).collect();
                return Err(UnknownCriterion(code.clone(), codes.join(", ")));
            };
            *own = *rule;
        }
        Ok(policy)
    }
}
