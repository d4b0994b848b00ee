//! Fuzz target: the text files that an inspection reads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_guest::fuzzing::text(bytes));
