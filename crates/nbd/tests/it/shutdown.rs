//! What happens to clients when a listener is asked to stop.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_nbd::Limits;

use crate::fixture::{Fixture, Gate, GatedDevice, single};
use crate::raw_client::{READ, RawClient};

fn gated(limits: Limits) -> (Fixture, crate::fixture::Serving, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let fixture = Fixture::new(limits);
    let serving = fixture.serve_unix(single(GatedDevice { gate: Arc::clone(&gate), size_bytes: 1 << 20 }));
    (fixture, serving, gate)
}

#[test]
fn requests_in_flight_are_answered_first() {
    let (fixture, serving, gate) = gated(Limits::default());
    let mut busy = RawClient::start(&fixture.socket(), false);
    let idle = RawClient::start(&fixture.socket(), false);
    let negotiating = RawClient::connect(&fixture.socket());
    busy.request(READ, 0, 5, 0, 512);
    let opener = std::thread::spawn({
        let gate = Arc::clone(&gate);
        move || {
            std::thread::sleep(Duration::from_millis(300));
            gate.open();
        }
    });
    // Give the request time to be taken: what still lies in the socket need not be answered.
    std::thread::sleep(Duration::from_millis(100));
    fixture.stop(serving);
    opener.join().expect("it did not panic");
    assert_eq!(busy.simple_reply(), (0, 5));
    busy.take::<512>();
    for client in [busy, idle, negotiating] {
        assert!(client.rest().is_empty());
    }
    assert!(UnixStream::connect(fixture.socket()).is_err(), "nobody listens any more");
    assert!(!fixture.socket().exists());
}

#[test]
fn a_stuck_device_does_not_keep_the_server() {
    let (fixture, serving, gate) =
        gated(Limits { shutdown_timeout: Duration::from_millis(200), ..Limits::default() });
    let mut client = RawClient::start(&fixture.socket(), false);
    client.request(READ, 0, 5, 0, 512);
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    fixture.stop(serving);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(client.rest().is_empty());
    gate.open();
}
