//! Fuzz target: registry hives.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kiln_guest::fuzzing::hive(bytes);
});
