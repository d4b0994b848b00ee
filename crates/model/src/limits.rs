//! Limits per account, and the presets they come from.

use serde::{Deserialize, Serialize};

const GIB: u64 = 1 << 30;

/// A named set of limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitsPreset {
    /// The limits of the user guides.
    #[default]
    Guide,
    /// The limits that the public service has today.
    Current,
}

/// How much an account may have and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Custom images per account and region.
    pub images_per_region: u32,
    /// Operations that make a custom image, per account, region and UTC day; `None` is unbounded.
    pub image_operations_per_day: Option<u32>,
    /// Accounts that one image can be shared with.
    pub shares_per_image: u32,
    /// Virtual size of an imported or created system disk, in bytes.
    pub system_disk_bytes: u64,
    /// Characters of an image's name.
    pub image_name_chars: u32,
    /// Characters of an image's description.
    pub image_description_chars: u32,
    /// Instances per account and region.
    pub instances_per_region: u32,
    /// Snapshots per account and region, but for those that are images' disks.
    #[serde(default = "default_snapshots_per_region")]
    pub snapshots_per_region: u32,
    /// Data disks per account and region.
    #[serde(default = "default_disks_per_region")]
    pub disks_per_region: u32,
    /// Requests per account and second, with bursts of twice as many; an account's sub-accounts share it.
    #[serde(default = "default_requests_per_second")]
    pub requests_per_second: u32,
    /// Exports of images to buckets that are asked for and have not ended, per account.
    #[serde(default = "default_export_tasks")]
    pub export_tasks: u32,
}

/// Also what an account has whose own limits were set before there was this one.
fn default_disks_per_region() -> u32 {
    500
}

/// As [`default_disks_per_region`].
fn default_snapshots_per_region() -> u32 {
    500
}

/// As [`default_disks_per_region`].
fn default_requests_per_second() -> u32 {
    100
}

fn default_export_tasks() -> u32 {
    5
}

impl Limits {
    /// The limits of a preset.
    pub fn preset(preset: LimitsPreset) -> Self {
        let guide = Self {
            images_per_region: 10,
            image_operations_per_day: Some(5),
            shares_per_image: 50,
            system_disk_bytes: 50 * GIB,
            image_name_chars: 60,
            image_description_chars: 256,
            instances_per_region: 500,
            snapshots_per_region: default_snapshots_per_region(),
            disks_per_region: default_disks_per_region(),
            requests_per_second: default_requests_per_second(),
            export_tasks: default_export_tasks(),
        };
        match preset {
            LimitsPreset::Guide => guide,
            LimitsPreset::Current => Self {
                images_per_region: 500,
                image_operations_per_day: None,
                shares_per_image: 500,
                ..guide
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the product rules bound, in their order; the system disk in bytes.
    fn figures(preset: LimitsPreset) -> [Option<u64>; 7] {
        let limits = Limits::preset(preset);
        [
            Some(limits.images_per_region.into()),
            limits.image_operations_per_day.map(u64::from),
            Some(limits.shares_per_image.into()),
            Some(limits.system_disk_bytes),
            Some(limits.image_name_chars.into()),
            Some(limits.image_description_chars.into()),
            Some(limits.export_tasks.into()),
        ]
    }

    #[test]
    fn presets_have_the_figures_of_the_rules() {
        let guide = [Some(10), Some(5), Some(50), Some(50 * GIB), Some(60), Some(256), Some(5)];
        let current = [Some(500), None, Some(500), Some(50 * GIB), Some(60), Some(256), Some(5)];
        for (preset, expected) in [(LimitsPreset::Guide, guide), (LimitsPreset::Current, current)] {
            assert_eq!(figures(preset), expected, "{preset:?}");
        }
    }
}
