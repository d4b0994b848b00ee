//! Making a new overlay: an empty qcow2 file, or one that already holds the first changed clusters.
//!
//! Version 3, 64 KiB clusters, 16-bit refcounts, no backing file's name: QEMU is told the layer below on its
//! command line. The file is laid out as header, L1 table, data clusters in the order in which they come, L2
//! tables, refcount blocks, refcount table. The header is written last, so a file that was not finished is no
//! image. Not here: making it durable, which an overlay that can be made anew does not need.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use kiln_block::{BlockDevice, SECTOR_BYTES, check_bounds};

use super::layout::{
    CLUSTER, COPIED, Header, REFCOUNTS_PER_BLOCK, SIZE_BYTES_MAX, WORDS_PER_CLUSTER, refcount_clusters, words,
};
use crate::{Error, Result};

/// Length of an overlay's clusters in bytes.
pub const CLUSTER_BYTES: usize = CLUSTER as usize;

/// Makes `file`, which must be empty, an overlay of a disk of `virtual_size_bytes` that holds nothing yet.
///
/// # Errors
/// [`Error::InvalidSize`] for a size that is 0, no whole number of sectors or over 2 PiB; else what the file says.
pub fn create_overlay(file: &File, virtual_size_bytes: u64) -> Result<()> {
    OverlayWriter::new(file, virtual_size_bytes)?.finish()
}

/// Makes `file`, which must be empty, an overlay of a disk of `virtual_size_bytes` that begins as `base` with
/// `changes` in it: runs of bytes at their offsets, of which a later one wins.
///
/// A cluster that is changed in part is filled up from `base`; where that ends before the disk does, with zeros.
///
/// # Errors
/// As [`create_overlay`]; [`kiln_block::Error::OutOfBounds`] for a change outside the disk; what `base` says.
pub fn create_overlay_with(
    file: &File,
    virtual_size_bytes: u64,
    base: &dyn BlockDevice,
    changes: &[(u64, Vec<u8>)],
) -> Result<()> {
    let mut writer = OverlayWriter::new(file, virtual_size_bytes)?;
    let mut clusters: BTreeMap<u64, Vec<(u64, &[u8])>> = BTreeMap::new();
    for (offset, bytes) in changes {
        check_bounds(*offset, bytes.len() as u64, virtual_size_bytes)?;
        let (mut offset, mut bytes) = (*offset, bytes.as_slice());
        while !bytes.is_empty() {
            let within = (CLUSTER - offset % CLUSTER).min(bytes.len() as u64);
            let (part, rest) = bytes.split_at(within as usize);
            clusters.entry(offset / CLUSTER).or_default().push((offset % CLUSTER, part));
            (offset, bytes) = (offset + within, rest);
        }
    }
    let mut cluster = Box::new([0; CLUSTER_BYTES]);
    for (index, parts) in clusters {
        let start = index * CLUSTER;
        let from_base = base.size_bytes().saturating_sub(start).min(CLUSTER) as usize;
        if from_base > 0 {
            base.read_exact_at(&mut cluster[..from_base], start)?;
        }
        cluster[from_base..].fill(0);
        for (at, part) in parts {
            cluster[at as usize..][..part.len()].copy_from_slice(part);
        }
        writer.write_cluster(index, &cluster)?;
    }
    writer.finish()
}

/// Writes an overlay with initial contents.
///
/// It keeps one L2 table (64 KiB) in memory for each 512 MiB of disk that clusters are written to.
pub struct OverlayWriter<'a> {
    file: &'a File,
    size_bytes: u64,
    l1_entries: u64,
    l2: BTreeMap<u64, Vec<u64>>,
    /// The first cluster of the file that is not in use.
    next_cluster: u64,
}

