//! Writes seeds for the fuzzers of this crate's parsers: `cargo run --example guest_corpus -- fuzz/corpus`.
//!
//! The seeds are what the tests inspect, made by the same tools; those must be installed.

#![allow(dead_code, unreachable_pub, reason = "the tests use more of the generators than is used here")]

#[path = "../tests/it/disks.rs"]
mod disks;
#[path = "../tests/it/files.rs"]
mod files;
#[path = "../tests/it/hive_image.rs"]
mod hive_image;
#[path = "../tests/it/seeds.rs"]
mod seeds;
#[path = "../../../fuzz/src/guest.rs"]
mod target;
#[path = "../tests/it/windows_disk.rs"]
mod windows_disk;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| "fuzz/corpus".into());
    let directory = Path::new(&directory);
    let seeds = seeds::seeds();
    for (target, name, bytes) in &seeds {
        std::fs::create_dir_all(directory.join(target))?;
        std::fs::write(directory.join(target).join(name), bytes)?;
    }
    println!("{} seeds in {}", seeds.len(), directory.display());
    Ok(())
}
