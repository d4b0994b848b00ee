//! Parts of a file, read without fetching it.

use kiln_transfer::{Error, Fetcher, Validator};

use crate::server::{Request, Server, Step, head, whole};
use crate::{pattern, policy, source};

/// The bytes that a request's range names, as a proper server answers them.
fn part(body: &[u8], etag: &str, request: &Request) -> Vec<Step> {
    let range = request.header("range").unwrap().strip_prefix("bytes=").unwrap().to_owned();
    if request.header("if-range").is_some_and(|wanted| wanted != etag) {
        return whole(body, etag);
    }
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let part = &body[first..=last];
    let lines = [
        "206 Partial Content".to_owned(),
        format!("Content-Length: {}", part.len()),
        format!("Content-Range: bytes {first}-{last}/{}", body.len()),
        format!("ETag: {etag}"),
    ];
    vec![head(&lines.each_ref().map(String::as_str)), Step::Send(part.to_vec())]
}

#[tokio::test]
async fn a_part_is_the_bytes_that_were_asked_for() {
    let body = pattern(100_000);
    let served = body.clone();
    let server = Server::start(move |request| part(&served, "\"1\"", request)).await;
    let (fetcher, url) = (Fetcher::new(policy()).unwrap(), source(&server.url("/disk")));
    let probe = fetcher.probe(&url).await.unwrap();
    assert_eq!((probe.size_bytes, probe.ranges), (Some(100_000), true));
    for (offset, len) in [(0, 1), (7, 4096), (99_000, 1000)] {
        let found = fetcher.read_part(&url, offset, len, probe.validator.as_ref()).await.unwrap();
        assert_eq!(found, body[offset as usize..(offset + len) as usize]);
    }
}

#[tokio::test]
async fn a_changed_file_and_a_server_without_ranges_are_told() {
    let body = pattern(1000);
    let served = body.clone();
    let server = Server::start(move |request| part(&served, "\"2\"", request)).await;
    let fetcher = Fetcher::new(policy()).unwrap();
    let old = Validator::ETag("\"1\"".to_owned());
    let found = fetcher.read_part(&source(&server.url("/")), 10, 20, Some(&old)).await;
    assert!(matches!(found, Err(Error::WrongRange { .. })), "{found:?}");
    let plain = Server::start(move |_| whole(&body, "\"2\"")).await;
    let found = fetcher.read_part(&source(&plain.url("/")), 0, 20, None).await;
    assert!(!matches!(found, Ok(ref part) if part.len() != 20), "{found:?}");
    let found = fetcher.read_part(&source(&plain.url("/")), 10, 20, None).await;
    assert!(matches!(found, Err(Error::WrongRange { .. })), "{found:?}");
}

#[tokio::test]
async fn a_part_that_ends_early_or_late_is_refused() {
    for (sent, what) in [(5, "truncated"), (30, "too long")] {
        let server = Server::start(move |_| {
            let lines = ["206 Partial Content", "Content-Range: bytes 0-19/1000", "Connection: close"];
            vec![head(&lines), Step::Send(vec![7; sent])]
        })
        .await;
        let fetcher = Fetcher::new(policy()).unwrap();
        let found = fetcher.read_part(&source(&server.url("/")), 0, 20, None).await;
        assert!(matches!(found, Err(Error::Truncated { .. } | Error::BadAnswer { .. })), "{what}: {found:?}");
    }
}