impl<'a> OverlayWriter<'a> {
    /// Begins an overlay of a disk of `virtual_size_bytes` in `file`, which must be empty.
    ///
    /// # Errors
    /// As [`create_overlay`].
    pub fn new(file: &'a File, virtual_size_bytes: u64) -> Result<Self> {
        let fits = virtual_size_bytes > 0 && virtual_size_bytes <= SIZE_BYTES_MAX;
        if !fits || !virtual_size_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(Error::InvalidSize(virtual_size_bytes));
        }
        let l1_entries = virtual_size_bytes.div_ceil(WORDS_PER_CLUSTER * CLUSTER);
        let next_cluster = 1 + l1_entries.div_ceil(WORDS_PER_CLUSTER);
        Ok(Self { file, size_bytes: virtual_size_bytes, l1_entries, l2: BTreeMap::new(), next_cluster })
    }

    /// Makes `bytes` the contents of the disk's `index`-th cluster. What lies beyond the disk's end is ignored.
    ///
    /// # Errors
    /// [`kiln_block::Error::OutOfBounds`] where the disk has no such cluster; else what the file says.
    pub fn write_cluster(&mut self, index: u64, bytes: &[u8; CLUSTER_BYTES]) -> Result<()> {
        check_bounds(index, 1, self.size_bytes.div_ceil(CLUSTER))?;
        let table = self.l2.entry(index / WORDS_PER_CLUSTER);
        let table = table.or_insert_with(|| vec![0; WORDS_PER_CLUSTER as usize]);
        let entry = &mut table[(index % WORDS_PER_CLUSTER) as usize];
        if *entry == 0 {
            *entry = (self.next_cluster * CLUSTER) | COPIED;
            self.next_cluster += 1;
        }
        write(self.file, bytes, *entry & !COPIED)
    }

    /// Writes the tables and, last of all, the header.
    ///
    /// # Errors
    /// What the file says; it is no image then.
    pub fn finish(mut self) -> Result<()> {
        let mut l1 = vec![0; self.l1_entries as usize];
        for (index, table) in std::mem::take(&mut self.l2) {
            let offset = self.next_cluster * CLUSTER;
            write(self.file, &words(&table), offset)?;
            l1[index as usize] = offset | COPIED;
            self.next_cluster += 1;
        }
        write(self.file, &words(&l1), CLUSTER)?;
        let (table_offset, table_clusters) = self.write_refcounts()?;
        let header = Header {
            size_bytes: self.size_bytes,
            l1_entries: self.l1_entries,
            refcount_table_offset: table_offset,
            refcount_table_clusters: table_clusters,
            zstd: false,
        };
        write(self.file, &header.bytes(), 0)
    }

    /// Writes refcounts of one for all clusters in use, their own included, and returns where their table is and
    /// how many clusters it takes. The file ends with the table.
    fn write_refcounts(&self) -> Result<(u64, u64)> {
        let (blocks, table_clusters) = refcount_clusters(self.next_cluster);
        let first_block = self.next_cluster;
        let table_offset = (first_block + blocks) * CLUSTER;
        let end = first_block + blocks + table_clusters;
        // Whole clusters, so that the file's length needs no rounding by its next writer.
        self.file.set_len(end * CLUSTER).map_err(kiln_block::Error::from)?;
        let mut table = Vec::new();
        for block in 0..blocks {
            let counted = (end - block * REFCOUNTS_PER_BLOCK).min(REFCOUNTS_PER_BLOCK);
            let offset = (first_block + block) * CLUSTER;
            write(self.file, &1u16.to_be_bytes().repeat(counted as usize), offset)?;
            table.push(offset);
        }
        write(self.file, &words(&table), table_offset)?;
        Ok((table_offset, table_clusters))
    }
}

fn write(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
    Ok(file.write_all_at(bytes, offset).map_err(kiln_block::Error::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused() {
        let file = tempfile::tempfile().expect("temporary file");
        for size in [0, 1, 513, u64::MAX, SIZE_BYTES_MAX + 512] {
            assert!(matches!(create_overlay(&file, size), Err(Error::InvalidSize(_))), "{size}");
        }
        let mut writer = OverlayWriter::new(&file, 100 * 1024).expect("possible");
        assert!(writer.write_cluster(2, &[0; CLUSTER_BYTES]).is_err());
    }
}
