//! Every way to say an address that is not allowed, by every way into the crate; and bodies that are not what they say.

use std::time::{Duration, Instant};

use kiln_transfer::{Error, FetchOptions, Fetcher, Policy, Progress};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Step, head};
use crate::{Destination, policy, source};

/// Spellings of this machine, of its network and of the cloud's metadata.
const DISGUISES: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.01",
    "0",
    "0.0.0.0",
    "%31%32%37.0.0.1",
    "１２７.０.０.１",
    "127。0。0。1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "localhost",
    "LocalHost",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fd00::1]",
    "[fe80::1]",
    "10.0.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:a9fe:a9fe]",
];

/// The ways into the crate.
#[derive(Debug, Clone, Copy)]
enum Way {
    Probe,
    ReadPart,
    Fetch,
}

impl Way {
    const ALL: [Self; 3] = [Self::Probe, Self::ReadPart, Self::Fetch];

    async fn go(self, fetcher: &Fetcher, url: &str, destination: &Destination) -> Result<(), Error> {
        let url = source(url);
        match self {
            Self::Probe => fetcher.probe(&url).await.map(drop),
            Self::ReadPart => fetcher.read_part(&url, 10, 20, None).await.map(drop),
            Self::Fetch => {
                let options = FetchOptions { max_bytes: 1 << 20, expected_sha256: None };
                let ignore = |_: Progress| {};
                let cancel = CancellationToken::new();
                fetcher.fetch(&url, &destination.path(), &options, &ignore, &cancel).await.map(drop)
            }
        }
    }
}

