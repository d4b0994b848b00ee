//! Images that QEMU made, read against what QEMU reads; images that nobody should make, refused.

mod hostile;
mod overlay;
mod reading;
mod sample;
