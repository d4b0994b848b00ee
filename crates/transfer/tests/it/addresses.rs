//! Nothing leads to an address that is not allowed: not the URL, not a redirect, not a name server.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_transfer::{Error, Fetcher, Lookup, Policy};

use crate::server::{Server, Step, head, whole};
use crate::{Destination, fetch, policy, source};

fn redirect(to: &str) -> Vec<Step> {
    vec![head(&["302 Found", &format!("Location: {to}"), "Content-Length: 0"])]
}

/// A lookup that gives its answers one after the other, and then the last one for ever.
fn answers(given: Vec<Vec<&str>>) -> Lookup {
    let given: Vec<Vec<IpAddr>> = given
        .into_iter()
        .map(|answer| answer.into_iter().map(|text| text.parse().unwrap()).collect())
        .collect();
    let asked = AtomicUsize::new(0);
    Arc::new(move |_| {
        let at = asked.fetch_add(1, Ordering::Relaxed).min(given.len() - 1);
        let answer = given[at].clone();
        Box::pin(async move { Ok(answer) })
    })
}

#[tokio::test]
async fn loopback_is_refused_unless_allowed() {
    let server = Server::start(|_| whole(b"hello", "\"1\"")).await;
    let destination = Destination::new();
    let closed = Policy { allow_private: Vec::new(), ..policy() };
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]", "127.0.0.1."] {
        let url = format!("http://{host}:{}/", server.port());
        let found = fetch(closed.clone(), &url, &destination.path()).await;
        assert!(
            matches!(&found, Err(error @ Error::AddressRefused { .. }) if !error.is_retryable()),
            "{host}: {found:?}"
        );
    }
    assert!(server.requests().is_empty());
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
}

#[tokio::test]
async fn redirects_are_followed_to_allowed_addresses_only() {
    let server = Server::start(|request| match request.path.as_str() {
        "/metadata" => redirect("http://169.254.169.254/latest/meta-data/"),
        "/other" => redirect("http://127.0.0.2/"),
        "/file" => redirect("file:///etc/passwd"),
        "/password" => redirect("http://user:secret@127.0.0.1/"),
        "/loop" => redirect("/loop"),
        "/good" => redirect("disk?part=1"),
        "/nowhere" => vec![head(&["302 Found", "Content-Length: 0"])],
        _ => whole(b"hello", "\"1\""),
    })
    .await;
    let destination = Destination::new();
    let get = async |path: &str| fetch(policy(), &server.url(path), &destination.path()).await;
    for path in ["/metadata", "/other"] {
        let found = get(path).await;
        assert!(matches!(found, Err(Error::AddressRefused { .. })), "{path}: {found:?}");
    }
    for path in ["/file", "/password"] {
        let found = get(path).await;
        assert!(matches!(found, Err(Error::RedirectRefused { .. })), "{path}: {found:?}");
    }
    assert!(matches!(get("/nowhere").await, Err(Error::Status { status: 302 })));
    get("/good").await.unwrap();
    assert_eq!(server.requests().last().unwrap().path, "/disk?part=1");
    let before = server.requests().len();
    assert!(matches!(get("/loop").await, Err(Error::TooManyRedirects { limit: 5 })));
    assert_eq!(server.requests().len() - before, 6);
}

#[tokio::test]
async fn a_name_is_connected_to_at_the_address_that_was_checked() {
    let server = Server::start(|_| whole(b"hello", "\"1\"")).await;
    let url = source(&format!("http://images.example:{}/", server.port()));
    // Private addresses among the answer are left out; the allowed one is used.
    let fetcher =
        Fetcher::with_lookup(policy(), answers(vec![vec!["10.0.0.1", "::1", "127.0.0.1"]])).unwrap();
    fetcher.probe(&url).await.unwrap();
    // A name server that gives a harmless answer first and a private one later is checked each time.
    let flipping =
        answers(vec![vec!["127.0.0.1"], vec!["127.0.0.2"], vec!["::ffff:10.0.0.1"], vec!["127.0.0.1"]]);
    let fetcher = Fetcher::with_lookup(policy(), flipping).unwrap();
    fetcher.probe(&url).await.unwrap();
    for refused in ["127.0.0.2", "::ffff:10.0.0.1"] {
        let found = fetcher.probe(&url).await;
        let Err(Error::AddressRefused { address, .. }) = found else { panic!("{found:?}") };
        assert_eq!(address, refused.parse::<IpAddr>().unwrap());
    }
    fetcher.probe(&url).await.unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn each_redirect_is_looked_up_and_checked_anew() {
    let server = Server::start(|_| redirect("/again")).await;
    let url = source(&format!("http://images.example:{}/", server.port()));
    let fetcher =
        Fetcher::with_lookup(policy(), answers(vec![vec!["127.0.0.1"], vec!["192.168.0.1"]])).unwrap();
    let found = fetcher.probe(&url).await;
    assert!(matches!(found, Err(Error::AddressRefused { .. })), "{found:?}");
    assert_eq!(server.requests().len(), 1);
}
