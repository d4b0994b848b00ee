//! Structure checks of this repository: crate imports, function and file length, module docs, unfinished work.
//!
//! Run as `cargo run -p kiln-lint [DIRECTORY]` (default: the current directory); it looks at every `.rs` file and
//! every `Cargo.toml` under `crates/` and `tools/`. Each finding is one line `path:line: rule: what to do`; with any
//! finding the status is 1. What rustfmt and clippy already check is deliberately absent.

mod imports;
mod marks;
mod source;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The directories, relative to the repository, whose files are checked.
const CHECKED_DIRECTORIES: [&str; 2] = ["crates", "tools"];

/// One place where the code does not keep a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the repository.
    path: PathBuf,
    /// Counted from 1.
    line: usize,
    /// The rule's short name.
    rule: &'static str,
    /// What is wrong and what to do, as a sentence.
    advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path.display(), self.line, self.rule, self.advice)
    }
}

fn main() -> ExitCode {
    let repository = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    match check(&repository) {
        Ok(report) if report.findings.is_empty() => {
            println!("structure: {} files keep every rule", report.files);
            ExitCode::SUCCESS
        }
        Ok(report) => {
            report.findings.iter().for_each(|finding| println!("{finding}"));
            println!("structure: {} findings in {} files", report.findings.len(), report.files);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kiln-lint: {error}");
            ExitCode::from(2)
        }
    }
}

/// The findings of a whole repository, sorted by place, and how many files were looked at.
struct Report {
    findings: Vec<Finding>,
    files: usize,
}

/// Checks everything below `repository`; fails only where a file cannot be read.
fn check(repository: &Path) -> Result<Report, tree::Error> {
    let files = tree::read(repository, &CHECKED_DIRECTORIES)?;
    let mut findings = imports::check(&files.manifests);
    findings.extend(source::check(&files.sources));
    findings.sort();
    Ok(Report { findings, files: files.sources.len() + files.manifests.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn findings_of_a_repository_come_with_path_line_and_rule() {
        let repository = tempfile::tempdir().expect("a temporary directory");
        let crate_directory = repository.path().join("crates/nbd");
        fs::create_dir_all(crate_directory.join("src")).expect("a directory");
        fs::create_dir_all(crate_directory.join("target/debug")).expect("a directory");
        fs::write(
            crate_directory.join("Cargo.toml"),
            "[package]\nname = \"kiln-nbd\"\n[dependencies]\nkiln-catalog = { workspace = true }\n",
        )
        .expect("a file");
        fs::write(crate_directory.join("src/lib.rs"), "fn undocumented() {}\n").expect("a file");
        fs::write(crate_directory.join("target/debug/generated.rs"), "fn x() {}\n").expect("a file");

        let report = check(repository.path()).expect("a readable repository");
        let lines: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].starts_with("crates/nbd/Cargo.toml:4: import: "), "{}", lines[0]);
        assert!(lines[1].starts_with("crates/nbd/src/lib.rs:1: module docs: "), "{}", lines[1]);
        assert_eq!(report.files, 2);
    }

    #[test]
    fn a_repository_without_the_checked_directories_is_an_error() {
        let empty = tempfile::tempdir().expect("a temporary directory");
        assert!(check(empty.path()).is_err());
    }
}
