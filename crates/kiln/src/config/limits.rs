//! `[limits]`: a preset, and single limits laid over it. Requests per second are not among them: they stand in `[api]`.

use kiln_model::Limits;

use super::file::{ImageOperations, LimitsPart, Unbounded};

/// More than anybody counts; bytes that were given for something else are more.
const MAX_COUNT: u32 = 1_000_000;
/// 64 TiB: no larger disk is looked into.
const MAX_SYSTEM_DISK_GIB: u32 = 64 << 10;
/// More is no name or description any more, and lists carry up to 100 of each.
const MAX_TEXT_CHARS: u32 = 4096;

/// The limits of accounts that have none of their own.
pub(super) fn limits(part: &LimitsPart) -> Result<Limits, String> {
    let preset = Limits::preset(part.preset);
    let count = |key: &str, given: Option<u32>, preset: u32| within(key, given.unwrap_or(preset), MAX_COUNT);
    let chars =
        |key: &str, given: Option<u32>, preset: u32| within(key, given.unwrap_or(preset), MAX_TEXT_CHARS);
    Ok(Limits {
        images_per_region: count("images_per_region", part.images_per_region, preset.images_per_region)?,
        image_operations_per_day: match part.image_operations_per_day {
            None => preset.image_operations_per_day,
            Some(ImageOperations::Unbounded(Unbounded::None)) => None,
            Some(ImageOperations::AtMost(number)) => Some(image_operations(number)?),
        },
        shares_per_image: count("shares_per_image", part.shares_per_image, preset.shares_per_image)?,
        system_disk_bytes: match part.system_disk_size {
            None => preset.system_disk_bytes,
            Some(gib) => u64::from(within("system_disk_size", gib, MAX_SYSTEM_DISK_GIB)?) << 30,
        },
        image_name_chars: chars("image_name_length", part.image_name_length, preset.image_name_chars)?,
        image_description_chars: chars(
            "image_description_length",
            part.image_description_length,
            preset.image_description_chars,
        )?,
        instances_per_region: count(
            "instances_per_region",
            part.instances_per_region,
            preset.instances_per_region,
        )?,
        snapshots_per_region: count(
            "snapshots_per_region",
            part.snapshots_per_region,
            preset.snapshots_per_region,
        )?,
        disks_per_region: count("disks_per_region", part.disks_per_region, preset.disks_per_region)?,
        export_tasks: count("export_tasks", part.export_tasks, preset.export_tasks)?,
        ..preset
    })
}

fn image_operations(number: u32) -> Result<u32, String> {
    within("image_operations_per_day", number, MAX_COUNT)
        .map_err(|sentence| format!("{sentence}, or \"none\" for any number"))
}

fn within(key: &str, value: u32, most: u32) -> Result<u32, String> {
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("limits.{key} = {value}: it must be between 1 and {most}"))
    }
}

#[cfg(test)]
mod tests {
    use kiln_model::LimitsPreset;

    use super::*;

    fn read(text: &str) -> Result<Limits, String> {
        limits(&toml::from_str::<LimitsPart>(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn what_is_not_given_is_the_presets() {
        let (guide, current) = (Limits::preset(LimitsPreset::Guide), Limits::preset(LimitsPreset::Current));
        assert_eq!(read(""), Ok(guide));
        assert_eq!(read("preset = \"current\""), Ok(current));
        let few = read("preset = \"current\"\nimages_per_region = 2\nimage_operations_per_day = 7");
        assert_eq!(few, Ok(Limits { images_per_region: 2, image_operations_per_day: Some(7), ..current }));
        let unbounded = read("image_operations_per_day = \"none\"\nsystem_disk_size = 100");
        let expected = Limits { image_operations_per_day: None, system_disk_bytes: 100 << 30, ..guide };
        assert_eq!(unbounded, Ok(expected));
    }

    #[test]
    fn each_key_sets_its_own_limit() {
        let given = "
            images_per_region = 1
            image_operations_per_day = 2
            shares_per_image = 3
            system_disk_size = 4
            image_name_length = 5
            image_description_length = 6
            instances_per_region = 7
            snapshots_per_region = 8
            disks_per_region = 9
            export_tasks = 10
        ";
        let expected = Limits {
            images_per_region: 1,
            image_operations_per_day: Some(2),
            shares_per_image: 3,
            system_disk_bytes: 4 << 30,
            image_name_chars: 5,
            image_description_chars: 6,
            instances_per_region: 7,
            snapshots_per_region: 8,
            disks_per_region: 9,
            export_tasks: 10,
            ..Limits::preset(LimitsPreset::Guide)
        };
        assert_eq!(read(given), Ok(expected));
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_an_error() {
        for (text, sentence) in [
            ("images_per_region = 0", "limits.images_per_region = 0: it must be between 1 and 1000000"),
            ("instances_per_region = 4000000000", "limits.instances_per_region = 4000000000: it must be"),
            ("system_disk_size = 70000", "limits.system_disk_size = 70000: it must be between 1 and 65536"),
            ("image_name_length = 5000", "limits.image_name_length = 5000: it must be between 1 and 4096"),
            ("image_operations_per_day = 0", "between 1 and 1000000, or \"none\" for any number"),
            ("image_operations_per_day = -1", "give a number, or \"none\" for any number"),
            ("image_operations_per_day = \"many\"", "give a number, or \"none\" for any number"),
            ("images_per_region = \"none\"", "images_per_region"),
            ("requests_per_second = 5", "requests_per_second"),
        ] {
            let error = read(text).expect_err("it makes no sense");
            assert!(error.contains(sentence), "{text}: {error}");
        }
    }
}
