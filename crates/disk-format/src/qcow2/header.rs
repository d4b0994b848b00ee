//! The header of a qcow2 file, checked before anything else is read.
//!
//! Invariant: a [`Header`] describes a file that is complete in itself, unencrypted, within the limits, and needs
//! no feature that is unknown here. References and encryption are looked for first, so that an image that has them
//! is refused for that and not for something further on.

use kiln_block::{BlockDevice, SECTOR_BYTES};

use crate::compressed::Compression;
use crate::detect::QCOW_MAGIC;
use crate::field::{be32, be64};
use crate::open::check_virtual_size;
use crate::{Error, Format, Limits, Reference, Result};

/// Length of a version 2 header, and the least a file can have.
const HEADER_BYTES_V2: usize = 72;
/// Length of a version 3 header without its optional fields.
const HEADER_BYTES_V3: usize = 104;
/// Position of the compression type, the first optional field.
const COMPRESSION_TYPE_AT: usize = 104;

const CLUSTER_BITS_MIN: u32 = 9;
const CLUSTER_BITS_MAX: u32 = 21;
/// Subclusters must not be smaller than a sector.
const CLUSTER_BITS_MIN_EXTENDED: u32 = 14;
/// QEMU's own bound on the active L1 table.
const L1_BYTES_MAX: u64 = 32 << 20;
/// QEMU's own bound on the refcount table.
const REFCOUNT_TABLE_BYTES_MAX: u64 = 8 << 20;
const REFCOUNT_ORDER_MAX: u32 = 6;
/// QEMU's own bound on internal snapshots.
const SNAPSHOTS_MAX: u32 = 65536;

/// Incompatible features, by their bit: dirty refcounts and a noted corruption do not keep QEMU from reading, and
/// so not us either; what is read is checked entry by entry.
const FEATURE_DIRTY: u64 = 1 << 0;
const FEATURE_CORRUPT: u64 = 1 << 1;
const FEATURE_DATA_FILE: u64 = 1 << 2;
const FEATURE_COMPRESSION_TYPE: u64 = 1 << 3;
const FEATURE_EXTENDED_L2: u64 = 1 << 4;
const FEATURES_KNOWN: u64 =
    FEATURE_DIRTY | FEATURE_CORRUPT | FEATURE_DATA_FILE | FEATURE_COMPRESSION_TYPE | FEATURE_EXTENDED_L2;

const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

/// What readers need of a header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) extended_l2: bool,
    pub(super) compression: Compression,
    /// Size of the virtual disk in bytes, whole sectors only, as QEMU counts it.
    pub(super) size_bytes: u64,
    pub(super) l1_offset: u64,
    /// Entries of the L1 table that the virtual disk needs; the file may hold more.
    pub(super) l1_entries: u64,
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_bytes: u64,
}

impl Header {
    /// Reads and checks the header of `device`.
    pub(super) fn read(device: &dyn BlockDevice, limits: &Limits) -> Result<Self> {
        let file_bytes = device.size_bytes();
        let cluster_bits = check_start(&read_head(device, HEADER_BYTES_V2 as u64)?)?;
        // The first cluster holds the header and its extensions.
        let head = read_head(device, (1 << cluster_bits).min(file_bytes))?;
        let (header_bytes, features) = check_version(&head)?;
        if features & FEATURE_DATA_FILE != 0 {
            return Err(external(Reference::DataFile));
        }
        if features & !FEATURES_KNOWN != 0 {
            let bits = features & !FEATURES_KNOWN;
            return Err(Error::UnsupportedFeatures { format: Format::Qcow2, bits });
        }
        check_extensions(&head, header_bytes)?;

        let extended_l2 = features & FEATURE_EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < CLUSTER_BITS_MIN_EXTENDED {
            return Err(malformed("extended L2 entries with clusters under 16 KiB"));
        }
        let mut header = Self {
            version: be32(&head, 4),
            cluster_bits,
            extended_l2,
            compression: compression(&head, header_bytes, features)?,
            size_bytes: be64(&head, 24) / SECTOR_BYTES * SECTOR_BYTES,
            l1_offset: be64(&head, 40),
            l1_entries: 0,
            refcount_table_offset: be64(&head, 48),
            refcount_table_bytes: u64::from(be32(&head, 56)) << cluster_bits,
        };
        check_virtual_size(be64(&head, 24), limits)?;
        header.l1_entries = header.check_l1(be32(&head, 36), file_bytes)?;
        header.check_refcounts(&head, file_bytes)?;
        header.check_snapshots(&head, file_bytes)?;
        Ok(header)
    }

    /// Length of a cluster in bytes.
    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The guest bytes that one L2 table maps, as a power of two.
    pub(super) fn table_span_bits(&self) -> u32 {
        let entry_bits = if self.extended_l2 { 4 } else { 3 };
        2 * self.cluster_bits - entry_bits
    }

    /// Checks the L1 table's place and length and returns how many of its entries the disk needs.
    fn check_l1(&self, entries: u32, file_bytes: u64) -> Result<u64> {
        let bytes = u64::from(entries) * 8;
        if bytes > L1_BYTES_MAX {
            return Err(Error::TooLarge { what: "the L1 table", size: bytes, limit: L1_BYTES_MAX });
        }
        let needed = self.size_bytes.div_ceil(1 << self.table_span_bits());
        if needed > u64::from(entries) {
            return Err(malformed(format!("an L1 table of {entries} entries where the disk needs {needed}")));
        }
        self.check_place("the L1 table", self.l1_offset, bytes, file_bytes)?;
        Ok(needed)
    }

