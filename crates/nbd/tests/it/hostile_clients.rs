//! Clients that break the protocol, or mean harm: each gets an error or is cut off, and nobody else notices.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_block::MemoryDevice;
use kiln_nbd::{Limits, MAX_REQUEST_BYTES};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::fixture::{Fixture, Gate, GatedDevice, Serving, serving, single};
use crate::raw_client::{ACK, BLOCK_STATUS, DISC, ERROR, GO, READ, RawClient, WRITE, go_payload, request};

const EPERM: u32 = 1;
const EINVAL: u32 = 22;

fn small_disk() -> (Fixture, Serving) {
    serving(MemoryDevice::from_bytes(&[9; 64 << 10]))
}

fn assert_served(fixture: &Fixture) {
    let mut client = RawClient::start(&fixture.socket(), false);
    client.request(READ, 0, 77, 512, 512);
    assert_eq!(client.simple_reply(), (0, 77));
    assert_eq!(client.take::<512>(), [9; 512]);
}

#[test]
fn garbage_is_cut_off() {
    let (fixture, _serving) = small_disk();
    let mut client = RawClient::connect_only(&fixture.socket());
    client.send(&[0xff; 4]);
    client.rest();
    let mut client = RawClient::connect(&fixture.socket());
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    client.rest();
    let mut client = RawClient::start(&fixture.socket(), true);
    client.send(&[0; 28]);
    assert!(client.rest().is_empty());
    assert_served(&fixture);
}

#[test]
fn options_that_make_no_sense_are_answered() {
    let (fixture, _serving) = small_disk();
    let mut client = RawClient::connect(&fixture.socket());
    let mut expect = |code: u32, payload: &[u8], kind: u32| {
        let replies = client.ask(code, payload);
        assert_eq!(replies.last().map(|reply| reply.0), Some(kind), "option {code} {payload:?}");
    };
    expect(5, &[], ERROR + 1);
    expect(99, &[1, 2, 3], ERROR + 1);
    expect(3, &[0], ERROR + 3);
    expect(GO, &[0xff; 7], ERROR + 3);
    expect(GO, &go_payload("other"), ERROR + 6);
    expect(GO, &go_payload(&"n".repeat(5000)), ERROR + 9);
    expect(GO, &[&[0, 0, 0, 1, 0xff][..], &[0, 0]].concat(), ERROR + 3);
    let many_queries = [&go_payload("disk")[..8], &[0xff; 4]].concat();
    expect(10, &[&go_payload("disk")[..8], &[0; 4]].concat(), ERROR + 3);
    expect(8, &[], ACK);
    expect(10, &many_queries, ERROR + 3);
    expect(GO, &go_payload(""), ACK);
}

#[test]
fn an_oversize_option_ends_the_connection() {
    let (fixture, _serving) = small_disk();
    let mut client = RawClient::connect(&fixture.socket());
    client.send(&[b"IHAVEOPT".as_slice(), &GO.to_be_bytes(), &u32::MAX.to_be_bytes()].concat());
    let said = client.rest();
    assert_eq!(said[12..16], (ERROR + 9).to_be_bytes());
    assert_served(&fixture);
}

#[test]
fn guessing_names_ends_the_connection() {
    let (fixture, _serving) = small_disk();
    let mut client = RawClient::connect(&fixture.socket());
    for n in 0..16 {
        assert_eq!(client.ask(GO, &go_payload(&format!("guess-{n}")))[0].0, ERROR + 6);
    }
    client.send_option(GO, &go_payload("guess-16"));
    assert!(client.rest().is_empty());
}

