//! For tests only: foreign tools as oracles, and devices that misbehave on purpose.
//!
//! No crate depends on this one outside its tests. Not here: anything that only one crate's tests need.

pub mod faulty_device;
pub mod qemu_img;
