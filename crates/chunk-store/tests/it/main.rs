//! Integration tests of the chunk store, through its public interface only.
//!
//! Not here: other programs reading what is stored (that needs the NBD server), and the speed of anything.

mod bed;
mod check;
mod copy;
mod disks;
mod faults;
mod ingest;
mod overlay;
mod stores;
