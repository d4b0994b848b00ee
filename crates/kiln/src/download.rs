//! Downloads of objects to files: they go on where an earlier one stopped, and the file appears whole, checked and
//! durable, or not at all.
//!
//! What has come lies beside the file under a name that says which version of the object it is of. Zeros become holes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crc_fast::CrcAlgorithm::Crc64Xz;
use indicatif::ProgressBar;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::process::geteuid;

use crate::client::Error;
use crate::objects::{Objects, Place, Version};
use crate::progress::byte_bar;

/// How often in a row a download may break off before it is given up.
const ATTEMPTS: u32 = 5;
/// The piece in which zeros are looked for.
const PIECE_BYTES: usize = 64 << 10;
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// That a file can be made: nothing of its name is there, and its directory is.
pub(crate) fn check_target(file: &Path) -> Result<(), Error> {
    if file.symlink_metadata().is_ok() {
        return Err(
            format!("{}: it is there already; name another file, or remove it", file.display()).into()
        );
    }
    if file.file_name().is_none() || !directory(file).is_dir() {
        return Err(format!("{}: there is no such directory", directory(file).display()).into());
    }
    Ok(())
}

/// Whether an earlier download to that file has left something.
pub(crate) fn has_begun(file: &Path) -> bool {
    !unfinished_files(file).is_empty()
}

/// Downloads an object; its length.
pub(crate) async fn download(objects: &Objects, place: &Place, file: &Path) -> Result<u64, Error> {
    let named = |error: io::Error| Error::from(format!("{}: {error}", file.display()));
    let version = objects.head(place).await?;
    if !is_etag(&version.etag) {
        return Err(format!("the server's ETag {:?} is not of Kiln's form", version.etag).into());
    }
    let path = directory(file).join(unfinished_name(file, &version.etag));
    for stale in unfinished_files(file).into_iter().filter(|found| *found != path) {
        std::fs::remove_file(stale).map_err(named)?;
    }
    let mut unfinished = Unfinished::open(&path).map_err(named)?;
    let bar = byte_bar("download", version.size_bytes);
    let mut failures = 0;
    while unfinished.position < version.size_bytes {
        let before = unfinished.position;
        match receive(objects, place, &version, &mut unfinished, &bar).await {
            Ok(()) => {}
            Err(Broken::File(error)) => return Err(named(error)),
            Err(Broken::Transfer(error)) => {
                failures = if unfinished.position > before { 1 } else { failures + 1 };
                if failures == ATTEMPTS {
                    return Err(format!("{error}; the same command goes on where this one stopped").into());
                }
                tokio::time::sleep(Duration::from_secs(1 << failures)).await;
            }
        }
    }
    bar.finish_and_clear();
    if version.crc64.is_some_and(|crc64| crc64 != unfinished.crc64.finalize()) {
        std::fs::remove_file(&path).map_err(named)?;
        return Err("what came is not what the server has; it was removed, try again".into());
    }
    unfinished.publish(&path, file).map_err(named)?;
    Ok(version.size_bytes)
}

enum Broken {
    /// The way to here; it can be tried again.
    Transfer(Error),
    File(io::Error),
}

/// Receives what is missing.
async fn receive(
    objects: &Objects,
    place: &Place,
    version: &Version,
    unfinished: &mut Unfinished,
    bar: &ProgressBar,
) -> Result<(), Broken> {
    bar.set_position(unfinished.position);
    let answer = objects.get_from(place, &version.etag, unfinished.position).await;
    let mut answer = answer.map_err(Broken::Transfer)?;
    while let Some(piece) = answer.chunk().await.map_err(|error| Broken::Transfer(error.into()))? {
        unfinished.append(&piece).map_err(Broken::File)?;
        bar.set_position(unfinished.position);
    }
    Ok(())
}

/// The beginning of the object.
struct Unfinished {
    file: File,
    position: u64,
    crc64: crc_fast::Digest,
}

impl Unfinished {
    /// Opens what an earlier download left, or a new file. Whoever else downloads to it is refused.
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() || about.nlink() != 1 || about.uid() != geteuid().as_raw() {
            return Err(io::Error::other(format!("{} is not a file of yours; remove it", path.display())));
        }
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another download to it is under way"))?;
        let mut crc64 = crc_fast::Digest::new(Crc64Xz);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut position = 0;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                return Ok(Self { file, position, crc64 });
            }
            crc64.update(&buffer[..len]);
            position += len as u64;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc64.update(bytes);
        for piece in bytes.chunks(PIECE_BYTES) {
            if *piece != ZEROS[..piece.len()] {
                self.file.write_all_at(piece, self.position)?;
            }
            self.position += piece.len() as u64;
        }
        // Where the last piece was zeros.
        self.file.set_len(self.position)
    }

    fn publish(self, path: &Path, file: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        renameat_with(CWD, path, CWD, file, RenameFlags::NOREPLACE)?;
        File::open(directory(file))?.sync_all()
    }
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unfinished_name(file: &Path, etag: &str) -> String {
    format!(".{}.unfinished-{etag}", file.file_name().unwrap_or_default().to_string_lossy())
}

fn unfinished_files(file: &Path) -> Vec<PathBuf> {
    let begin = unfinished_name(file, "");
    let entries = std::fs::read_dir(directory(file)).into_iter().flatten().flatten();
    let found =
        entries.filter(|entry| entry.file_name().to_string_lossy().strip_prefix(&begin).is_some_and(is_etag));
    found.map(|entry| entry.path()).collect()
}

/// Whether a text has the form of the server's ETags: 32 hexadecimal digits, for an object in parts their number as well.
fn is_etag(text: &str) -> bool {
    let (digest, parts) = text.split_once('-').unwrap_or((text, "1"));
    digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) && parts.parse::<u32>().is_ok()
}
