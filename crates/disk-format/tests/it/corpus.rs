//! The fuzzers' seeds, and damaged copies of them, through the fuzzers' own functions.

use rand::Rng;

use crate::build;
use crate::sample::{rng, seed};

// Public for the fuzzers, which are another crate.
#[allow(unreachable_pub)]
#[path = "../../../../fuzz/src/disk_format.rs"]
mod target;

/// Images drawn, and damaged copies of each.
const IMAGES: u64 = 300;
const COPIES: usize = 8;
/// Damage is found faster in short files, of which more is structure.
const BYTES_MAX: usize = 64 << 10;

#[test]
fn seeds_and_damaged_seeds_make_no_reader_panic() {
    let seed = seed();
    for number in 0..IMAGES {
        let mut rng = rng(seed.wrapping_add(number));
        let built = build::draw(&mut rng, number);
        let run = |bytes: &[u8]| {
            target::detect_any(bytes);
            match built.format {
                "qcow2" => target::open_and_read(bytes, kiln_disk_format::Format::Qcow2),
                "vpc" => target::open_and_read_vhd(bytes),
                _ => target::open_and_read(bytes, kiln_disk_format::Format::Vmdk),
            }
        };
        run(&built.bytes);
        for _ in 0..if built.bytes.len() > BYTES_MAX { 0 } else { COPIES } {
            let mut bytes = built.bytes.clone();
            for _ in 0..rng.random_range(1..6) {
                let near_an_end = rng.random_bool(0.5);
                let at = rng.random_range(0..if near_an_end { bytes.len().min(600) } else { bytes.len() });
                bytes[at] = rng.random();
            }
            bytes.truncate(if rng.random_bool(0.1) { rng.random_range(0..bytes.len()) } else { bytes.len() });
            run(&bytes);
        }
    }
}
