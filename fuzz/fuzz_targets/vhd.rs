//! Fuzz target: VHD images.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::disk_format::open_and_read_vhd(bytes));
