//! Fuzz target: VMDK images.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::disk_format::open_and_read(bytes, kiln_disk_format::Format::Vmdk));
