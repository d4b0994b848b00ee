//! `[[regions]]`: the regions, and where the data of each are. No two of these places overlap, by whatever path they
//! are named: what removes from one place what nothing uses would find another region's files there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use kiln_model::{Region, RegionId, Zone, ZoneId};
use kiln_service::ServiceConfig;

use super::file::RegionPart;

/// The regions, and the directories of those that name one.
pub(super) fn regions(
    parts: Option<Vec<RegionPart>>,
    data_dir: &Path,
) -> Result<(Vec<Region>, BTreeMap<RegionId, PathBuf>), String> {
    let Some(parts) = parts else { return Ok((default_regions(), BTreeMap::new())) };
    if parts.is_empty() {
        return Err("regions: there must be at least one".to_owned());
    }
    let (mut regions, mut dirs, mut seen) = (Vec::new(), BTreeMap::new(), HashSet::new());
    for mut part in parts {
        let named = part.data_dir.take();
        let region = region(part)?;
        if !seen.insert(region.id.clone()) {
            return Err(format!("regions: {} stands there twice", region.id));
        }
        if let Some(named) = named {
            dirs.insert(region.id.clone(), directory(&region.id, &named, data_dir)?);
        }
        regions.push(region);
    }
    Ok((regions, dirs))
}

/// Refuses a region's directory that is the same as another, inside it, or around it.
pub(super) fn refuse_overlaps(service: &ServiceConfig) -> Result<(), String> {
    let data_dir = resolved(&service.data_dir);
    let mut taken = vec![
        ("the instances".to_owned(), resolved(&service.instances_dir())),
        ("the data disks".to_owned(), resolved(&service.disks_dir())),
        ("the sockets".to_owned(), resolved(&service.data_dir.join("run"))),
        ("the authority".to_owned(), resolved(&service.data_dir.join("tls"))),
    ];
    for Region { id, .. } in &service.regions {
        let dir = resolved(&service.region_dir(id));
        if data_dir.starts_with(&dir) {
            return Err(format!(
                "regions: data_dir of {id}: {} has the server's own data directory in it; name one that has not",
                dir.display()
            ));
        }
        if let Some((whose, other)) =
            taken.iter().find(|(_, other)| dir.starts_with(other) || other.starts_with(&dir))
        {
            return Err(format!(
                "regions: data_dir of {id}: {} and {}, where the data of {whose} are, must be apart, neither inside \
                 the other",
                dir.display(),
                other.display()
            ));
        }
        taken.push((format!("region {id}"), dir));
    }
    Ok(())
}

/// The directory that a region names.
fn directory(region: &RegionId, named: &Path, data_dir: &Path) -> Result<PathBuf, String> {
    if named.components().any(|component| component == Component::ParentDir) {
        return Err(format!("regions: data_dir of {region} = {named:?}: write it without \"..\""));
    }
    Ok(data_dir.join(named))
}

/// The path without symbolic links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match there {
        Some((ancestor, real)) => real.join(path.strip_prefix(ancestor).expect("ancestors begin a path")),
        None => path.to_owned(),
    }
}

fn region(part: RegionPart) -> Result<Region, String> {
    // A region's identifier names a directory.
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !plain(&part.id) {
        return Err(format!("regions: id = {:?}: use lower-case letters, digits and hyphens", part.id));
    }
    if part.zones.is_empty() {
        return Err(format!("regions: {} has no zone", part.id));
    }
    let zones = part.zones.into_iter().map(|zone| Zone {
        id: ZoneId::from_trusted(zone.id),
        name: zone.name,
        number: zone.number,
    });
    Ok(Region {
        id: RegionId::from_trusted(part.id),
        short: part.short,
        name: part.name,
        copying: part.copying,
        zones: zones.collect(),
    })
}

fn default_regions() -> Vec<Region> {
    let region = |id: &str, short: &str, name: &str, copying: bool, zones: &[(u32, u32)]| Region {
        id: RegionId::from_trusted(id),
        short: short.to_owned(),
        name: name.to_owned(),
        copying,
        zones: zones
            .iter()
            .map(|(suffix, number)| Zone {
                id: ZoneId::from_trusted(format!("{id}-{suffix}")),
                name: format!("{name} Zone {suffix}"),
                number: *number,
            })
            .collect(),
    };
    vec![
        region("ap-guangzhou", "gz", "Guangzhou", true, &[(3, 100_003), (4, 100_004)]),
        region("ap-beijing", "bj", "Beijing", true, &[(3, 800_003)]),
        region("ap-shanghai", "sh", "Shanghai", true, &[(2, 200_002)]),
        region("ap-hongkong", "hk", "Hong Kong", true, &[(2, 300_002)]),
        region("ap-singapore", "sg", "Singapore", false, &[(1, 900_001)]),
        region("na-toronto", "ca", "Toronto", false, &[(1, 400_001)]),
    ]
}
