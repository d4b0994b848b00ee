//! Images that QEMU made and images of odd layouts, read against what QEMU reads; images that nobody should make,
//! refused; images that Kiln writes, read by QEMU.

mod build;
mod corpus;
mod differential;
mod hostile;
mod overlay;
mod reading;
mod sample;
mod writing;
