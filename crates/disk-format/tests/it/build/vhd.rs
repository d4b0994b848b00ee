//! VHD files: every creator, blocks of every size in any order, the header and the table anywhere, old footers.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

use super::{Built, File, scrambled};

/// Creators whose disks QEMU sizes by the geometry, and those that it sizes by the current size.
const BY_GEOMETRY: [&[u8; 4]; 2] = [b"vpc ", b"qemu"];
const BY_SIZE: [&[u8; 4]; 5] = [b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"];

/// What was drawn for one footer.
#[derive(Debug, Clone)]
struct Footer {
    creator: [u8; 4],
    /// The size that counts.
    sectors: u64,
    geometry: (u16, u8, u8),
    current_size: u64,
}

pub(crate) fn draw(rng: &mut StdRng) -> Built {
    let footer = Footer::draw(rng);
    if rng.random_bool(0.25) {
        let short = rng.random_bool(0.3);
        let about = format!("built fixed vhd {footer:?} short footer {short}");
        return Built { format: "vpc", bytes: build_fixed(rng, &footer, short), about };
    }
    let block_bits = rng.random_range(12..=18);
    let short = rng.random_bool(0.2);
    let about = format!("built dynamic vhd {footer:?} blocks 2^{block_bits} short footer {short}");
    Built { format: "vpc", bytes: build_dynamic(rng, &footer, block_bits, short), about }
}

/// A dynamic disk of a program that QEMU does not know.
pub(crate) fn with_creator(rng: &mut StdRng, creator: [u8; 4]) -> Vec<u8> {
    let footer = Footer { creator, sectors: 2000, geometry: (28, 4, 17), current_size: 2000 * 512 };
    build_dynamic(rng, &footer, 16, false)
}

impl Footer {
    fn draw(rng: &mut StdRng) -> Self {
        if rng.random_bool(0.4) {
            let geometry = (rng.random_range(1..60), rng.random_range(1..=8), rng.random_range(1..=17));
            let sectors = u64::from(geometry.0) * u64::from(geometry.1) * u64::from(geometry.2);
            let creator = **BY_GEOMETRY.choose(rng).expect("not empty");
            let current_size = (sectors + rng.random_range(0..100)) * 512;
            return Self { creator, sectors, geometry, current_size };
        }
        let sectors = rng.random_range(1..4096);
        let largest = rng.random_bool(0.3);
        let creator =
            **if largest { BY_GEOMETRY.as_slice() } else { &BY_SIZE }.choose(rng).expect("not empty");
        let geometry = if largest { (65535, 16, 255) } else { (rng.random(), rng.random(), rng.random()) };
        // A size within a sector is cut.
        let current_size = sectors * 512 + rng.random_range(0..2) * rng.random_range(0..512);
        Self { creator, sectors, geometry, current_size }
    }

    fn bytes(&self, kind: u32, header_at: u64) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"conectix");
        put(8, &2u32.to_be_bytes());
        put(12, &0x1_0000u32.to_be_bytes());
        put(16, &header_at.to_be_bytes());
        put(28, &self.creator);
        put(36, b"Wi2k");
        put(48, &self.current_size.to_be_bytes());
        put(56, &self.geometry.0.to_be_bytes());
        put(58, &[self.geometry.1, self.geometry.2]);
        put(60, &kind.to_be_bytes());
        put(68, b"sixteen bytes id");
        seal(&mut bytes, 64);
        bytes
    }
}

/// Puts the right checksum of a structure at `at`.
pub(crate) fn seal(structure: &mut [u8], at: usize) {
    structure[at..at + 4].fill(0);
    let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
    structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fn build_fixed(rng: &mut StdRng, footer: &Footer, short: bool) -> Vec<u8> {
    let mut file = File::new(rng, 0);
    for _ in 0..footer.sectors.div_ceil(64) {
        let bytes = file.contents(64 * 512);
        file.bytes.extend(bytes);
    }
    file.bytes[..8].fill(0);
    // More than the footer says may be there.
    let further = file.rng.random_range(0..3) * 512;
    file.bytes.truncate(footer.sectors as usize * 512);
    file.rubbish_up_to(footer.sectors as usize * 512 + further);
    file.bytes.extend(&footer.bytes(2, u64::MAX)[..if short { 511 } else { 512 }]);
    file.bytes
}

fn build_dynamic(rng: &mut StdRng, footer: &Footer, block_bits: u32, short: bool) -> Vec<u8> {
    let block = 1usize << block_bits;
    let bitmap = (block / 512).div_ceil(8).next_multiple_of(512);
    let blocks = footer.sectors.div_ceil(block as u64 / 512) as usize;
    let mut file = File::new(rng, 512);
    // The header and the table may lie before or behind the blocks.
    let early = file.rng.random_bool(0.6);
    let entries = blocks + file.rng.random_range(0..3) * file.rng.random_range(0..200);
    let header_early = early.then(|| file.place(1024, 512));
    let table_early = early.then(|| file.place((entries * 4).next_multiple_of(512), 512));
    let mut table = vec![u32::MAX; entries];
    for index in scrambled(file.rng, blocks) {
        if file.rng.random_bool(0.4) {
            continue;
        }
        let start = file.place(bitmap + block, 512);
        // QEMU and Kiln do not look at the bitmap.
        file.rng.fill_bytes(&mut file.bytes[start..start + bitmap]);
        let bytes = file.contents(block);
        file.put(start + bitmap, &bytes);
        table[index] = (start / 512) as u32;
    }
    let header_at = header_early.unwrap_or_else(|| file.place(1024, 512));
    let table_at = table_early.unwrap_or_else(|| file.place((entries * 4).next_multiple_of(512), 512));
    let words: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    file.put(table_at, &words);
    file.put(header_at, &dynamic_header(table_at as u64, entries as u32, block as u32));
    let end = file.bytes.len().next_multiple_of(512);
    file.rubbish_up_to(end);
    let footer = footer.bytes(3, header_at as u64);
    file.put(0, &footer);
    file.bytes.extend(&footer[..if short { 511 } else { 512 }]);
    file.bytes
}

fn dynamic_header(table_at: u64, entries: u32, block: u32) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"cxsparse");
    put(8, &u64::MAX.to_be_bytes());
    put(16, &table_at.to_be_bytes());
    put(24, &0x1_0000u32.to_be_bytes());
    put(28, &entries.to_be_bytes());
    put(32, &block.to_be_bytes());
    seal(&mut bytes, 36);
    bytes
}
