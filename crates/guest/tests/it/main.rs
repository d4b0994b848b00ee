//! Inspections of real disks, made with the tools that make them in the field: sfdisk, mke2fs, mkfs.xfs, mkntfs,
//! mkfs.vfat, cpio and the compressors. A tool that is not installed fails its test.

mod corpus;
mod disks;
mod files;
mod hive_image;
mod hostile;
mod linux;
mod place;
mod seeds;
// Public for the fuzzers, which are another crate.
#[allow(unreachable_pub)]
#[path = "../../../../fuzz/src/guest.rs"]
mod target;
mod windows;
mod windows_disk;
