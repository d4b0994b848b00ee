//! Limits: length, waits, rate, attempts, space.

use std::time::{Duration, Instant};

use kiln_transfer::{Error, FetchOptions};

use crate::server::{Server, Step, head, whole};
use crate::{Destination, fetch, fetch_with, options, patient, policy};

#[tokio::test]
async fn an_announced_length_over_the_limit_is_refused_at_once() {
    let server = Server::start(|_| vec![head(&["200 OK", "Content-Length: 9000000000000000000"])]).await;
    let destination = Destination::new();
    let found = fetch(patient(), &server.url("/"), &destination.path()).await;
    let Err(Error::TooLarge { size_bytes, .. }) = found else { panic!("{found:?}") };
    assert_eq!((size_bytes, server.requests().len()), (Some(9_000_000_000_000_000_000), 1));
    assert_eq!(destination.content(), b"");
}

#[tokio::test]
async fn an_endless_body_ends_at_the_limit() {
    let server = Server::start(|_| {
        let chunk = [b"10000\r\n".as_slice(), &[7; 0x10000], b"\r\n"].concat();
        vec![head(&["200 OK", "Transfer-Encoding: chunked"]), Step::Forever(chunk, Duration::ZERO)]
    })
    .await;
    let destination = Destination::new();
    let small = FetchOptions { max_bytes: 5_000_000, ..options() };
    let found = fetch_with(policy(), &server.url("/"), &destination.path(), &small).await;
    assert!(matches!(found, Err(Error::TooLarge { size_bytes: None, .. })), "{found:?}");
    assert!(destination.content().len() <= 5_000_000);
}

#[tokio::test]
async fn a_body_longer_than_announced_is_cut_at_its_length() {
    let server =
        Server::start(|_| vec![head(&["200 OK", "Content-Length: 5"]), Step::Send(b"hello world".to_vec())])
            .await;
    let destination = Destination::new();
    assert_eq!(fetch(policy(), &server.url("/"), &destination.path()).await.unwrap().size_bytes, 5);
    assert_eq!(destination.content(), b"hello");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Server::start(|request| match request.path.as_str() {
        "/head" => vec![Step::Pause(Duration::from_secs(60))],
        _ => vec![
            head(&["200 OK", "Content-Length: 5"]),
            Step::Send(b"he".to_vec()),
            Step::Pause(Duration::from_secs(60)),
        ],
    })
    .await;
    let destination = Destination::new();
    let mut impatient = policy();
    impatient.timeouts.connect = Duration::from_millis(300);
    for path in ["/head", "/body"] {
        let started = Instant::now();
        let found = fetch(impatient.clone(), &server.url(path), &destination.path()).await;
        assert!(matches!(&found, Err(error @ Error::TimedOut { .. }) if error.is_retryable()), "{found:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_drip_is_too_slow() {
    let server = Server::start(|_| {
        let drip = Step::Forever(b"x".to_vec(), Duration::from_millis(20));
        vec![head(&["200 OK", "Content-Length: 1000000"]), drip]
    })
    .await;
    let destination = Destination::new();
    let mut strict = policy();
    strict.timeouts.min_bytes_per_second = 1000;
    strict.timeouts.rate_window = Duration::from_millis(300);
    let found = fetch(strict, &server.url("/"), &destination.path()).await;
    let Err(Error::TooSlow { bytes_per_second, .. }) = found else { panic!("{found:?}") };
    assert!(bytes_per_second < 1000);
    // What dripped in is kept all the same.
    assert!(!destination.content().is_empty());
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let server = Server::start(|_| {
        let line = Step::Forever(format!("X-Fill: {}\r\n", "a".repeat(4000)).into_bytes(), Duration::ZERO);
        vec![Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()), line]
    })
    .await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(found, Err(Error::NoAnswer { .. })), "{found:?}");
}

#[tokio::test]
async fn attempts_are_bounded_and_final_errors_are_not_repeated() {
    let server = Server::start(|request| match request.path.as_str() {
        "/busy" => vec![head(&["503 Service Unavailable", "Content-Length: 0"])],
        _ => vec![head(&["403 Forbidden", "Content-Length: 0"])],
    })
    .await;
    let destination = Destination::new();
    let found = fetch(patient(), &server.url("/busy"), &destination.path()).await;
    assert!(matches!(found, Err(Error::Status { status: 503 })), "{found:?}");
    assert_eq!(server.requests().len(), 4);
    let found = fetch(patient(), &server.url("/denied"), &destination.path()).await;
    assert!(matches!(found, Err(Error::Status { status: 403 })), "{found:?}");
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn what_passes_is_got_over() {
    let server = Server::start(|request| match request.number {
        0 => vec![head(&["503 Service Unavailable", "Content-Length: 0"])],
        1 => Vec::new(),
        2 => vec![Step::Send(b"garbage\r\n\r\n".to_vec())],
        _ => whole(b"hello", "\"1\""),
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert_eq!(destination.content(), b"hello");
}
