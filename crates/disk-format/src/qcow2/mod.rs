//! qcow2, versions 2 and 3: reading, and making new overlays.
//!
//! Source: QEMU's `docs/interop/qcow2.txt`; where that leaves a choice, what `qemu-img convert` reads decides.
//!
//! - [`Image`] is a standalone image that a stranger gave: nothing is unallocated, holes are zeros.
//! - [`Overlay`] is a file that QEMU wrote for one of our instances: a hole means that the layer below decides.
//! - [`create_overlay`], [`create_overlay_with`] and [`OverlayWriter`] make the file that QEMU then owns.
//!
//! Deliberately absent: refcounts (readers do not need them, so a dirty image is read like a clean one), internal
//! snapshots, bitmaps, and anything that would open another file.

mod create;
mod entry;
mod header;
mod image;
pub(crate) mod layout;
mod table;
mod verify;

pub use create::{CLUSTER_BYTES, OverlayWriter, create_overlay, create_overlay_with};
pub use image::{Image, Overlay};
