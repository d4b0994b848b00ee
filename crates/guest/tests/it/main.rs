//! Inspections of real disks, made with the tools that make them in the field: sfdisk, mke2fs, mkfs.xfs, mkntfs,
//! mkfs.vfat, cpio and the compressors. A tool that is not installed fails its test.

mod disks;
mod files;
mod hive_image;
mod hostile;
mod linux;
mod place;
mod windows;
