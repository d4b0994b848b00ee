//! Fuzz target: initramfs images and their compressions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_guest::fuzzing::initramfs(bytes));
