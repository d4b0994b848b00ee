//! qcow2 files: any cluster size, tables anywhere, compressed clusters that share sectors, subclusters in any state.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Built, File, scrambled};

const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;

/// What was drawn for one image.
#[derive(Debug, Clone, Copy)]
struct Options {
    version: u32,
    cluster_bits: u32,
    extended: bool,
    zstd: bool,
    size: u64,
    spare_l1_entries: usize,
}

pub(crate) fn draw(rng: &mut StdRng) -> Built {
    let version = if rng.random_bool(0.2) { 2 } else { 3 };
    let extended = version == 3 && rng.random_bool(0.3);
    let cluster_bits = rng.random_range(if extended { 14 } else { 9 }..=if extended { 16 } else { 17 });
    let options = Options {
        version,
        cluster_bits,
        extended,
        zstd: version == 3 && rng.random_bool(0.5),
        size: rng.random_range(1..=(24 << cluster_bits) / 512) * 512,
        spare_l1_entries: rng.random_range(0..20),
    };
    let mut about = format!("built qcow2 {options:?}");
    if rng.random_bool(0.1) {
        about += " sparse tables";
    }
    Built { format: "qcow2", bytes: build(rng, options), about }
}

fn build(rng: &mut StdRng, options: Options) -> Vec<u8> {
    let cluster = 1usize << options.cluster_bits;
    let entry_words = if options.extended { 2 } else { 1 };
    let per_table = cluster / 8 / entry_words;
    let clusters = options.size.div_ceil(cluster as u64) as usize;
    let mut file = File::new(rng, cluster);
    let refcounts = file.place(cluster, cluster);
    let mut tables = vec![vec![0u64; cluster / 8]; clusters.div_ceil(per_table)];
    let mut shared = None;
    for index in scrambled(file.rng, clusters) {
        let words = draw_entry(&mut file, options, &mut shared);
        let at = index % per_table * entry_words;
        tables[index / per_table][at..at + entry_words].copy_from_slice(&words[..entry_words]);
    }
    let mut l1 = vec![0u64; tables.len() + options.spare_l1_entries];
    for index in scrambled(file.rng, tables.len()) {
        if tables[index].iter().any(|word| *word != 0) || file.rng.random() {
            let offset = file.append(&big_endian(&tables[index]), cluster) as u64;
            l1[index] = offset | if file.rng.random() { COPIED } else { 0 };
        }
    }
    let l1_at = file.append(&big_endian(&l1), cluster);
    // Whole clusters, but for data at the very end.
    let end = file.bytes.len().next_multiple_of(cluster);
    file.rubbish_up_to(end);
    put_header(&mut file, options, (l1_at, l1.len()), refcounts);
    if file.rng.random_bool(0.2) && !options.extended {
        cut_last_cluster(&mut file, options, l1_at, per_table);
    }
    file.bytes
}

/// The words of one L2 entry; what it maps is put into the file.
fn draw_entry(file: &mut File, options: Options, shared: &mut Option<u64>) -> [u64; 2] {
    let cluster = 1usize << options.cluster_bits;
    match file.rng.random_range(0..10) {
        0..3 => [0, 0],
        3 if options.version == 3 => {
            // Zeros, with or without a cluster of their own.
            let host = if file.rng.random() { file.place(cluster, cluster) as u64 } else { 0 };
            if options.extended { [host, u64::from(u32::MAX) << 32] } else { [host | 1, 0] }
        }
        4..6 => [compressed_entry(file, options), 0],
        6 if shared.is_some() && !options.extended => [shared.unwrap_or_default(), 0],
        _ => {
            let bytes = file.contents(cluster);
            let host = file.append(&bytes, cluster) as u64;
            let zeros: u32 = file.rng.random();
            let allocated = !zeros & file.rng.random::<u32>();
            *shared = Some(host);
            let copied = if file.rng.random() { COPIED } else { 0 };
            [host | copied, u64::from(zeros) << 32 | u64::from(allocated)]
        }
    }
}

/// Compressed clusters begin at any byte and may share sectors; the length is given in sectors.
fn compressed_entry(file: &mut File, options: Options) -> u64 {
    let bytes = file.contents(1 << options.cluster_bits);
    let stream =
        if options.zstd { zstd::bulk::compress(&bytes, 1).expect("memory") } else { deflate(&bytes) };
    let host = file.append(&stream, 1);
    let sectors = (host + stream.len() - 1) / 512 - host / 512;
    let sectors_bits = options.cluster_bits - 8;
    if sectors >= 1 << sectors_bits {
        return 0;
    }
    COMPRESSED | (sectors as u64) << (62 - sectors_bits) | host as u64
}

/// QEMU inflates with a window of 4 KiB, so a valid stream was deflated with no larger one.
fn deflate(bytes: &[u8]) -> Vec<u8> {
    const WINDOW_BITS: u8 = 12;
    let level = flate2::Compression::new(6);
    let mut deflater = flate2::Compress::new_with_window_bits(level, false, WINDOW_BITS);
    let mut stream = Vec::with_capacity(2 * bytes.len() + 64);
    let status = deflater.compress_vec(bytes, &mut stream, flate2::FlushCompress::Finish).expect("memory");
    assert_eq!(status, flate2::Status::StreamEnd);
    stream
}

fn put_header(file: &mut File, options: Options, l1: (usize, usize), refcounts: usize) {
    let version3 = options.version == 3;
    file.put(0, b"QFI\xfb");
    file.put(4, &options.version.to_be_bytes());
    file.put(20, &options.cluster_bits.to_be_bytes());
    file.put(24, &options.size.to_be_bytes());
    file.put(36, &(l1.1 as u32).to_be_bytes());
    file.put(40, &(l1.0 as u64).to_be_bytes());
    file.put(48, &(refcounts as u64).to_be_bytes());
    file.put(56, &1u32.to_be_bytes());
    if !version3 {
        return;
    }
    let incompatible = u64::from(options.zstd) << 3 | u64::from(options.extended) << 4;
    file.put(72, &incompatible.to_be_bytes());
    // Unknown compatible and autoclear features are none of a reader's business.
    let other: [u64; 2] = [file.rng.random::<u64>() & !1, file.rng.random::<u64>() & !3];
    file.put(80, &big_endian(&other));
    file.put(96, &4u32.to_be_bytes());
    let long = options.zstd || file.rng.random();
    file.put(100, &if long { 112u32 } else { 104 }.to_be_bytes());
    if options.zstd {
        file.put(104, &[1]);
    }
    // An extension that nobody knows.
    let at = if long { 112 } else { 104 };
    if file.rng.random() {
        file.put(at, &[0x12, 0x34, 0x56, 0x78, 0, 0, 0, 5, 1, 2, 3, 4, 5]);
    }
}

/// Where the last cluster of the file is data, a file may end within it.
fn cut_last_cluster(file: &mut File, options: Options, l1: usize, per_table: usize) {
    let cluster = 1usize << options.cluster_bits;
    let bytes = file.contents(cluster);
    let word =
        |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let table = (word(&file.bytes, l1) & !COPIED) as usize;
    if table == 0 {
        return;
    }
    let host = file.bytes.len();
    let keep = file.rng.random_range(1..=cluster / 512) * 512;
    file.bytes.extend(&bytes[..keep]);
    let clusters = options.size.div_ceil(cluster as u64) as usize;
    let entry = table + 8 * file.rng.random_range(0..per_table.min(clusters));
    file.put(entry, &(host as u64).to_be_bytes());
}

fn big_endian(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
