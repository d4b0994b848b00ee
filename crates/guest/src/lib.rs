//! What is inside an image: partitions, file systems, the system on them, and what must not leave a machine.
//!
//! [`inspect`] reads a disk and returns facts, an [`Inspection`]; whether they speak against an image is decided
//! elsewhere. Everything on the disk is a stranger's: reads, steps, decompressed bytes and time are counted against a
//! [`Budget`], no structure is allocated at a length that the disk alone decides, and what cannot be read is a
//! [`Gap`], so that nothing is concluded from silence.
//!
//! ```text
//! inspect ── table (MBR, GPT) ── content (what is on a partition)
//!    │                              │
//!    ├── boot (loader, BIOS, UEFI)  tree (ext, XFS, NTFS, FAT as files; Root: mounts and links)
//!    └── linux · windows · secrets ─┘
//! ```
//!
//! [`place`] puts one small file into a root file system, for systems without cloud-init.
//!
//! Deliberately absent: mounting, disk formats, and rules.

#![deny(unsafe_code)]

mod architecture;
mod boot;
mod budget;
mod bytes;
mod content;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gap;
#[cfg(test)]
#[path = "../tests/it/hive_image.rs"]
mod hive_image;
mod inspection;
mod linux;
pub mod place;
mod secrets;
mod table;
#[cfg(test)]
mod testing;
mod tree;
mod window;
mod windows;

pub use architecture::Architecture;
pub use boot::{Boot, BootLoader};
pub use budget::{Budget, Exhausted, Limits};
pub use content::Content;
pub use error::{Error, Result};
pub use gap::{Gap, GapReason, Part};
pub use inspection::{Inspection, System, inspect};
pub use linux::Linux;
pub use linux::cloud_init::CloudInit;
pub use linux::decompress::Compression;
pub use linux::fstab::{Mount, MountSource};
pub use linux::initramfs::Initramfs;
pub use linux::kernel::{Driver, Kernel, KernelOrigin};
pub use linux::network::{Addressing, Configurator, Interface, InterfaceName};
pub use linux::release::{Distribution, Release};
pub use secrets::{Secret, SecretKind};
pub use table::gpt::Guid;
pub use table::{BootCode, Defect, Partition, PartitionKind, Scheme, Table};
pub use windows::{Start, Windows, WindowsDriver, WindowsRelease};
