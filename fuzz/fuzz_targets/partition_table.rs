//! Fuzz target: partition tables.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_guest::fuzzing::partition_table(bytes));
