//! kiln-qemu against the real QEMU: a boot-sector guest of our own under TCG, its base served by qemu-nbd.

mod data_disks;
mod freeze;
mod isolation;
mod lifecycle;
mod seed;
mod world;
