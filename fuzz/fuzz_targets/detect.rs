//! Fuzz target: what any bytes are.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::disk_format::detect_any(bytes));
