//! NTFS: which volumes may be written, and the writing.
//!
//! A volume is refused where it asks for a check, where Windows is hibernated on it, and where its log holds work.

use fs_ntfs::attr_io::AttrType;
use fs_ntfs::error::{Error as NtfsError, Kind};
use fs_ntfs::{fsck, read, write};

use super::partition::Partition;
use super::{PlaceError, check_length, split};

/// Puts a file into the volume on `partition`; see [`super::file`].
pub(super) fn place(partition: &mut Partition, path: &str, content: &[u8]) -> Result<(), PlaceError> {
    check_length(content)?;
    let (directories, name) = split(path)?;
    let directory = format!("/{}", directories.join("/"));
    fsck::prepare_rw_mount_io(partition).map_err(|error| PlaceError::Unsuitable(unsuitable(&error)))?;
    require_directory(partition, &directory)?;
    if let Some(record) = lookup(partition, path)? {
        if read::read_stat(partition, record).map_err(failed)?.is_dir {
            return Err(PlaceError::IsDirectory(path.to_owned()));
        }
        write::unlink_io(partition, path).map_err(failed)?;
    }
    write::create_file_io(partition, &directory, name).map_err(failed)?;
    // Without one of its own, as if it were inherited: a file that has none is a complaint of chkdsk's.
    if let Some(id) = write::read_security_id_io(partition, &directory).map_err(failed)?.filter(|id| *id != 0)
    {
        write::set_security_id_io(partition, path, id).map_err(failed)?;
    }
    write::write_file_contents_io(partition, path, content).map_err(failed)?;
    // Looks afresh: nothing above keeps anything in memory.
    let record = lookup(partition, path)?;
    let found =
        record.map(|record| read::read_attribute_value(partition, record, AttrType::Data, None)).transpose();
    if found.map_err(failed)?.as_deref() != Some(content) || fsck::is_dirty_io(partition).map_err(failed)? {
        return Err(PlaceError::FileSystem("what was written does not read back".to_owned()));
    }
    Ok(())
}

/// Checks that there is a directory at `path`.
fn require_directory(partition: &mut Partition, path: &str) -> Result<(), PlaceError> {
    let missing = || PlaceError::NoDirectory(path.to_owned());
    let record = lookup(partition, path)?.ok_or_else(missing)?;
    if read::read_stat(partition, record).map_err(failed)?.is_dir { Ok(()) } else { Err(missing()) }
}

/// The number of the record that a path leads to.
fn lookup(partition: &mut Partition, path: &str) -> Result<Option<u64>, PlaceError> {
    match read::resolve_path(partition, path) {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn unsuitable(error: &NtfsError) -> String {
    format!("is not to be written as it is: {error}")
}

fn failed(error: NtfsError) -> PlaceError {
    PlaceError::FileSystem(error.to_string())
}
