//! A block device whose reads fail by a seeded plan.
//!
//! It never answers wrong bytes: corruption is a different fault and has its own tests. The same seed and the
//! same sequence of requests fail at the same places.

use std::sync::Mutex;

use kiln_block::{BlockDevice, Error, Extent, Result, WritableBlockDevice};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A device that fails some of the requests made to it.
pub struct FaultyDevice<D> {
    inner: D,
    plan: Mutex<StdRng>,
    failure_rate: f64,
}

impl<D> FaultyDevice<D> {
    /// Wraps `inner`; each request fails with probability `failure_rate` (0 to 1).
    pub fn new(inner: D, seed: u64, failure_rate: f64) -> Self {
        Self { inner, plan: Mutex::new(StdRng::seed_from_u64(seed)), failure_rate }
    }

    fn pass(&self, what: &str) -> Result<()> {
        let fails = self.plan.lock().expect("no request panics").random_bool(self.failure_rate);
        if fails { Err(Error::Io(std::io::Error::other(format!("injected fault: {what}")))) } else { Ok(()) }
    }
}

impl<D: BlockDevice> BlockDevice for FaultyDevice<D> {
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.pass("read")?;
        self.inner.read_exact_at(buf, offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        self.pass("extent")?;
        self.inner.extent_at(offset, len)
    }
}

impl<D: WritableBlockDevice> WritableBlockDevice for FaultyDevice<D> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.pass("write")?;
        self.inner.write_all_at(buf, offset)
    }

    fn sync(&self) -> Result<()> {
        self.pass("sync")?;
        self.inner.sync()
    }
}
