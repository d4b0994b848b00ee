//! Going on after a break: from the right byte, of the right version, or from the start.

use std::sync::Mutex;
use std::time::Duration;

use kiln_transfer::{Error, FetchOptions, Fetcher, Progress};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Step, cut, head, partial, ranged, whole};
use crate::{Destination, fetch, fetch_with, options, patient, pattern, policy, source};

const LEN: usize = 3_000_000;
const KEPT: usize = 1_234_567;

/// A server whose first answer breaks off after [`KEPT`] bytes; the later ones are the test's.
async fn broken_once(
    body: Vec<u8>,
    later: impl Fn(&crate::server::Request) -> Vec<Step> + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| match request.number {
        0 => cut(whole(&body, "\"1\""), KEPT),
        _ => later(request),
    })
    .await
}

#[tokio::test]
async fn a_broken_fetch_goes_on_where_it_stopped() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = broken_once(body.clone(), move |request| ranged(&served, "\"1\"", request)).await;
    let destination = Destination::new();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    let Err(Error::Truncated { received_bytes, total_bytes }) = found else { panic!("{found:?}") };
    assert_eq!((received_bytes, total_bytes), (KEPT as u64, Some(LEN as u64)));
    assert_eq!(destination.content().len(), KEPT);
    let right = FetchOptions { expected_sha256: Some(Sha256::digest(&body).into()), ..options() };
    fetch_with(policy(), &server.url("/"), &destination.path(), &right).await.unwrap();
    assert!(destination.content() == body);
    let request = &server.requests()[1];
    assert_eq!(request.range_start(), Some(KEPT));
    assert_eq!(request.header("if-range"), Some("\"1\""));
}

