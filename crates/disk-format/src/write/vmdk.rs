//! VMDK of the kind `streamOptimized`, which was made to be streamed: compressed grains, each table behind the grains
//! that it maps, the directory and a second header at the end. There is no head.
//!
//! Source: VMware's "Virtual Disk Format 5.0". The version is 3, as VMware's own tools write it.

use kiln_block::{BlockDevice, Digest, SECTOR_BYTES};

use super::pump::{Packing, Piece, pump};
use super::sink::Output;
use super::{Progress, Written};
use crate::{Error, Result};

const SECTOR: usize = SECTOR_BYTES as usize;
const GRAIN_SECTORS: u64 = 128;
const GRAIN_BYTES: usize = 64 << 10;
const TABLE_ENTRIES: u64 = 512;
/// Where the first grain lies, and so what header and descriptor may take.
const OVERHEAD_SECTORS: u64 = 128;
const DESCRIPTOR_SECTORS: u64 = 20;
/// What 32 bits of sectors can point at. A stream is never longer than its disk by as much as this leaves.
pub(super) const SIZE_BYTES_MAX: u64 = 2040 << 30;

const VERSION: u32 = 3;
/// Newline test, compressed grains, markers.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const COMPRESSION_DEFLATE: u16 = 1;
const DIRECTORY_AT_END: u64 = u64::MAX;

/// What stands before everything that is no grain.
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Writes the grains that are not zeros.
pub(super) fn write(
    device: &dyn BlockDevice,
    output: Output<'_>,
    progress: &mut Progress<'_>,
) -> Result<Written> {
    let mut writer = Writer::new(output, device.size_bytes() / SECTOR_BYTES);
    writer.begin()?;
    let mut grains = 0;
    pump(device, GRAIN_BYTES, Packing::Zlib, progress, |piece| {
        grains += 1;
        writer.add(&piece)
    })?;
    let file_bytes = writer.finish()?;
    Ok(Written { file_bytes, stored_bytes: grains * GRAIN_BYTES as u64 })
}

struct Writer<'a> {
    output: Output<'a>,
    /// Size of the disk in sectors.
    capacity: u64,
    directory: Vec<u32>,
    /// The table under construction and its place in the directory.
    table: Vec<u32>,
    table_index: u64,
}

impl<'a> Writer<'a> {
    fn new(output: Output<'a>, capacity: u64) -> Self {
        let directory = vec![0; capacity.div_ceil(TABLE_ENTRIES * GRAIN_SECTORS) as usize];
        let table = vec![0; TABLE_ENTRIES as usize];
        Self { output, capacity, directory, table, table_index: 0 }
    }

    fn begin(&mut self) -> Result<()> {
        self.output.append(&header(self.capacity, DIRECTORY_AT_END))?;
        self.output.append(descriptor(self.capacity).as_bytes())?;
        self.output.skip(OVERHEAD_SECTORS * SECTOR_BYTES - self.output.position())
    }

    fn add(&mut self, piece: &Piece<'_>) -> Result<()> {
        let index = piece.unit / TABLE_ENTRIES;
        if index != self.table_index {
            self.end_table()?;
            self.table_index = index;
        }
        self.table[(piece.unit % TABLE_ENTRIES) as usize] = self.sector()?;
        let mut grain = Vec::with_capacity(piece.bytes.len() + 2 * SECTOR);
        grain.extend((piece.unit * GRAIN_SECTORS).to_le_bytes());
        grain.extend((piece.bytes.len() as u32).to_le_bytes());
        grain.extend(piece.bytes);
        grain.resize(grain.len().next_multiple_of(SECTOR), 0);
        self.output.append(&grain)
    }

    /// The sector at which the file ends so far.
    fn sector(&self) -> Result<u32> {
        let too_large = |_| Error::InvalidSize(self.capacity * SECTOR_BYTES);
        u32::try_from(self.output.position() / SECTOR_BYTES).map_err(too_large)
    }

    fn end_table(&mut self) -> Result<()> {
        if self.table.iter().all(|sector| *sector == 0) {
            return Ok(());
        }
        let table = std::mem::replace(&mut self.table, vec![0; TABLE_ENTRIES as usize]);
        self.directory[self.table_index as usize] = self.append_marked(Marker::Table, &entries(&table))?;
        Ok(())
    }

    /// Appends a marker and the sectors that it announces; returns where these begin.
    fn append_marked(&mut self, kind: Marker, sectors: &[u8]) -> Result<u32> {
        let mut marker = [0; SECTOR];
        marker[..8].copy_from_slice(&((sectors.len() / SECTOR) as u64).to_le_bytes());
        marker[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
        self.output.append(&marker)?;
        let sector = self.sector()?;
        self.output.append(sectors)?;
        Ok(sector)
    }

    fn finish(mut self) -> Result<u64> {
        self.end_table()?;
        let directory = entries(&self.directory);
        let directory_sector = self.append_marked(Marker::Directory, &directory)?;
        self.append_marked(Marker::Footer, &header(self.capacity, u64::from(directory_sector)))?;
        self.append_marked(Marker::EndOfStream, &[])?;
        Ok(self.output.position())
    }
}

/// Little-endian entries, filled up to whole sectors.
fn entries(sectors: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = sectors.iter().flat_map(|sector| sector.to_le_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    bytes
}

fn header(capacity: u64, directory_sector: u64) -> [u8; SECTOR] {
    let mut header = [0; SECTOR];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, b"KDMV");
    put(4, &VERSION.to_le_bytes());
    put(8, &FLAGS.to_le_bytes());
    put(12, &capacity.to_le_bytes());
    put(20, &GRAIN_SECTORS.to_le_bytes());
    put(28, &1u64.to_le_bytes());
    put(36, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(44, &(TABLE_ENTRIES as u32).to_le_bytes());
    put(56, &directory_sector.to_le_bytes());
    put(64, &OVERHEAD_SECTORS.to_le_bytes());
    put(73, b"\n \r\n");
    put(77, &COMPRESSION_DEFLATE.to_le_bytes());
    header
}

/// The text about the disk. Its name is that of no file: readers of embedded descriptors do not look for one.
fn descriptor(capacity: u64) -> String {
    const HEADS: u64 = 255;
    const SECTORS_PER_TRACK: u64 = 63;
    let cylinders = capacity.div_ceil(HEADS * SECTORS_PER_TRACK);
    let digest = Digest::of(&capacity.to_le_bytes()).to_string();
    // Any number but the one that means "no parent".
    let content_id = &digest[..7];
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=0{content_id}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {capacity} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n"
    )
}
