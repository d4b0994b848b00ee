//! Replies come when devices answer, not in the order of the requests; and long reads come in pieces.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::fixture::{Gate, GatedDevice, random_disk, serving};
use crate::raw_client::{BLOCK_STATUS, READ, RawClient};

#[test]
fn a_read_that_waits_does_not_hold_up_the_others() {
    for structured in [false, true] {
        let gate = Arc::new(Gate::default());
        let (fixture, _serving) = serving(GatedDevice { gate: Arc::clone(&gate), size_bytes: 1 << 20 });
        let mut client = RawClient::start(&fixture.socket(), structured);
        client.request(READ, 0, 1, 0, 512);
        client.request(READ, 0, 2, 4096, 512);
        client.request(READ, 0, 3, 8192, 512);
        let mut answered = Vec::new();
        for n in 0..3 {
            if n == 2 {
                gate.open();
            }
            if structured {
                answered.push(client.chunk().cookie);
            } else {
                answered.push(client.simple_reply().1);
                client.take::<512>();
            }
        }
        let first: BTreeSet<_> = answered[..2].iter().copied().collect();
        assert_eq!((first, answered[2]), (BTreeSet::from([2, 3]), 1));
    }
}

/// Collects the chunks of one read into the bytes they describe.
fn read_structured(client: &mut RawClient, offset: u64, len: u32) -> (Vec<u8>, usize) {
    client.request(READ, 0, 7, offset, len);
    let (mut bytes, mut seen, mut holes) = (vec![0xaa; len as usize], 0, 0);
    loop {
        let chunk = client.chunk();
        assert_eq!(chunk.cookie, 7);
        let at = |range: std::ops::Range<usize>| {
            u64::from_be_bytes(chunk.payload[range].try_into().expect("8 bytes"))
        };
        match chunk.kind {
            0 => assert!(chunk.payload.is_empty()),
            1 => {
                let data = &chunk.payload[8..];
                bytes[(at(0..8) - offset) as usize..][..data.len()].copy_from_slice(data);
                seen += data.len();
            }
            2 => {
                let hole = u32::from_be_bytes(chunk.payload[8..12].try_into().expect("4 bytes")) as usize;
                bytes[(at(0..8) - offset) as usize..][..hole].fill(0);
                seen += hole;
                holes += 1;
            }
            other => panic!("chunk of kind {other}"),
        }
        if chunk.done {
            assert_eq!(seen, len as usize, "every byte exactly once");
            return (bytes, holes);
        }
    }
}

#[test]
fn chunks_make_up_the_range_that_was_asked_for() {
    let (device, contents) = random_disk(40 << 20);
    let (fixture, _serving) = serving(device);
    let mut client = RawClient::start(&fixture.socket(), true);
    let mut all_holes = 0;
    for (offset, len) in [(0, 32 << 20), (12_345_677, 28_000_001), ((40 << 20) - 1, 1), (1 << 20, 256 << 10)]
    {
        let (bytes, holes) = read_structured(&mut client, offset, len);
        assert!(bytes == contents[offset as usize..][..len as usize], "{len} bytes at {offset}");
        all_holes += holes;
    }
    assert!(all_holes > 0, "zeros are not sent as bytes");
}

#[test]
fn one_extent_is_one_extent() {
    let (device, _) = random_disk(40 << 20);
    let (fixture, _serving) = serving(device);
    let mut client = RawClient::start(&fixture.socket(), true);
    for (flags, one) in [(1 << 3, true), (0, false)] {
        client.request(BLOCK_STATUS, flags, 9, 0, 40 << 20);
        let chunk = client.chunk();
        assert!(chunk.done && chunk.kind == 5 && chunk.cookie == 9);
        assert_eq!(chunk.payload.len() == 12, one, "{:?}", chunk.payload);
    }
}