#[test]
fn requests_that_cannot_be_met_are_refused_and_the_stream_stays_in_step() {
    let (fixture, _serving) = small_disk();
    for structured in [false, true] {
        let mut client = RawClient::start(&fixture.socket(), structured);
        client.send(&[request(WRITE, 0, 1, 0, 70_000), vec![0x25; 70_000]].concat());
        client.request(4, 0, 1, 0, 512);
        client.request(6, 0, 1, u64::MAX, u32::MAX);
        for _ in 0..3 {
            assert_eq!(client.simple_reply(), (EPERM, 1));
        }
        client.request(42, 0, 2, 0, 0);
        client.request(3, 1 << 9, 2, 0, 0);
        client.request(5, 0, 2, 1 << 40, 1);
        for _ in 0..3 {
            assert_eq!(client.simple_reply(), (EINVAL, 2));
        }
        for (offset, len) in [(65_536, 1), (u64::MAX, 2), (0, MAX_REQUEST_BYTES + 1), (0, u32::MAX), (0, 0)] {
            client.request(READ, 0, 3, offset, len);
            if structured {
                let chunk = client.chunk();
                assert!(chunk.done && chunk.kind == 0x8001 && chunk.cookie == 3);
                assert_eq!(chunk.payload[..4], EINVAL.to_be_bytes());
            } else {
                assert_eq!(client.simple_reply(), (EINVAL, 3));
            }
        }
        client.request(3, 0, 4, 0, 0);
        client.request(5, 0, 4, 0, 65_536);
        assert_eq!(client.simple_reply(), (0, 4));
        assert_eq!(client.simple_reply(), (0, 4));
    }
}

#[test]
fn block_status_without_negotiation_is_refused() {
    let (fixture, _serving) = small_disk();
    let mut client = RawClient::start(&fixture.socket(), false);
    client.request(BLOCK_STATUS, 0, 1, 0, 512);
    assert_eq!(client.simple_reply(), (EINVAL, 1));
}

#[test]
fn half_sent_requests_end_with_their_connection() {
    let (fixture, _serving) = small_disk();
    for cut in [1, 27] {
        let mut client = RawClient::start(&fixture.socket(), true);
        client.send(&request(READ, 0, 1, 0, 512)[..cut]);
        client.stream.shutdown(std::net::Shutdown::Write).expect("still connected");
        assert!(client.rest().is_empty());
    }
    let mut client = RawClient::start(&fixture.socket(), true);
    client.send(&request(WRITE, 0, 1, 0, 1 << 20));
    client.send(&[0; 1000]);
    client.stream.shutdown(std::net::Shutdown::Write).expect("still connected");
    assert!(client.rest().is_empty());
    let mut client = RawClient::start(&fixture.socket(), true);
    client.send(&request(WRITE, 0, 1, 0, u32::MAX));
    assert!(client.rest().is_empty());
    let mut client = RawClient::start(&fixture.socket(), true);
    client.request(DISC, 0, 0, 0, 0);
    assert!(client.rest().is_empty());
    assert_served(&fixture);
}

#[test]
fn a_handshake_has_its_time() {
    let fixture = Fixture::new(Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() });
    let _serving = fixture.serve_unix(single(MemoryDevice::from_bytes(&[9; 64 << 10])));
    let began = Instant::now();
    let mut client = RawClient::connect(&fixture.socket());
    client.send(b"IHAVE");
    client.rest();
    assert!(began.elapsed() < Duration::from_secs(5));
    let mut attached = RawClient::start(&fixture.socket(), false);
    std::thread::sleep(Duration::from_millis(400));
    attached.request(READ, 0, 1, 0, 1);
    assert_eq!(attached.simple_reply(), (0, 1), "the time ends with the handshake");
}

#[test]
fn more_clients_than_places_are_turned_away() {
    let fixture = Fixture::new(Limits { max_connections: 2, ..Limits::default() });
    let _serving = fixture.serve_unix(single(MemoryDevice::from_bytes(&[9; 64 << 10])));
    let first = RawClient::start(&fixture.socket(), false);
    let _second = RawClient::start(&fixture.socket(), false);
    assert!(RawClient::connect_only(&fixture.socket()).rest().is_empty());
    first.stream.shutdown(std::net::Shutdown::Both).expect("still connected");
    drop(first);
    let began = Instant::now();
    loop {
        let mut client = RawClient::connect_only(&fixture.socket());
        let mut greeting = [0; 18];
        if std::io::Read::read_exact(&mut client.stream, &mut greeting).is_ok() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "a place that was left is free again");
    }
}

