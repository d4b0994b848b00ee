//! Asks a server for a signed DescribeImages many times, over many connections, and says how long that took: one line of
//! JSON with the seconds in all, and the seconds below which half and 99 of 100 answers came. `make bench` runs it.
//!
//!     describe_load ADDRESS SECRET_ID SECRET_KEY REQUESTS CONNECTIONS
//!
//! All requests are one and the same, signed once: what is measured is the server, and the asking is to take as little of
//! the machine as it can. An answer that is an error ends the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kiln_model::Timestamp;
use kiln_tencent_api::client::{Call, Credentials, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BODY: &[u8] = b"{}";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, secret_id, secret_key, requests, connections] = &arguments[..] else {
        return Err("usage: describe_load ADDRESS SECRET_ID SECRET_KEY REQUESTS CONNECTIONS".into());
    };
    let request: Arc<[u8]> = request(address, &Credentials { secret_id, secret_key }).into();
    let left = Arc::new(AtomicU64::new(requests.parse()?));
    let start = Instant::now();
    let askers: Vec<_> = (0..connections.parse::<usize>()?)
        .map(|_| tokio::spawn(ask(address.clone(), Arc::clone(&request), Arc::clone(&left))))
        .collect();
    let mut times = Vec::new();
    for asker in askers {
        times.extend(asker.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    times.sort();
    let below = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    println!(r#"{{"seconds": {seconds}, "half_below": {}, "most_below": {}}}"#, below(50), below(99));
    Ok(())
}

fn request(address: &str, credentials: &Credentials<'_>) -> Vec<u8> {
    let call = Call {
        service: "cvm",
        host: address,
        action: "DescribeImages",
        version: "2017-03-12",
        region: Some("ap-guangzhou"),
        timestamp: Timestamp::now(),
        body: BODY,
    };
    let mut text = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n", BODY.len());
    for (name, value) in sign(credentials, &call) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), BODY].concat()
}

/// Asks over one connection until no request is left; how long each answer took.
async fn ask(address: String, request: Arc<[u8]>, left: Arc<AtomicU64>) -> Outcome<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok() {
        let start = Instant::now();
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut answer).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// Reads one answer with a body of a known length.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Outcome<()> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the server hung up".into());
        }
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("an answer has no length")?.parse()?;
        while answer.len() < end + 4 + length {
            if stream.read_buf(answer).await? == 0 {
                return Err("the server hung up".into());
            }
        }
        let body = &answer[end + 4..];
        if !body.windows(11).any(|text| text == br#""ImageSet":"#) {
            return Err(String::from_utf8_lossy(body).into());
        }
        return Ok(());
    }
}
