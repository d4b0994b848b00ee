//! A client of QEMU's machine protocol: one JSON object a line, commands matched to answers by id, events between.
//!
//! The peer is not trusted: a guest may have broken out into it. Lines and the queue of events are bounded, every
//! answer has a time limit, and a connection that broke either is not used again.
//! Source: QEMU's qmp-spec (docs/interop). Deliberately absent: what commands mean.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};

/// The longest line taken, in bytes. The largest real ones, block graphs, are some tens of KiB.
pub const MAX_LINE_BYTES: usize = 4 << 20;
/// The most events kept while an answer is waited for; more are dropped, oldest first.
pub const MAX_QUEUED_EVENTS: usize = 256;
/// How long an answer may take. Commands that drain the disk wait for the host's storage.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Something QEMU told without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// Its name, as "SHUTDOWN".
    pub name: String,
    /// Its data; null where it has none.
    pub data: Value,
}

/// A connection that has been greeted and is ready for commands.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    /// Received and not yet taken; holds at most one line and what came with it.
    buffer: Vec<u8>,
    events: VecDeque<QmpEvent>,
    next_id: u64,
    /// Set when an answer is outstanding or the protocol was broken.
    broken: bool,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    id: Option<u64>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

/// Tells `"return": null` from no `return` at all.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Takes a fresh connection through greeting and capabilities within `limit`.
    ///
    /// # Errors
    /// [`Error::Timeout`] when nobody answers, [`Error::Monitor`] when it is no QMP.
    pub async fn greet(stream: UnixStream, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let mut qmp = Self { stream, buffer: Vec::new(), events: VecDeque::new(), next_id: 1, broken: false };
        let greeting = match timeout_at(deadline, qmp.message()).await {
            Err(_) => return Err(Error::Timeout { what: "the QMP greeting".into(), limit }),
            Ok(message) => message?,
        };
        if greeting.greeting.is_none() {
            return Err(Error::Monitor("no greeting".into()));
        }
        qmp.execute_by("qmp_capabilities", json!({}), None, deadline, limit).await?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer. Not to be cancelled: a dropped call leaves the connection unusable.
    ///
    /// # Errors
    /// [`Error::Refused`] when QEMU says no; anything else means that the connection is lost and whether the
    /// command took effect is unknown.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_within(command, arguments, ANSWER_TIMEOUT).await
    }

    /// As [`Self::execute`], with its own time limit.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn execute_within(
        &mut self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value> {
        self.execute_by(command, arguments, None, Instant::now() + limit, limit).await
    }

    /// Gives QEMU an open file, which later commands call `name`.
    ///
    /// # Errors
    /// As [`Self::execute`].
    pub async fn hand_over(&mut self, name: &str, file: OwnedFd) -> Result<()> {
        let (deadline, arguments) = (Instant::now() + ANSWER_TIMEOUT, json!({ "fdname": name }));
        self.execute_by("getfd", arguments, Some(file), deadline, ANSWER_TIMEOUT).await.map(drop)
    }

    async fn execute_by(
        &mut self,
        command: &str,
        arguments: Value,
        file: Option<OwnedFd>,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Value> {
        if self.broken {
            return Err(Error::Monitor("the connection was given up".into()));
        }
        self.broken = true;
        let answer = timeout_at(deadline, self.exchange(command, arguments, file)).await;
        let answer =
            answer.map_err(|_| Error::Timeout { what: format!("QEMU's answer to {command}"), limit })?;
        if matches!(answer, Ok(_) | Err(Error::Refused { .. })) {
            self.broken = false;
        }
        answer
    }

    async fn exchange(&mut self, command: &str, arguments: Value, file: Option<OwnedFd>) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.send(line.as_bytes(), file).await.map_err(lost)?;
        loop {
            let message = self.message().await?;
            if let Some(name) = message.event {
                self.queue(QmpEvent { name, data: message.data });
            } else if message.id == Some(id) {
                return match (message.answer, message.error) {
                    (_, Some(refusal)) => {
                        Err(Error::Refused { command: command.to_owned(), reason: refusal.desc })
                    }
                    (Some(answer), None) => Ok(answer),
                    (None, None) => Err(Error::Monitor(format!("an empty answer to {command}"))),
                };
            }
        }
    }

    /// Sends a line, and with it a file.
    async fn send(&mut self, line: &[u8], file: Option<OwnedFd>) -> std::io::Result<()> {
        let Some(file) = file else { return self.stream.write_all(line).await };
        let stream = &self.stream;
        let send = || {
            let files = [file.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            assert!(beside.push(SendAncillaryMessage::ScmRights(&files)), "there is room for one file");
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut beside, SendFlags::NOSIGNAL)?)
        };
        let sent = stream.async_io(Interest::WRITABLE, send).await?;
        self.stream.write_all(&line[sent..]).await
    }

    /// Waits for the next event. May be cancelled at any time without losing one.
    ///
    /// # Errors
    /// [`Error::Monitor`] when the connection is lost.
    pub async fn next_event(&mut self) -> Result<QmpEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let message = self.message().await.inspect_err(|_| self.broken = true)?;
            if let Some(name) = message.event {
                return Ok(QmpEvent { name, data: message.data });
            }
        }
    }

    /// Whether the connection is lost for good.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    fn queue(&mut self, event: QmpEvent) {
        if self.events.len() == MAX_QUEUED_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// One message. Cancellation loses nothing: what was received stays in the buffer.
    async fn message(&mut self) -> Result<Message> {
        let line = self.line().await?;
        serde_json::from_slice(&line).map_err(|error| Error::Monitor(format!("not a QMP message: {error}")))
    }

    async fn line(&mut self) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(found) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + found + 1);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_BYTES {
                return Err(Error::Monitor(format!("a line of more than {MAX_LINE_BYTES} bytes")));
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await.map_err(lost)? == 0 {
                return Err(Error::Monitor("QEMU closed it".into()));
            }
        }
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::Monitor(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

    /// A peer that greets, accepts the capabilities, and then writes `script` once a command came.
    async fn connected(script: Vec<u8>) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        tokio::spawn(async move {
            let mut heard = [0; 512];
            theirs.write_all(GREETING.as_bytes()).await.expect("greeted");
            assert!(theirs.read(&mut heard).await.expect("capabilities") > 0);
            theirs.write_all(b"{\"return\": {}, \"id\": 1}\r\n").await.expect("answered");
            assert!(theirs.read(&mut heard).await.expect("a command") > 0);
            let _ = theirs.write_all(&script).await;
            let _ = theirs.read(&mut heard).await;
        });
        Qmp::greet(ours, Duration::from_secs(5)).await.expect("greeted")
    }

    #[tokio::test]
    async fn answers_are_matched_by_id_and_events_kept() {
        let script = b"{\"event\": \"STOP\"}\n{\"return\": 1, \"id\": 99}\n{\"return\": null, \"id\": 2}\n";
        let mut qmp = connected(script.to_vec()).await;
        assert_eq!(qmp.execute("any", json!({})).await.expect("answered"), Value::Null);
        assert_eq!(qmp.next_event().await.expect("kept").name, "STOP");
    }

    #[tokio::test]
    async fn a_refusal_leaves_the_connection_usable() {
        let script = b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 2}\n";
        let mut qmp = connected(script.to_vec()).await;
        let error = qmp.execute("any", json!({})).await.expect_err("refused");
        assert!(error.is_refusal() && !qmp.is_broken(), "{error}");
    }

    #[tokio::test]
    async fn silence_and_endless_lines_end_the_connection() {
        let mut qmp = connected(Vec::new()).await;
        let error = qmp.execute_within("any", json!({}), SHORT).await.expect_err("no answer");
        assert!(matches!(error, Error::Timeout { .. }) && qmp.is_broken());

        let mut qmp = connected(vec![b'x'; MAX_LINE_BYTES + READ_BYTES]).await;
        let error = qmp.execute("any", json!({})).await.expect_err("too long");
        assert!(error.to_string().contains("a line of more than"), "{error}");
        assert!(qmp.execute("any", json!({})).await.is_err());
    }

    #[tokio::test]
    async fn a_flood_of_events_stays_bounded() {
        let mut script = b"{\"event\": \"RESET\"}\n".repeat(MAX_QUEUED_EVENTS + 50);
        script.extend(b"{\"return\": {}, \"id\": 2}\n");
        let mut qmp = connected(script).await;
        qmp.execute("any", json!({})).await.expect("answered");
        assert_eq!(qmp.events.len(), MAX_QUEUED_EVENTS);
    }
}
