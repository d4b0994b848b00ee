//! Failures told apart, each with a sentence that helps and none with a secret.

use std::net::IpAddr;
use std::sync::Arc;

use kiln_transfer::{Error, Fetcher, Lookup};
use tokio::net::TcpListener;

use crate::server::{Server, Step, head};
use crate::{Destination, fetch, policy, source};

fn lookup_failing() -> Lookup {
    Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }))
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/?sign=secret", listener.local_addr().unwrap().port());
    drop(listener);
    let destination = Destination::new();
    let error = fetch(policy(), &url, &destination.path()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("refused") && !error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    let empty: Lookup = Arc::new(|_| Box::pin(async { Ok(Vec::<IpAddr>::new()) }));
    for lookup in [lookup_failing(), empty] {
        let fetcher = Fetcher::with_lookup(policy(), lookup).unwrap();
        let error = fetcher.probe(&source("http://nowhere.example/?sign=secret")).await.unwrap_err();
        assert!(matches!(&error, Error::NameLookup { host, .. } if host == "nowhere.example"), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    let server = Server::start(|_| vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())]).await;
    let destination = Destination::new();
    let error = fetch(policy(), &server.url("/?sign=secret"), &destination.path()).await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn encoded_bodies_are_refused() {
    let server = Server::start(|_| {
        vec![head(&["200 OK", "Content-Length: 5", "Content-Encoding: gzip"]), Step::Send(b"hello".to_vec())]
    })
    .await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(&found, Err(Error::Encoded { encoding }) if encoding == "gzip"), "{found:?}");
}

#[tokio::test]
async fn a_broken_chunk_is_truncation() {
    let server = Server::start(|_| {
        vec![head(&["200 OK", "Transfer-Encoding: chunked"]), Step::Send(b"5\r\nhello\r\n".to_vec())]
    })
    .await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(found, Err(Error::Truncated { received_bytes: 5, total_bytes: None })), "{found:?}");
}

#[tokio::test]
async fn contradicting_lengths_are_no_answer() {
    let server = Server::start(|_| {
        vec![head(&["200 OK", "Content-Length: 5", "Content-Length: 6"]), Step::Send(b"hello".to_vec())]
    })
    .await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(found, Err(Error::NoAnswer { .. })), "{found:?}");
}

#[tokio::test]
async fn a_destination_that_cannot_be_opened_is_told() {
    let server = Server::start(|_| Vec::new()).await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path().join("missing/disk")).await;
    assert!(matches!(found, Err(Error::File { .. })), "{found:?}");
    assert!(server.requests().is_empty());
}