fn assert_refused(found: &Result<(), Error>, what: &str) {
    let Err(error @ Error::AddressRefused { .. }) = found else { panic!("{what}: {found:?}") };
    assert!(!error.is_retryable() && error.to_string().contains("allow_private"), "{what}: {error}");
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_connected_to() {
    let server = Server::start(|_| vec![head(&["200 OK", "Content-Length: 0"])]).await;
    let destination = Destination::new();
    let fetcher = Fetcher::new(Policy { allow_private: Vec::new(), ..policy() }).unwrap();
    for host in DISGUISES {
        let url = format!("http://{host}:{}/", server.port());
        for way in Way::ALL {
            let found = way.go(&fetcher, &url, &destination).await;
            // Not every system knows this name.
            if *host == "localhost." && matches!(found, Err(Error::NameLookup { .. })) {
                continue;
            }
            assert_refused(&found, &format!("{way:?} {url}"));
        }
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[tokio::test]
async fn no_redirect_leads_to_one() {
    // The first server may be asked, and is the only one that may.
    for (number, host) in DISGUISES.iter().enumerate().filter(|(_, host)| !is_first_server(host)) {
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
            let location = match number % 2 {
                0 => format!("Location: http://{host}/"),
                _ => format!("location: //{host}/"),
            };
            let server = Server::start(move |_| vec![head(&[status, &location, "Content-Length: 0"])]).await;
            let fetcher = Fetcher::new(policy()).unwrap();
            let destination = Destination::new();
            let way = Way::ALL[number % Way::ALL.len()];
            let found = way.go(&fetcher, &server.url("/"), &destination).await;
            assert_refused(&found, &format!("{way:?} {status} {host}"));
            assert_eq!(server.requests().len(), 1, "{host}");
        }
    }
}

/// Whether a spelling is of 127.0.0.1, which these tests allow.
fn is_first_server(host: &str) -> bool {
    let url = source(&format!("http://{host}/"));
    let text = url.as_str();
    ["http://127.0.0.1/", "http://localhost/", "http://localhost./", "http://[::ffff:7f00:1]/"]
        .contains(&text)
}

#[tokio::test]
async fn a_redirect_is_followed_where_it_really_leads() {
    // What comes after the user's name, the fragment or the backslash is where other readers of URLs would go.
    let server = Server::start(|request| {
        let to = match request.path.as_str() {
            "/user" => "http://127.0.0.1@127.0.0.2/",
            "/userless" => "http://@127.0.0.2/",
            "/fragment" => "http://127.0.0.2/#@127.0.0.1/",
            "/backslash" => "http:\\\\127.0.0.2\\@127.0.0.1/",
            "/tab" => "http://127.0.0.\t2/",
            "/scheme" => "HTTP:127.0.0.2",
            "/query" => "http://127.0.0.2?@127.0.0.1/",
            path => panic!("{path}"),
        };
        vec![head(&["302 Found", &format!("Location: {to}"), "Content-Length: 0"])]
    })
    .await;
    let fetcher = Fetcher::new(policy()).unwrap();
    let destination = Destination::new();
    for path in ["/user", "/userless", "/fragment", "/backslash", "/tab", "/scheme", "/query"] {
        for way in Way::ALL {
            let before = server.requests().len();
            let found = way.go(&fetcher, &server.url(path), &destination).await;
            let refused = matches!(found, Err(Error::AddressRefused { .. } | Error::RedirectRefused { .. }));
            // A scheme without slashes is relative where the schemes are the same.
            let relative = path == "/scheme" && server.requests().len() > before + 1;
            assert!(refused || relative, "{way:?} {path}: {found:?}");
        }
    }
}

/// The head of the part that `ReadPart` asks for.
const PART: [&str; 2] = ["206 Partial Content", "Content-Range: bytes 10-29/100"];

/// Bodies that lie about themselves. Each way ends with an error, soon, and having kept no more than it may.
#[tokio::test]
async fn bodies_that_are_not_what_they_say() {
    let destination = Destination::new();
    let fetcher = Fetcher::new(policy()).unwrap();
    let lies: [(&str, &[&str], Body); 12] = [
        ("two lengths", &["200 OK", "Content-Length: 5", "Content-Length: 7"], Body::Bytes(7)),
        ("a length that is none", &["200 OK", "Content-Length: many"], Body::Bytes(7)),
        ("a negative length", &["200 OK", "Content-Length: -1"], Body::Bytes(7)),
        ("more than there is", &["200 OK", "Content-Length: 1000"], Body::Bytes(7)),
        ("more than there can be", &["200 OK", "Content-Length: 18446744073709551616"], Body::Endless),
        ("an end that never comes", &["200 OK", "Transfer-Encoding: chunked"], Body::EndlessChunks),
        ("no length, no end", &["200 OK"], Body::Endless),
        ("another range", &["206 Partial Content", "Content-Range: bytes 5-24/100"], Body::Bytes(20)),
        ("a silent end", &["200 OK", "Content-Length: 1000"], Body::Silence(30)),
        ("a part that never ends", &[PART[0], PART[1], "Transfer-Encoding: chunked"], Body::EndlessChunks),
        ("a longer part", &[PART[0], PART[1], "Content-Length: 1000"], Body::Endless),
        ("a silent part", &[PART[0], PART[1], "Content-Length: 20"], Body::Silence(5)),
    ];
    for (what, lines, body) in lies {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let server = Server::start(move |_| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            std::iter::once(head(&lines)).chain(body.steps()).collect()
        })
        .await;
        // A probe reads no body.
        for way in [Way::ReadPart, Way::Fetch] {
            let started = Instant::now();
            let found = way.go(&fetcher, &server.url("/"), &destination).await;
            assert!(found.is_err(), "{way:?} {what}: {found:?}");
            assert!(started.elapsed() < Duration::from_secs(5), "{way:?} {what}");
            let kept = std::fs::metadata(destination.path()).map_or(0, |file| file.len());
            assert!(kept <= 1 << 20, "{way:?} {what}: {kept} bytes");
        }
    }
}

#[derive(Clone, Copy)]
enum Body {
    Bytes(usize),
    Endless,
    EndlessChunks,
    Silence(usize),
}

impl Body {
    fn steps(self) -> Vec<Step> {
        match self {
            Self::Bytes(count) => vec![Step::Send(vec![7; count])],
            Self::Endless => vec![Step::Forever(vec![7; 0x10000], Duration::ZERO)],
            Self::EndlessChunks => {
                let chunk = [b"10000\r\n".as_slice(), &[7; 0x10000], b"\r\n"].concat();
                vec![Step::Forever(chunk, Duration::ZERO)]
            }
            Self::Silence(count) => vec![Step::Send(vec![7; count]), Step::Pause(Duration::from_secs(60))],
        }
    }
}