#[tokio::test]
async fn many_breaks_within_one_fetch() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = Server::start(move |request| {
        let steps = ranged(&served, "\"1\"", request);
        if request.number < 3 { cut(steps, 500_000) } else { steps }
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    let starts: Vec<_> = server.requests().iter().map(|request| request.range_start()).collect();
    assert_eq!(starts, [None, Some(500_000), Some(1_000_000), Some(1_500_000)]);
}

#[tokio::test]
async fn a_changed_file_is_fetched_from_its_start() {
    let (old, new) = (pattern(LEN), vec![5; LEN - 7]);
    let served = new.clone();
    let server = broken_once(old, move |request| ranged(&served, "\"2\"", request)).await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == new);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_ignores_if_range_is_found_out() {
    let (old, new) = (pattern(LEN), vec![5; LEN]);
    let served = new.clone();
    let server = broken_once(old, move |request| match request.range_start() {
        Some(start) => partial(&served, "\"2\"", start),
        None => whole(&served, "\"2\""),
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == new);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_sends_all_again() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = broken_once(body.clone(), move |_| whole(&served, "\"1\"")).await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
}

#[tokio::test]
async fn without_a_validator_nothing_is_continued() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = Server::start(move |request| {
        let steps = whole(&served, "W/\"weak\"");
        if request.number == 0 { cut(steps, KEPT) } else { steps }
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    assert_eq!(server.requests()[1].header("range"), None);
}

#[tokio::test]
async fn a_modification_time_will_do() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = Server::start(move |request| {
        let start = request.range_start().unwrap_or(0);
        let length = format!("Content-Length: {}", LEN - start);
        let range = format!("Content-Range: bytes {start}-{}/{LEN}", LEN - 1);
        let dates = ["Last-Modified: Tue, 01 Apr 2025 10:00:00 GMT", "Date: Tue, 01 Apr 2025 10:00:09 GMT"];
        let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
        let body = Step::Send(served[start..].to_vec());
        let steps = vec![head(&[status, &length, &range, dates[0], dates[1]]), body];
        if request.number == 0 { cut(steps, KEPT) } else { steps }
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    assert_eq!(server.requests()[1].header("if-range"), Some("Tue, 01 Apr 2025 10:00:00 GMT"));
}

/// What a server answers when it holds this body.
type Answer = fn(&[u8]) -> Vec<Step>;

#[tokio::test]
async fn wrong_ranges_and_refused_ones_lead_back_to_the_start() {
    let answers: [Answer; 3] = [
        |body| partial(body, "\"1\"", KEPT - 1),
        |_| vec![head(&["416 Range Not Satisfiable", "Content-Length: 0"])],
        |body| partial(&body[..LEN - 1], "\"1\"", KEPT),
    ];
    for answer in answers {
        let body = pattern(LEN);
        let served = body.clone();
        let server = broken_once(body.clone(), move |request| match request.range_start() {
            Some(_) => answer(&served),
            None => whole(&served, "\"1\""),
        })
        .await;
        let destination = Destination::new();
        fetch(policy(), &server.url("/"), &destination.path()).await.unwrap_err();
        let found = fetch(policy(), &server.url("/"), &destination.path()).await;
        assert!(matches!(&found, Err(error @ Error::WrongRange { .. }) if error.is_retryable()), "{found:?}");
        fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
        assert!(destination.content() == body);
    }
}

#[tokio::test]
async fn a_partial_answer_without_its_range_is_refused() {
    let body = pattern(LEN);
    let server = broken_once(body, |_| {
        vec![head(&["206 Partial Content", "Content-Length: 5"]), Step::Send(b"hello".to_vec())]
    })
    .await;
    let destination = Destination::new();
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap_err();
    let found = fetch(policy(), &server.url("/"), &destination.path()).await;
    assert!(matches!(found, Err(Error::BadAnswer { .. })), "{found:?}");
}

#[tokio::test]
async fn a_short_range_is_taken_and_the_rest_asked_for() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = broken_once(body.clone(), move |request| {
        let start = request.range_start().unwrap();
        let end = LEN.min(start + 1_000_000);
        let length = format!("Content-Length: {}", end - start);
        let range = format!("Content-Range: bytes {start}-{}/{LEN}", end - 1);
        let body = Step::Send(served[start..end].to_vec());
        vec![head(&["206 Partial Content", &length, &range, "ETag: \"1\""]), body]
    })
    .await;
    let destination = Destination::new();
    fetch(patient(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
}

#[tokio::test]
async fn after_a_power_loss_only_what_was_synced_is_kept() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = broken_once(body.clone(), move |request| ranged(&served, "\"1\"", request)).await;
    let destination = Destination::new();
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap_err();
    // As if the machine had lost power after a sync at 700,000: another boot, and later bytes are garbage.
    let sidecar = destination.dir.path().join("disk.resume");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&sidecar).unwrap()).unwrap();
    state["boot_id"] = "another".into();
    state["synced_bytes"] = 700_000.into();
    std::fs::write(&sidecar, state.to_string()).unwrap();
    let mut content = destination.content();
    content[700_000..].fill(0);
    std::fs::write(destination.path(), content).unwrap();
    fetch(policy(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    assert_eq!(server.requests()[1].range_start(), Some(700_000));
}

#[tokio::test]
async fn cancelling_keeps_what_came() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = Server::start(move |request| {
        let mut steps = ranged(&served, "\"1\"", request);
        if request.number == 0 {
            steps = cut(steps, 2_000_000);
            steps.push(Step::Pause(Duration::from_secs(60)));
        }
        steps
    })
    .await;
    let destination = Destination::new();
    let mut policy = policy();
    policy.timeouts.idle = Duration::from_secs(60);
    let fetcher = Fetcher::new(policy).unwrap();
    let cancel = CancellationToken::new();
    let seen = Mutex::new(0);
    let note = |progress: Progress| {
        *seen.lock().unwrap() = progress.received_bytes;
        cancel.cancel();
    };
    let found =
        fetcher.fetch(&source(&server.url("/")), &destination.path(), &options(), &note, &cancel).await;
    assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    let kept = destination.content().len();
    assert!(kept >= 1 << 20 && kept as u64 == *seen.lock().unwrap(), "{kept}");
    fetch(crate::policy(), &server.url("/"), &destination.path()).await.unwrap();
    assert!(destination.content() == body);
    assert_eq!(server.requests()[1].range_start(), Some(kept));
}

#[tokio::test]
async fn a_dropped_fetch_is_continued() {
    let body = pattern(LEN);
    let served = body.clone();
    let server = Server::start(move |request| {
        let mut steps = ranged(&served, "\"1\"", request);
        if request.number == 0 {
            steps = cut(steps, 2_000_000);
            steps.push(Step::Pause(Duration::from_secs(60)));
        }
        steps
    })
    .await;
    let destination = Destination::new();
    let mut slow = policy();
    slow.timeouts.idle = Duration::from_secs(60);
    let (url, path) = (server.url("/"), destination.path());
    let dropped = tokio::time::timeout(Duration::from_millis(500), fetch(slow, &url, &path)).await;
    assert!(dropped.is_err());
    fetch(patient(), &url, &path).await.unwrap();
    assert!(destination.content() == body);
    assert!(server.requests()[1].range_start().is_some());
}

#[tokio::test]
async fn a_file_in_use_is_left_alone() {
    let body = pattern(LEN);
    let server = Server::start(move |_| {
        let mut steps = cut(whole(&body, "\"1\""), KEPT);
        steps.push(Step::Pause(Duration::from_millis(250)));
        steps
    })
    .await;
    let destination = Destination::new();
    let (url, path) = (server.url("/"), destination.path());
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fetch(policy(), &url, &path).await
    };
    let (first, second) = tokio::join!(fetch(policy(), &url, &path), later);
    assert!(matches!(first, Err(Error::Truncated { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
}