    fn check_refcounts(&self, head: &[u8], file_bytes: u64) -> Result<()> {
        let size = self.refcount_table_bytes;
        if size == 0 {
            return Err(malformed("no refcount table"));
        }
        if size > REFCOUNT_TABLE_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "the refcount table",
                size,
                limit: REFCOUNT_TABLE_BYTES_MAX,
            });
        }
        if self.version >= 3 && be32(head, 96) > REFCOUNT_ORDER_MAX {
            return Err(malformed(format!("refcounts of 2^{} bits", be32(head, 96))));
        }
        self.check_place("the refcount table", self.refcount_table_offset, size, file_bytes)
    }

    /// Snapshots are not read, but a file that states impossible ones is not well formed.
    fn check_snapshots(&self, head: &[u8], file_bytes: u64) -> Result<()> {
        let (count, offset) = (be32(head, 60), be64(head, 64));
        if count > SNAPSHOTS_MAX {
            return Err(malformed(format!("{count} internal snapshots")));
        }
        /// Length of a snapshot's entry without its variable parts.
        const ENTRY_BYTES: u64 = 40;
        self.check_place("the snapshot table", offset, u64::from(count) * ENTRY_BYTES, file_bytes)
    }

    /// Refuses a structure that does not begin at a cluster after the header or does not lie within the file.
    fn check_place(&self, what: &'static str, offset: u64, bytes: u64, file_bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if !offset.is_multiple_of(self.cluster_bytes()) {
            return Err(malformed(format!("{what} at {offset} does not begin a cluster")));
        }
        if offset == 0 {
            return Err(Error::Overlap { what, offset });
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= file_bytes => Ok(()),
            _ => Err(Error::OutsideFile { what, offset }),
        }
    }
}

/// A complaint about a qcow2 file.
pub(super) fn malformed(reason: impl Into<String>) -> Error {
    Error::malformed(Format::Qcow2, reason)
}

fn external(reference: Reference) -> Error {
    Error::ExternalReference { format: Format::Qcow2, reference }
}

/// The first `len` bytes of a file that must be so long.
fn read_head(device: &dyn BlockDevice, len: u64) -> Result<Vec<u8>> {
    if device.size_bytes() < len {
        return Err(malformed("the file ends within its header"));
    }
    let mut head = vec![0; len as usize];
    device.read_exact_at(&mut head, 0)?;
    Ok(head)
}

/// Checks what every version has, references first, and returns the cluster size as a power of two.
fn check_start(head: &[u8]) -> Result<u32> {
    if !head.starts_with(QCOW_MAGIC) {
        return Err(malformed("the magic is missing"));
    }
    let version = be32(head, 4);
    if !(2..=3).contains(&version) {
        return Err(Error::UnsupportedVersion { format: Format::Qcow2, version });
    }
    // The length of the name is undefined where there is none.
    if be64(head, 8) != 0 {
        return Err(external(Reference::BackingFile));
    }
    if be32(head, 32) != 0 {
        return Err(Error::Encrypted(Format::Qcow2));
    }
    let cluster_bits = be32(head, 20);
    if !(CLUSTER_BITS_MIN..=CLUSTER_BITS_MAX).contains(&cluster_bits) {
        return Err(malformed(format!("clusters of 2^{cluster_bits} bytes")));
    }
    Ok(cluster_bits)
}

/// The header's length and incompatible features, which version 2 does not state.
fn check_version(head: &[u8]) -> Result<(usize, u64)> {
    if be32(head, 4) == 2 {
        return Ok((HEADER_BYTES_V2, 0));
    }
    if head.len() < HEADER_BYTES_V3 {
        return Err(malformed("the file ends within its header"));
    }
    let header_bytes = be32(head, 100) as usize;
    if header_bytes < HEADER_BYTES_V3 || header_bytes > head.len() || !header_bytes.is_multiple_of(8) {
        return Err(malformed(format!("a header of {header_bytes} bytes")));
    }
    Ok((header_bytes, be64(head, 72)))
}

fn compression(head: &[u8], header_bytes: usize, features: u64) -> Result<Compression> {
    let stated = if header_bytes > COMPRESSION_TYPE_AT { head[COMPRESSION_TYPE_AT] } else { 0 };
    match (stated, features & FEATURE_COMPRESSION_TYPE != 0) {
        (0, false) => Ok(Compression::Deflate),
        (1, true) => Ok(Compression::Zstd),
        (other, _) => Err(malformed(format!("compression type {other} does not agree with the features"))),
    }
}

/// Walks the header extensions, which fill the first cluster, for those that lead out of the file.
fn check_extensions(head: &[u8], header_bytes: usize) -> Result<()> {
    let mut rest = &head[header_bytes..];
    while rest.len() >= 8 {
        let (kind, len) = (be32(rest, 0), be32(rest, 4) as usize);
        match kind {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => return Err(external(Reference::DataFile)),
            EXTENSION_ENCRYPTION => return Err(Error::Encrypted(Format::Qcow2)),
            _ => {}
        }
        let padded = len.next_multiple_of(8);
        rest = match rest.get(8 + padded..) {
            Some(after) => after,
            None => return Err(malformed(format!("header extension {kind:#x} of {len} bytes"))),
        };
    }
    Ok(())
}
