//! Fuzz target: whole inspections of disks with file systems.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::guest::disk(bytes));
