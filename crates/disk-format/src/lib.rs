//! Disk image formats: what a file is, and the disk that it holds.
//!
//! [`detect`] says what some bytes are by content alone, [`open`] turns a standalone image into the
//! [`BlockDevice`](kiln_block::BlockDevice) that its guest would see. Images come from strangers, so:
//!
//! - a reader is given one device and has no way to open another: names of backing files, data files, extents and
//!   parents are refused, never followed;
//! - every size that an image states is checked against [`Limits`] and the file before memory is taken for it;
//! - an image whose structure overlaps or leaves its file is refused when it is opened.
//!
//! [`write()`] makes an image of a disk, in any of the formats and in one pass.
//!
//! Each format has a module of its own; adding one is adding a row to `detect.rs` and an arm to `open.rs`. What
//! the disk holds (partitions, file systems) is the business of `kiln-guest`.

#![deny(unsafe_code)]

mod cache;
mod compressed;
mod detect;
mod error;
mod field;
mod mapped;
mod occupied;
mod open;
pub mod qcow2;
mod raw;
mod vhd;
mod vmdk;
mod window;
mod write;

pub use detect::{Format, detect};
pub use error::{Error, Reference, Result};
pub use open::{Limits, OpenedImage, open};
pub use write::{FileSink, OutputFormat, Progress, Sink, Written, write, write_stream};
