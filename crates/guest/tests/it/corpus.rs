//! The fuzzers' seeds, and damaged copies of them, through the fuzzers' own functions.

use kiln_guest::fuzzing;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::seeds::seeds;
use crate::target;

/// Damaged copies of each seed: of those that take milliseconds, fewer.
const COPIES: usize = 400;
const COPIES_OF_DISKS: usize = 40;
/// Said to repeat a run.
const SEED_VARIABLE: &str = "KILN_TEST_SEED";

fn run(target: &str, bytes: &[u8]) {
    match target {
        "partition_table" => fuzzing::partition_table(bytes),
        "hive" => fuzzing::hive(bytes),
        "cpio" => fuzzing::cpio(bytes),
        "initramfs" => fuzzing::initramfs(bytes),
        "text" => fuzzing::text(bytes),
        "disk" => target::disk(bytes),
        "place" => target::place(bytes),
        other => panic!("no target {other}"),
    }
}

#[test]
fn seeds_and_damaged_seeds_make_no_parser_panic() {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().expect("a number"));
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("{SEED_VARIABLE}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (target, name, bytes) in seeds() {
        eprintln!("{target} {name}: {} bytes", bytes.len());
        run(target, &bytes);
        let copies = if matches!(target, "disk" | "place") { COPIES_OF_DISKS } else { COPIES };
        for _ in 0..copies {
            run(target, &damaged(&bytes, &mut random));
        }
    }
}

fn damaged(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = [random.random(), 0x00, 0xFF, bytes[at].wrapping_add(1)][random.random_range(0..4)];
    }
    if random.random_bool(0.1) {
        bytes.truncate(random.random_range(0..bytes.len()));
    }
    bytes
}
