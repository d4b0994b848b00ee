//! Fuzz target: whole inspections of disks with file systems.

#![no_main]

libfuzzer_sys::fuzz_target!(
    // The fuzzer's own hook ends the program at a panic; those that an inspection catches are to be let through. One that
    // nobody catches ends it all the same.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        kiln_fuzz::guest::disk(bytes);
    }
);
