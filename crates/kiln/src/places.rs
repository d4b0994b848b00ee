//! Whose the directories of regions are. What removes files that nothing names must only ever look at its own: so each
//! directory says which installation's and which region's it is, and the data directory knows which regions have one.
//!
//! A directory on a disk that is not mounted is thereby not taken for a new and empty one, nor that of another region, of
//! another server, or a copy for one's own.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use kiln_model::RegionId;
use kiln_service::ServiceConfig;

/// In the data directory: the installation's identifier, then the regions and where each was last, one to a line.
const INSTALLATION: &str = "installation";
/// In a region's directory: the installation's identifier and the region's.
const MARK: &str = "region";

/// Marks the directories of new regions as this installation's, and checks those of the others.
///
/// # Errors
/// A sentence, where a directory is not this region's; then nothing was changed in it.
pub(crate) fn claim(config: &ServiceConfig) -> Result<(), String> {
    let file = config.data_dir.join(INSTALLATION);
    let mut installation = match Installation::read(&file)? {
        Some(installation) => installation,
        None => {
            let new = Installation { id: uuid::Uuid::new_v4().to_string(), regions: BTreeMap::new() };
            // Before any directory says that it is this installation's.
            new.write(&file)?;
            new
        }
    };
    for region in &config.regions {
        let dir = config.region_dir(&region.id);
        // Of what is in the data directory the place there, which goes where that goes.
        let place = dir.strip_prefix(&config.data_dir).unwrap_or(&dir).to_owned();
        let last = installation.regions.get(&region.id).filter(|last| **last != place);
        let last = last.map(|last| config.data_dir.join(last));
        if !installation.has_marked(&region.id, &dir)? {
            if installation.regions.contains_key(&region.id) {
                return Err(installation.missing(&region.id, &dir, &file));
            }
            if config.region_dirs.contains_key(&region.id) && !is_empty(&dir)? {
                return Err(format!(
                    "regions: data_dir of {}: {} is not empty. Name a new or an empty directory",
                    region.id,
                    dir.display()
                ));
            }
            std::fs::create_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
            write(&dir.join(MARK), &installation.mark(&region.id))?;
        } else if let Some(last) = last
            && installation.has_marked(&region.id, &last).unwrap_or_default()
        {
            return Err(format!(
                "regions: the data of {} were last in {}, and are there still: {} is a copy. Keep one of them: name it as \
                 data_dir, and rename or remove the other",
                region.id,
                last.display(),
                dir.display()
            ));
        }
        installation.regions.insert(region.id.clone(), place);
    }
    let is_served = |id: &RegionId| config.regions.iter().any(|region| region.id == *id);
    for id in installation.regions.keys().filter(|id| !is_served(id)) {
        tracing::warn!(region = %id, "the configuration has this region no more: what is in it is kept, and nobody sees it");
    }
    installation.write(&file)
}

/// Checks that the regions' directories are where the configuration says, for whoever works on them beside the server.
///
/// # Errors
/// A sentence, where one is not.
pub(crate) fn check(config: &ServiceConfig) -> Result<(), String> {
    let file = config.data_dir.join(INSTALLATION);
    let Some(installation) = Installation::read(&file)? else { return Ok(()) };
    for region in config.regions.iter().filter(|region| installation.regions.contains_key(&region.id)) {
        let dir = config.region_dir(&region.id);
        if !installation.has_marked(&region.id, &dir)? {
            return Err(installation.missing(&region.id, &dir, &file));
        }
    }
    Ok(())
}

struct Installation {
    id: String,
    /// Those whose directories it has marked, and the directories, as seen from the data directory.
    regions: BTreeMap<RegionId, PathBuf>,
}

impl Installation {
    fn read(file: &Path) -> Result<Option<Self>, String> {
        let Some(text) = read(file)? else { return Ok(None) };
        let mut lines = text.lines().map(str::to_owned);
        let id = lines.next().unwrap_or_default();
        let place = |line: String| {
            let (region, dir) = line.split_once(' ')?;
            Some((RegionId::from_trusted(region.to_owned()), PathBuf::from(dir)))
        };
        Ok(Some(Self { id, regions: lines.filter_map(place).collect() }))
    }

    fn write(&self, file: &Path) -> Result<(), String> {
        let line = |(region, dir): (&RegionId, &PathBuf)| format!("{region} {}\n", dir.display());
        let regions: String = self.regions.iter().map(line).collect();
        write(file, &format!("{}\n{regions}", self.id))
    }

    fn mark(&self, region: &RegionId) -> String {
        format!("{} {region}\n", self.id)
    }

    /// Whether a directory is the region's; an error, where it is another's.
    fn has_marked(&self, region: &RegionId, dir: &Path) -> Result<bool, String> {
        let Some(found) = read(&dir.join(MARK))? else { return Ok(false) };
        if found == self.mark(region) {
            return Ok(true);
        }
        let whose = match found.trim_end().rsplit_once(' ') {
            Some((id, other)) if id == self.id => format!("are the data of {other}"),
            _ => "are data of another installation of Kiln".to_owned(),
        };
        Err(format!(
            "regions: in {} {whose}, not of {region}. Give each region its own data_dir",
            dir.display()
        ))
    }

    fn missing(&self, region: &RegionId, dir: &Path, file: &Path) -> String {
        format!(
            "regions: the data of {region} are not in {}. Mount its disk; or say as its data_dir (with --config) where they \
             are, or move them there as a whole. If they are lost, take {region} out of {}",
            dir.display(),
            file.display()
        )
    }
}

fn is_empty(dir: &Path) -> Result<bool, String> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(failed(dir, &error)),
    }
}

fn read(file: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

/// Writes a file whole, or not at all.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let write = || {
        let dir = file.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(dir)?;
        new.write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|error: std::io::Error| failed(file, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
