//! The virtual disk of a qcow2 file.
//!
//! Any number of threads may read at once: they share only the table cache and the compressed clusters' cache,
//! whose locks are held for look-ups alone.

use std::sync::Arc;

use kiln_block::{BlockDevice, Extent, ExtentKind, check_bounds};

use super::entry::Mapping;
use super::header::Header;
use super::table::{Join, Run, Tables};
use super::verify::verify;
use crate::compressed::CompressedClusters;
use crate::{Limits, Result};

/// A standalone qcow2 image: what it does not store is zeros.
pub struct Image {
    size_bytes: u64,
    tables: Tables,
    compressed: CompressedClusters,
}

impl Image {
    /// Reads and checks the header and all mapping tables.
    ///
    /// # Errors
    /// The cause for which the image is unacceptable; see [`crate::Error`].
    pub fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Self> {
        let header = Header::read(&device, limits)?;
        let tables = Tables::read(device, &header)?;
        verify(&header, &tables, limits)?;
        let compressed = CompressedClusters::new(header.compression, header.cluster_bytes());
        Ok(Self { size_bytes: header.size_bytes, tables, compressed })
    }

    fn read_run(&self, run: Run, offset: u64, buf: &mut [u8]) -> kiln_block::Result<()> {
        let device = self.tables.device();
        match run.mapping {
            Mapping::Hole | Mapping::Zero => buf.fill(0),
            Mapping::Data { host } => {
                // A file may end within its last cluster; QEMU reads zeros there.
                let stored = device.size_bytes().saturating_sub(host).min(run.len) as usize;
                let (inside, beyond) = buf.split_at_mut(stored);
                if !inside.is_empty() {
                    device.read_exact_at(inside, host)?;
                }
                beyond.fill(0);
            }
            Mapping::Compressed { host, len } => {
                let within = offset & (self.tables.geometry().cluster_bytes() - 1);
                self.compressed.read(device, (host, len), within as usize, buf)?;
            }
        }
        Ok(())
    }
}

impl BlockDevice for Image {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        let mut done = 0;
        while done < buf.len() {
            let position = offset + done as u64;
            let run = self.tables.run_at(position, (buf.len() - done) as u64, Join::Contiguous)?;
            let part = &mut buf[done..done + run.len as usize];
            self.read_run(run, position, part)?;
            done += part.len();
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        check_bounds(offset, len, self.size_bytes)?;
        let run = self.tables.run_at(offset, len, Join::SameKind)?;
        let kind = match run.mapping {
            Mapping::Hole => ExtentKind::Hole,
            Mapping::Zero => ExtentKind::Zero,
            Mapping::Data { .. } | Mapping::Compressed { .. } => ExtentKind::Data,
        };
        Ok(Extent { offset, len: run.len, kind })
    }
}

/// The file of an instance's disk, above the image that the instance was started from.
///
/// Read as a block device, its extents say what the instance changed: `Data` and `Zero` are the instance's own,
/// `Hole` means that the layer below decides (and reads as zeros here). Boundaries are those of clusters.
///
/// The file is ours, but its writer was a guest's QEMU: it is checked like a stranger's, and refused where it
/// names a backing file. One left behind by a QEMU that was killed (dirty, refcounts out of date) reads well.
pub struct Overlay(Image);

impl Overlay {
    /// Opens the overlay in `device`, which nobody may be writing.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(device: Arc<dyn BlockDevice>, limits: &Limits) -> Result<Self> {
        Image::open(device, limits).map(Self)
    }
}

impl BlockDevice for Overlay {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<Extent> {
        self.0.extent_at(offset, len)
    }
}
