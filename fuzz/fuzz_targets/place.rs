//! Fuzz target: the network file, written into file systems.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kiln_fuzz::guest::place(bytes);
});
