//! The fuzzers' seeds, and damaged copies of them, through the fuzzers' own functions.

use kiln_guest::{System, fuzzing};
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
        "hive" => drop(fuzzing::hive(bytes)),
        "cpio" => fuzzing::cpio(bytes),
        "initramfs" => fuzzing::initramfs(bytes),
        "text" => fuzzing::text(bytes),
        "disk" => drop(target::disk(bytes)),
        "place" => drop(target::place(bytes)),
        other => panic!("no target {other}"),
    }
}

/// That undamaged seeds get as far as their parsers go.
#[test]
fn seeds_are_what_they_are_meant_to_be() {
    for (target, name, bytes) in seeds() {
        match target {
            "disk" => {
                let is_system =
                    target::disk(&bytes).is_some_and(|inspection| inspection.system != System::None);
                // The one with an EFI system partition only is none.
                assert_eq!(is_system, name != "seed-6", "{name}");
            }
            "place" => assert!(target::place(&bytes), "{name}: nothing was placed"),
            "hive" => assert!(fuzzing::hive(&bytes), "{name}: no hive"),
            _ => {}
        }
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
