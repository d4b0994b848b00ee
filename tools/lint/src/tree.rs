//! The files of the repository that are checked, read into memory.
//!
//! Files count whether git knows them yet or not, so that a new file is checked before it is added. Build output
//! (`target`) and hidden directories are left out.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file: its path relative to the repository, and its content.
pub(crate) struct TextFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Everything that the rules look at.
#[derive(Default)]
pub(crate) struct Tree {
    /// Every `.rs` file.
    pub(crate) sources: Vec<TextFile>,
    /// Every `Cargo.toml`.
    pub(crate) manifests: Vec<TextFile>,
}

/// A file or directory could not be read.
#[derive(Debug)]
pub(crate) struct Error {
    path: PathBuf,
    cause: std::io::Error,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)
    }
}

/// Reads the sources and manifests below `directories` of `repository`.
pub(crate) fn read(repository: &Path, directories: &[&str]) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    for directory in directories.iter().filter(|directory| repository.join(directory).exists()) {
        visit(repository, Path::new(directory), &mut tree)?;
    }
    if tree.manifests.is_empty() {
        let cause = std::io::Error::other("no crate here: run this in the repository's top directory");
        return Err(Error { path: repository.to_path_buf(), cause });
    }
    Ok(tree)
}

fn visit(repository: &Path, directory: &Path, tree: &mut Tree) -> Result<(), Error> {
    let failed = |cause| Error { path: directory.to_path_buf(), cause };
    for entry in fs::read_dir(repository.join(directory)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let path = directory.join(&name);
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                visit(repository, &path, tree)?;
            }
        } else if name == "Cargo.toml" {
            tree.manifests.push(read_text(repository, path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tree.sources.push(read_text(repository, path)?);
        }
    }
    Ok(())
}

fn read_text(repository: &Path, path: PathBuf) -> Result<TextFile, Error> {
    match fs::read_to_string(repository.join(&path)) {
        Ok(text) => Ok(TextFile { path, text }),
        Err(cause) => Err(Error { path, cause }),
    }
}
