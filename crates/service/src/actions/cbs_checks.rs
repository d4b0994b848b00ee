//! Checks that the actions of CBS share: what their requests name, and whether a disk can be worked on.

use kiln_model::{Disk, DiskUsage};

use crate::{Filter, Refusal, checks};

/// The most resources that one request names.
pub(super) const MAX_IDS: usize = 100;
const MAX_NAME_BYTES: usize = 60;
const MAX_FILTERS: usize = 10;
const MAX_FILTER_VALUES: usize = 5;

/// The name of a disk or a snapshot, as the public API measures it.
pub(super) fn name(name: Option<&str>, parameter: &str) -> Result<(), Refusal> {
    let Some(name) = name else { return Ok(()) };
    if name.len() > MAX_NAME_BYTES || name.chars().any(checks::is_invisible) {
        return Err(Refusal::invalid(
            "InvalidParameterValue",
            format!("{parameter} must be at most {MAX_NAME_BYTES} bytes of characters that are seen."),
        ));
    }
    Ok(())
}

/// That a request lists resources by their identifiers or by filters, not by both, and not by too many.
pub(super) fn ids_or_filters<T>(parameter: &str, ids: &[T], filters: &[Filter]) -> Result<(), Refusal> {
    if !ids.is_empty() && !filters.is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameter",
            format!("{parameter} and Filters exclude each other. Give one of them."),
        ));
    }
    count(parameter, ids, MAX_IDS)?;
    check_filters(filters)
}

fn count<T>(parameter: &str, ids: &[T], most: usize) -> Result<(), Refusal> {
    if ids.len() <= most {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue.LimitExceeded",
        format!("{parameter} has {} entries; at most {most} are allowed.", ids.len()),
    ))
}

/// The resources that a request works on, each once.
pub(super) fn each_once<T: Ord>(parameter: &str, mut ids: Vec<T>, most: usize) -> Result<Vec<T>, Refusal> {
    if ids.is_empty() {
        return Err(Refusal::invalid(
            "MissingParameter",
            format!("{parameter} is empty. Name at least one."),
        ));
    }
    count(parameter, &ids, most)?;
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The length of a page, with the code that the CBS service has for one that cannot be.
pub(super) fn page_limit(asked: Option<u64>) -> Result<u64, Refusal> {
    checks::page_limit(asked).map_err(|refusal| Refusal { code: "InvalidParameterValue", ..refusal })
}

/// How many filters there are, and how many values each has.
fn check_filters(filters: &[Filter]) -> Result<(), Refusal> {
    let wrong = |sentence: String| Err(Refusal::invalid("InvalidFilter", sentence));
    if filters.len() > MAX_FILTERS {
        return wrong(format!("There are {} filters; at most {MAX_FILTERS} are allowed.", filters.len()));
    }
    for filter in filters {
        let values = filter.values.len();
        if !(1..=MAX_FILTER_VALUES).contains(&values) {
            return wrong(format!(
                "Filter {} has {values} values; 1 to {MAX_FILTER_VALUES} are allowed.",
                filter.name
            ));
        }
    }
    Ok(())
}

/// What a disk is for, by its public name.
pub(super) fn usage(text: &str) -> Option<DiskUsage> {
    match text {
        "SYSTEM_DISK" => Some(DiskUsage::System),
        "DATA_DISK" => Some(DiskUsage::Data),
        _ => None,
    }
}

/// That a disk is not an instance's system disk, which comes and goes with it.
pub(super) fn is_data_disk(disk: &Disk) -> Result<(), Refusal> {
    if disk.usage == DiskUsage::Data {
        return Ok(());
    }
    Err(Refusal::conflict(
        "InvalidDisk.NotPortable",
        format!(
            "Disk {} is a system disk: it belongs to its instance for as long as there is that.",
            disk.id
        ),
    ))
}

/// That no task works on a disk itself.
pub(super) fn disk_is_free(disk: &Disk) -> Result<(), Refusal> {
    let Some(task) = disk.task.as_ref().filter(|_| disk.attachment.is_none()) else { return Ok(()) };
    Err(busy(disk, &format!("task {task} is working on it")))
}

/// That something is being done with a disk.
pub(super) fn busy(disk: &Disk, why: &str) -> Refusal {
    Refusal::conflict(
        "InvalidDisk.Busy",
        format!("Disk {}: {why}. Wait for the end of that, then ask again.", disk.id),
    )
}