/// Sends reads of `len` bytes past the first sector until the server takes no more; how many it took.
fn flood(client: &mut RawClient, len: u32, count: u64) -> u64 {
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    for n in 0..count {
        match client.stream.write_all(&request(READ, 0, n, 4096, len)) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    count
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    // What is read and not yet written is in memory; beyond it only the sockets' buffers fill.
    const SOCKETS: u64 = 5 << 20;
    for (structured, len) in
        [(false, 1 << 20), (true, 1 << 20), (true, 32 << 20), (false, 32 << 20), (true, 512)]
    {
        let gate = Arc::new(Gate::default());
        let limits = Limits { max_requests_in_flight: 64, ..Limits::default() };
        let bound = limits.max_connection_bytes as u64 + SOCKETS;
        let fixture = Fixture::new(limits);
        let _serving =
            fixture.serve_unix(single(GatedDevice { gate: Arc::clone(&gate), size_bytes: 64 << 20 }));
        let mut client = RawClient::start(&fixture.socket(), structured);
        flood(&mut client, len, 100_000);
        let read = gate.settled_bytes_read();
        assert!(
            read <= bound,
            "{read} bytes were read for nobody, structured: {structured}, {len} bytes each"
        );
        // Others are served meanwhile.
        let mut other = RawClient::start(&fixture.socket(), false);
        other.request(READ, 0, 1, 4096, 512);
        assert_eq!(other.simple_reply(), (0, 1));
    }
}

#[test]
fn greedy_clients_leave_the_others_their_share() {
    let gate = Arc::new(Gate::default());
    let limits = Limits { max_server_bytes: 64 << 20, ..Limits::default() };
    let fixture = Fixture::new(limits);
    let _serving = fixture.serve_unix(single(GatedDevice { gate: Arc::clone(&gate), size_bytes: 64 << 20 }));
    let mut greedy: Vec<_> = (0..4).map(|_| RawClient::start(&fixture.socket(), true)).collect();
    for client in &mut greedy {
        flood(client, 32 << 20, 8);
    }
    gate.settled_bytes_read();
    let mut modest = RawClient::start(&fixture.socket(), true);
    for n in 0..50 {
        modest.request(READ, 0, n, 4096 * n + 4096, 256 << 10);
        let chunk = modest.chunk();
        assert!(chunk.done && chunk.cookie == n);
    }
    modest.request(READ, 0, 99, 4096, 8 << 20);
    while !modest.chunk().done {}
}

#[test]
fn a_client_that_never_reads_is_given_up() {
    let gate = Arc::new(Gate::default());
    let limits = Limits { reply_stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let fixture = Fixture::new(limits);
    let _serving = fixture.serve_unix(single(GatedDevice { gate, size_bytes: 64 << 20 }));
    let mut client = RawClient::start(&fixture.socket(), true);
    for n in 0..8 {
        client.request(READ, 0, n, 4096, 32 << 20);
    }
    std::thread::sleep(Duration::from_secs(1));
    let said = client.rest();
    assert!(said.len() < 32 << 20, "cut off in the middle");
}

#[test]
fn random_streams_do_no_harm() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (fixture, _serving) = small_disk();
    for round in 0..150 {
        let mut client = if round % 2 == 0 {
            RawClient::connect(&fixture.socket())
        } else {
            RawClient::start(&fixture.socket(), round % 4 == 1)
        };
        let mut noise = vec![0; random.random_range(1..2000)];
        random.fill_bytes(&mut noise);
        for at in (0..noise.len().saturating_sub(40)).step_by(random.random_range(28..60)) {
            if round % 2 == 0 {
                noise[at..at + 8].copy_from_slice(b"IHAVEOPT");
                let (code, len) = (random.random_range(0..12u32), random.random_range(0..40u32));
                noise[at + 8..at + 16].copy_from_slice(&[code.to_be_bytes(), len.to_be_bytes()].concat());
            } else {
                let (command, len) = (random.random_range(0..9), random.random_range(0..70_000));
                let request =
                    request(command, random.random_range(0..10), 0, random.random_range(0..70_000), len);
                noise[at..at + 28].copy_from_slice(&request);
            }
        }
        // The server may hang up in the middle.
        let _ = client.stream.write_all(&noise);
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        client.rest();
    }
    assert_served(&fixture);
}
