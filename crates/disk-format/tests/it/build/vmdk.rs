//! VMDK files: grains and tables of every size in any order, plain and compressed, directories at either end.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::{Built, File, scrambled};

/// The name under which QEMU must find a file that describes itself.
pub(crate) const OWN_NAME: &str = "image.img";

const DIRECTORY_AT_END: u64 = u64::MAX;
const ZERO_GRAINS: u32 = 1 << 2;

/// What was drawn for one image.
#[derive(Debug, Clone, Copy)]
struct Options {
    version: u32,
    flags: u32,
    capacity: u64,
    grain: u64,
    entries: u32,
    compressed: bool,
    at_end: bool,
    descriptor_sectors: u64,
}

pub(crate) fn draw(rng: &mut StdRng) -> Built {
    if rng.random_bool(0.1) {
        return flat(rng);
    }
    let compressed = rng.random_bool(0.5);
    let version = rng.random_range(1..=3);
    let zero_grains = if rng.random() { ZERO_GRAINS } else { 0 };
    let grain = 1 << rng.random_range(0..=8);
    let options = Options {
        version,
        flags: 1 | zero_grains | if compressed { 0x3_0000 } else { 0 },
        capacity: rng.random_range(1..=grain * 40).min(8192),
        grain,
        entries: *[1, 2, 3, 7, 64, 100, 511, 512].choose(rng).expect("not empty"),
        compressed,
        at_end: rng.random(),
        descriptor_sectors: rng.random_range(1..=20),
    };
    Built { format: "vmdk", bytes: build(rng, options), about: format!("built vmdk {options:?}") }
}

/// A descriptor with its disk behind it.
fn flat(rng: &mut StdRng) -> Built {
    let (sectors, start) = (rng.random_range(1..600), rng.random_range(1..30));
    let extent = format!("RW {sectors} FLAT \"{OWN_NAME}\" {start}");
    let mut file = File::new(rng, start * 512);
    file.put(0, descriptor("monolithicFlat", &extent).as_bytes());
    let bytes = file.contents(sectors * 512);
    file.bytes.extend(bytes);
    let further = file.bytes.len() + file.rng.random_range(0..2) * 700;
    file.rubbish_up_to(further);
    Built { format: "vmdk", bytes: file.bytes, about: format!("built flat vmdk {extent}") }
}

fn descriptor(kind: &str, extent: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=7b5a3e01\nparentCID=ffffffff\ncreateType=\"{kind}\"\n{extent}\n\
         ddb.geometry.heads = \"16\"\n"
    )
}

fn build(rng: &mut StdRng, options: Options) -> Vec<u8> {
    let kind = if options.compressed { "streamOptimized" } else { "monolithicSparse" };
    let text = descriptor(kind, &format!("RW {} SPARSE \"disk.vmdk\"", options.capacity));
    let mut file = File::new(rng, 512 + options.descriptor_sectors as usize * 512);
    file.put(512, text.as_bytes());
    let grains = options.capacity.div_ceil(options.grain) as usize;
    let per_table = options.entries as usize;
    let mut tables = vec![vec![0u32; per_table]; grains.div_ceil(per_table)];
    for index in scrambled(file.rng, grains) {
        tables[index / per_table][index % per_table] = draw_grain(&mut file, options, index as u64);
    }
    let mut directory = vec![0u32; tables.len()];
    for index in scrambled(file.rng, tables.len()) {
        if tables[index].iter().any(|entry| *entry != 0) || file.rng.random() {
            directory[index] = (file.append(&little_endian(&tables[index]), 512) / 512) as u32;
        }
    }
    let directory_at = file.append(&little_endian(&directory), 512) as u64 / 512;
    let end = file.bytes.len().next_multiple_of(512);
    file.rubbish_up_to(end);
    if options.at_end {
        let marker = |kind: u32| {
            let mut sector = vec![0; 512];
            sector[12..16].copy_from_slice(&kind.to_le_bytes());
            sector
        };
        let footer = [marker(3), header(options, directory_at), marker(0)].concat();
        file.bytes.extend(footer);
        // Only the last header counts.
        let first = Options { capacity: options.capacity + file.rng.random_range(0..2), ..options };
        file.put(0, &header(first, DIRECTORY_AT_END));
    } else {
        file.put(0, &header(options, directory_at));
    }
    file.bytes
}

/// An entry of a grain table; the grain is put into the file.
fn draw_grain(file: &mut File, options: Options, index: u64) -> u32 {
    match file.rng.random_range(0..10) {
        0..3 => return 0,
        3 if options.flags & ZERO_GRAINS != 0 => return 1,
        _ => {}
    }
    let grain = options.grain as usize * 512;
    let mut bytes = file.contents(grain);
    if !options.compressed {
        return (file.append(&bytes, 512) / 512) as u32;
    }
    // The last grain may hold only what the disk needs.
    let left = ((options.capacity - index * options.grain) * 512).min(grain as u64) as usize;
    if file.rng.random() {
        bytes.truncate(left);
    }
    let stream = zlib(&bytes, file.rng.random_range(0..=9));
    let marker =
        [(index * options.grain).to_le_bytes().as_slice(), &(stream.len() as u32).to_le_bytes()].concat();
    // QEMU takes at most two grains, marker included.
    if marker.len() + stream.len() > 2 * grain {
        return 0;
    }
    (file.append(&[marker, stream].concat(), 512) / 512) as u32
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}

fn header(options: Options, directory_at: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"KDMV");
    put(4, &options.version.to_le_bytes());
    put(8, &options.flags.to_le_bytes());
    put(12, &options.capacity.to_le_bytes());
    put(20, &options.grain.to_le_bytes());
    put(28, &1u64.to_le_bytes());
    put(36, &options.descriptor_sectors.to_le_bytes());
    put(44, &options.entries.to_le_bytes());
    put(56, &directory_at.to_le_bytes());
    put(64, &(1 + options.descriptor_sectors).to_le_bytes());
    put(73, b"\n \r\n");
    put(77, &u16::from(options.compressed).to_le_bytes());
    bytes
}

fn little_endian(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}
