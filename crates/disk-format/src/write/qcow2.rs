//! qcow2: header and L1 table as the head, then clusters with each L2 table behind those that it maps, then refcounts.
//!
//! Compressed clusters follow each other without a gap. What does not become smaller is stored as a compressed
//! cluster, too: a few bytes more are cheaper than the gap before a cluster that must begin at a multiple of its
//! length. Memory: one L2 table, the L1 table, and two bytes for each 64 KiB of the file.

use kiln_block::BlockDevice;

use super::pump::{Packing, Piece, pump};
use super::sink::Output;
use super::{Progress, Written};
use crate::Result;
use crate::qcow2::layout::{
    CLUSTER, CLUSTER_BITS, COMPRESSED, COPIED, Header, WORDS_PER_CLUSTER, refcount_clusters, words,
};

/// Compressed clusters are measured in these.
const SECTOR: u64 = 512;
/// Where a compressed cluster's entry holds the number of its further sectors.
const SECTORS_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);

/// Writes the disk, its clusters compressed or not.
pub(super) fn write(
    device: &dyn BlockDevice,
    output: Output<'_>,
    compress: bool,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let size = device.size_bytes();
    let mut writer = Writer::new(output, size, compress);
    writer.output.reserve_head(writer.head_bytes())?;
    let packing = if compress { Packing::Zstd } else { Packing::Store };
    let mut clusters = 0;
    pump(device, CLUSTER as usize, packing, progress, |piece| {
        clusters += 1;
        writer.add(&piece)
    })?;
    let file_bytes = writer.finish()?;
    Ok(Written { file_bytes, stored_bytes: clusters * CLUSTER })
}

struct Writer<'a> {
    output: Output<'a>,
    size: u64,
    compress: bool,
    l1: Vec<u64>,
    /// The L2 table under construction and its place in the L1 table.
    table: Vec<u64>,
    table_index: u64,
    refcounts: Vec<u16>,
}

impl<'a> Writer<'a> {
    fn new(output: Output<'a>, size: u64, compress: bool) -> Self {
        let l1 = vec![0; size.div_ceil(WORDS_PER_CLUSTER * CLUSTER) as usize];
        let table = vec![0; WORDS_PER_CLUSTER as usize];
        Self { output, size, compress, l1, table, table_index: 0, refcounts: Vec::new() }
    }

    /// The header's cluster and those of the L1 table.
    fn head_bytes(&self) -> u64 {
        CLUSTER + (self.l1.len() as u64 * 8).next_multiple_of(CLUSTER)
    }

    fn add(&mut self, piece: &Piece<'_>) -> Result<()> {
        let index = piece.unit / WORDS_PER_CLUSTER;
        if index != self.table_index {
            self.end_table()?;
            self.table_index = index;
        }
        let entry = self.append(piece.bytes)?;
        self.table[(piece.unit % WORDS_PER_CLUSTER) as usize] = entry;
        Ok(())
    }

    /// Appends a cluster's bytes and returns its entry.
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let (host, len) = (self.output.position(), bytes.len() as u64);
        self.output.append(bytes)?;
        self.count(host, len);
        if !self.compress {
            return Ok(host | COPIED);
        }
        let further_sectors = (host + len - 1) / SECTOR - host / SECTOR;
        Ok(COMPRESSED | further_sectors << SECTORS_SHIFT | host)
    }

    /// Counts a reference to each cluster of the file that `len` bytes at `host` touch.
    fn count(&mut self, host: u64, len: u64) {
        let (first, last) = (host / CLUSTER, (host + len - 1) / CLUSTER);
        self.refcounts.resize(self.refcounts.len().max(last as usize + 1), 0);
        for cluster in &mut self.refcounts[first as usize..=last as usize] {
            *cluster += 1;
        }
    }

    /// Appends the table under construction, if anything is in it, and begins another.
    fn end_table(&mut self) -> Result<()> {
        if self.table.iter().all(|entry| *entry == 0) {
            return Ok(());
        }
        self.output.align(CLUSTER)?;
        let host = self.output.position();
        self.output.append(&words(&self.table))?;
        self.count(host, CLUSTER);
        self.l1[self.table_index as usize] = host | COPIED;
        self.table.fill(0);
        Ok(())
    }

    /// Appends the refcounts and puts the head; returns the length of the file.
    fn finish(mut self) -> Result<u64> {
        self.end_table()?;
        self.output.align(CLUSTER)?;
        self.count(0, self.head_bytes());
        let used = self.output.position() / CLUSTER;
        let (blocks, table_clusters) = refcount_clusters(used);
        self.count(used * CLUSTER, (blocks + table_clusters) * CLUSTER);
        let mut counts: Vec<u8> = self.refcounts.iter().flat_map(|count| count.to_be_bytes()).collect();
        counts.resize((blocks * CLUSTER) as usize, 0);
        self.output.append(&counts)?;
        let refcount_table_offset = self.output.position();
        let mut table: Vec<u64> = (0..blocks).map(|block| (used + block) * CLUSTER).collect();
        table.resize((table_clusters * WORDS_PER_CLUSTER) as usize, 0);
        self.output.append(&words(&table))?;

        let header = Header {
            size_bytes: self.size,
            l1_entries: self.l1.len() as u64,
            refcount_table_offset,
            refcount_table_clusters: table_clusters,
            zstd: self.compress,
        };
        let mut head = header.bytes().to_vec();
        head.resize(CLUSTER as usize, 0);
        head.extend(words(&self.l1));
        head.resize(self.head_bytes() as usize, 0);
        self.output.put_head(&head)?;
        Ok(self.output.position())
    }
}
