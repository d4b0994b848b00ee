//! What the writers of qcow2 files have in common: version 3, 64 KiB clusters, 16-bit refcounts, no backing file.
//!
//! Readers take all that there is and share nothing with this.

/// Length of the clusters that are written, as a power of two.
pub(crate) const CLUSTER_BITS: u32 = 16;
/// Length of the clusters that are written.
pub(crate) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 table, and of a refcount table's cluster.
pub(crate) const WORDS_PER_CLUSTER: u64 = CLUSTER / 8;
/// Set in entries whose target has a refcount of exactly one.
pub(crate) const COPIED: u64 = 1 << 63;
/// Set in entries of compressed clusters.
pub(crate) const COMPRESSED: u64 = 1 << 62;
/// What QEMU accepts: an L1 table of 32 MiB.
pub(crate) const SIZE_BYTES_MAX: u64 = (32 << 20) / 8 * WORDS_PER_CLUSTER * CLUSTER;
/// 16-bit refcounts.
pub(crate) const REFCOUNTS_PER_BLOCK: u64 = CLUSTER / 2;

const REFCOUNT_ORDER: u32 = 4;
/// Length of the header without extensions.
const HEADER_BYTES: usize = 112;
const FEATURE_COMPRESSION_TYPE: u64 = 1 << 3;
const COMPRESSION_ZSTD: u8 = 1;

/// What differs between the headers that are written. The L1 table always lies in the second cluster.
pub(crate) struct Header {
    pub(crate) size_bytes: u64,
    pub(crate) l1_entries: u64,
    pub(crate) refcount_table_offset: u64,
    pub(crate) refcount_table_clusters: u64,
    /// Whether compressed clusters are Zstandard frames.
    pub(crate) zstd: bool,
}

impl Header {
    /// The header's fields at their places; what is 0 says: no backing file, no encryption, no snapshots, no further
    /// features, no extensions.
    pub(crate) fn bytes(&self) -> [u8; HEADER_BYTES + 8] {
        let mut header = [0; HEADER_BYTES + 8];
        let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
        put(0, crate::detect::QCOW_MAGIC);
        put(4, &3u32.to_be_bytes());
        put(20, &CLUSTER_BITS.to_be_bytes());
        put(24, &self.size_bytes.to_be_bytes());
        put(36, &(self.l1_entries as u32).to_be_bytes());
        put(40, &CLUSTER.to_be_bytes());
        put(48, &self.refcount_table_offset.to_be_bytes());
        put(56, &(self.refcount_table_clusters as u32).to_be_bytes());
        put(96, &REFCOUNT_ORDER.to_be_bytes());
        put(100, &(HEADER_BYTES as u32).to_be_bytes());
        if self.zstd {
            put(72, &FEATURE_COMPRESSION_TYPE.to_be_bytes());
            put(104, &[COMPRESSION_ZSTD]);
        }
        header
    }
}

/// How many refcount blocks and refcount table clusters count `used` clusters and themselves.
pub(crate) fn refcount_clusters(used: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (1, 1);
    loop {
        let needed = (used + blocks + table).div_ceil(REFCOUNTS_PER_BLOCK);
        if needed <= blocks && blocks.div_ceil(WORDS_PER_CLUSTER) <= table {
            return (blocks, table);
        }
        blocks = blocks.max(needed);
        table = blocks.div_ceil(WORDS_PER_CLUSTER);
    }
}

/// Big-endian words.
pub(crate) fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_cover_themselves() {
        for used in [1, 5, 32_765, 32_766, 32_767, 32_768, 268_435_455, 300_000_000] {
            let (blocks, table) = refcount_clusters(used);
            assert!(blocks * REFCOUNTS_PER_BLOCK >= used + blocks + table, "{used}");
            assert!(table * WORDS_PER_CLUSTER >= blocks, "{used}");
        }
    }
}
