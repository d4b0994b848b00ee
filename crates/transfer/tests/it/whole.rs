//! Files that arrive whole.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;

use kiln_transfer::{Error, FetchOptions, Fetcher, Probe, Progress, Validator};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Step, head, ranged, whole};
use crate::{Destination, fetch, fetch_with, options, pattern, policy, source};

#[tokio::test]
async fn a_file_arrives_byte_for_byte() {
    let body = pattern(3_333_333);
    let served = body.clone();
    let server = Server::start(move |_| whole(&served, "\"1\"")).await;
    let destination = Destination::new();
    let fetched = fetch(policy(), &server.url("/disk"), &destination.path()).await.unwrap();
    assert_eq!(fetched.size_bytes, body.len() as u64);
    assert_eq!(fetched.validator, Some(Validator::ETag("\"1\"".to_owned())));
    assert!(destination.content() == body);
    let mode = std::fs::metadata(destination.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("range"), None);
}

#[tokio::test]
async fn an_empty_file_arrives() {
    let server = Server::start(|_| whole(b"", "\"1\"")).await;
    let destination = Destination::new();
    assert_eq!(fetch(policy(), &server.url("/"), &destination.path()).await.unwrap().size_bytes, 0);
    assert_eq!(destination.content(), b"");
}

#[tokio::test]
async fn chunks_tell_the_end_by_themselves() {
    let server = Server::start(|_| {
        let chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n".to_vec();
        vec![head(&["200 OK", "Transfer-Encoding: chunked"]), Step::Send(chunks)]
    })
    .await;
    let destination = Destination::new();
    assert_eq!(fetch(policy(), &server.url("/"), &destination.path()).await.unwrap().size_bytes, 11);
    assert_eq!(destination.content(), b"hello world");
}

#[tokio::test]
async fn a_body_without_length_needs_a_digest() {
    let server = Server::start(|_| vec![head(&["200 OK"]), Step::Send(b"hello".to_vec())]).await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(found, Err(Error::LengthUnknown)), "{found:?}");
    let known = FetchOptions { expected_sha256: Some(Sha256::digest(b"hello").into()), ..options() };
    let fetched = fetch_with(policy(), &server.url("/"), &destination.path(), &known).await.unwrap();
    assert_eq!(fetched.size_bytes, 5);
}

#[tokio::test]
async fn the_digest_decides() {
    let server = Server::start(|_| whole(b"hello", "\"1\"")).await;
    let destination = Destination::new();
    let wrong = FetchOptions { expected_sha256: Some([7; 32]), ..options() };
    for _ in 0..2 {
        let found = fetch_with(policy(), &server.url("/"), &destination.path(), &wrong).await;
        assert!(matches!(found, Err(Error::ChecksumMismatch { .. })), "{found:?}");
        assert_eq!(destination.content(), b"");
    }
    let right = FetchOptions { expected_sha256: Some(Sha256::digest(b"hello").into()), ..options() };
    fetch_with(policy(), &server.url("/"), &destination.path(), &right).await.unwrap();
    // The kept file is checked again, by whoever asks for another digest.
    let found = fetch_with(policy(), &server.url("/"), &destination.path(), &wrong).await;
    assert!(matches!(found, Err(Error::ChecksumMismatch { .. })), "{found:?}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn zeros_become_holes() {
    let mut body = vec![0; 16 << 20];
    body[5 << 20..(5 << 20) + 1000].fill(9);
    let served = body.clone();
    let server = Server::start(move |_| whole(&served, "\"1\"")).await;
    let destination = Destination::new();
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    let allocated = std::fs::metadata(destination.path()).unwrap().blocks() * 512;
    assert!(allocated <= 128 * 1024, "{allocated}");
}

#[tokio::test]
async fn a_complete_file_is_not_fetched_again_until_discarded() {
    let server = Server::start(|_| whole(b"hello", "\"1\"")).await;
    let destination = Destination::new();
    let first = fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
    let second = fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
    assert_eq!((first, server.requests().len()), (second, 1));
    let found = fetch_with(
        policy(),
        &server.url("/"),
        &destination.path(),
        &FetchOptions { max_bytes: 4, ..options() },
    )
    .await;
    assert!(matches!(found, Err(Error::TooLarge { .. })), "{found:?}");
    kiln_transfer::discard(&destination.path()).unwrap();
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
    assert_eq!(server.requests().len(), 2);
    // Another source's file is replaced.
    fetch(policy(), &server.url("/other"), &destination.path()).await.unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn progress_grows_to_the_whole() {
    let body = pattern(5 << 20);
    let total = body.len() as u64;
    let server = Server::start(move |_| whole(&body, "\"1\"")).await;
    let destination = Destination::new();
    let seen = Mutex::new(Vec::new());
    let note = |progress: Progress| seen.lock().unwrap().push(progress);
    let fetcher = Fetcher::new(policy()).unwrap();
    let cancel = CancellationToken::new();
    fetcher.fetch(&source(&server.url("/")), &destination.path(), &options(), &note, &cancel).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() >= 4 && seen.is_sorted_by_key(|progress| progress.received_bytes), "{seen:?}");
    assert_eq!(seen.last(), Some(&Progress { received_bytes: total, total_bytes: Some(total) }));
}

#[tokio::test]
async fn a_probe_learns_without_fetching() {
    let body = pattern(1000);
    let server = Server::start(move |request| match request.path.as_str() {
        "/ranged" => ranged(&body, "\"1\"", request),
        "/whole" => vec![head(&["200 OK", "Content-Length: 1000"]), Step::Send(body.clone())],
        "/empty" => vec![head(&["416 Range Not Satisfiable", "Content-Range: bytes */0"])],
        _ => vec![head(&["404 Not Found", "Content-Length: 0"])],
    })
    .await;
    let fetcher = Fetcher::new(policy()).unwrap();
    let probe = async |path: &str| fetcher.probe(&source(&server.url(path))).await;
    let validator = Some(Validator::ETag("\"1\"".to_owned()));
    assert_eq!(probe("/ranged").await.unwrap(), Probe { size_bytes: Some(1000), ranges: true, validator });
    let plain = |size| Probe { size_bytes: Some(size), ranges: false, validator: None };
    assert_eq!(probe("/whole").await.unwrap(), plain(1000));
    assert_eq!(probe("/empty").await.unwrap(), plain(0));
    assert!(matches!(probe("/none").await, Err(Error::Status { status: 404 })));
}
