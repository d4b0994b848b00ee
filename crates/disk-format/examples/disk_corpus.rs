//! Writes seeds for the fuzzers of this crate's formats: `cargo run --example disk_corpus -- fuzz/corpus`.
//!
//! The seeds are the small ones among the odd images that the tests build, always the same.

#![allow(dead_code, reason = "the tests use more of the generator than is used here")]

#[path = "../tests/it/build/mod.rs"]
mod build;

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Longer seeds make fuzzing slow.
const SEED_BYTES_MAX: usize = 16 << 10;
/// Images drawn; about a fifth of them are small enough.
const DRAWN: u64 = 900;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| "fuzz/corpus".into());
    let directory = Path::new(&directory);
    let mut rng = StdRng::seed_from_u64(1);
    let mut written = 0;
    for number in 0..DRAWN {
        let built = build::draw(&mut rng, number);
        if built.bytes.len() > SEED_BYTES_MAX {
            continue;
        }
        let target = if built.format == "vpc" { "vhd" } else { built.format };
        for target in [target, "detect"] {
            std::fs::create_dir_all(directory.join(target))?;
            std::fs::write(directory.join(target).join(format!("seed-{number}")), &built.bytes)?;
        }
        written += 1;
    }
    println!("{written} seeds in {}", directory.display());
    Ok(())
}
