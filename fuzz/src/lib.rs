//! What the fuzz targets do with their input: one module for each crate whose parsers read strangers' bytes.
//!
//! The modules know nothing of the fuzzer, so that the crates' own tests can run the corpus through them, too. To add
//! a target: a module here (or a function in one), a file of a few lines in `fuzz_targets/`, a `[[bin]]` in
//! `Cargo.toml`, and a source of seeds; see `docs/fuzzing.md`.

pub mod disk_format;
pub mod guest;
