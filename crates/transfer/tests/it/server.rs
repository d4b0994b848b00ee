//! A web server whose every answer is written by the test, byte for byte and pause by pause.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a test's server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Counted from zero over the server's life.
    pub(crate) number: usize,
    pub(crate) path: String,
    head: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The first byte asked for by a Range header.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// A piece of an answer. After the last one the connection is closed.
pub(crate) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// The same bytes until the client hangs up, with a pause between.
    Forever(Vec<u8>, Duration),
}

pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = requests.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, log.clone(), answer.clone()));
            }
        });
        Self { port, requests, accepting }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What a server answers to a request.
type Answer = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<Request>>>, answer: Arc<Answer>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let request = {
        let mut log = log.lock().unwrap();
        let request = Request { number: log.len(), path, head };
        log.push(request.clone());
        request
    };
    // A client that hangs up early is what many tests want.
    let _ = play(&mut stream, answer(&request)).await;
}

async fn play(stream: &mut TcpStream, steps: Vec<Step>) -> std::io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::Forever(bytes, pause) => loop {
                stream.write_all(&bytes).await?;
                tokio::time::sleep(pause).await;
            },
        }
    }
    stream.shutdown().await
}

/// An answer's header, from its status line and header lines.
pub(crate) fn head(lines: &[&str]) -> Step {
    Step::Send(format!("HTTP/1.1 {}\r\n\r\n", lines.join("\r\n")).into_bytes())
}

/// A whole file, properly served.
pub(crate) fn whole(body: &[u8], etag: &str) -> Vec<Step> {
    let length = format!("Content-Length: {}", body.len());
    vec![
        head(&["200 OK", &length, &format!("ETag: {etag}"), "Accept-Ranges: bytes"]),
        Step::Send(body.to_vec()),
    ]
}

/// What a proper server answers: a range where one was asked for and If-Range holds.
pub(crate) fn ranged(body: &[u8], etag: &str, request: &Request) -> Vec<Step> {
    match request.range_start() {
        Some(start) if request.header("if-range").is_none_or(|found| found == etag) => {
            partial(body, etag, start)
        }
        _ => whole(body, etag),
    }
}

/// The rest of a file from `start`.
pub(crate) fn partial(body: &[u8], etag: &str, start: usize) -> Vec<Step> {
    let rest = &body[start..];
    let range = format!("Content-Range: bytes {start}-{}/{}", body.len() - 1, body.len());
    let length = format!("Content-Length: {}", rest.len());
    vec![head(&["206 Partial Content", &length, &range, &format!("ETag: {etag}")]), Step::Send(rest.to_vec())]
}

/// The first `kept` body bytes of an answer, then the connection is closed.
pub(crate) fn cut(steps: Vec<Step>, kept: usize) -> Vec<Step> {
    let mut steps = steps.into_iter();
    let head = steps.next().unwrap();
    let Some(Step::Send(mut body)) = steps.next() else { panic!("an answer has a body") };
    body.truncate(kept);
    vec![head, Step::Send(body)]
}
