//! The protocol by hand, so that tests can break it. Written from the specification, not from the server.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub(crate) const GO: u32 = 7;
pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const BLOCK_STATUS: u16 = 7;
pub(crate) const ACK: u32 = 1;
pub(crate) const ERROR: u32 = 1 << 31;

/// A connection to a server, after the greeting.
pub(crate) struct RawClient {
    pub(crate) stream: UnixStream,
}

/// One chunk of a structured reply.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) done: bool,
    pub(crate) kind: u16,
    pub(crate) cookie: u64,
    pub(crate) payload: Vec<u8>,
}

impl RawClient {
    /// Connects and greets.
    pub(crate) fn connect(socket: &Path) -> Self {
        let mut client = Self::connect_only(socket);
        let greeting = client.take::<18>();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        assert_eq!(greeting[16..], [0, 3], "fixed newstyle, no zeroes");
        client.send(&3u32.to_be_bytes());
        client
    }

    /// Connects and says nothing.
    pub(crate) fn connect_only(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Self { stream }
    }

    /// Connects and starts with the export "disk".
    pub(crate) fn start(socket: &Path, structured: bool) -> Self {
        let mut client = Self::connect(socket);
        if structured {
            assert_eq!(client.ask(8, &[]), [(ACK, vec![])]);
            let queries = [&go_payload("disk")[..8], &[0, 0, 0, 1, 0, 0, 0, 15], b"base:allocation"].concat();
            assert_eq!(client.ask(10, &queries).last(), Some(&(ACK, vec![])));
        }
        assert_eq!(client.ask(GO, &go_payload("disk")).last(), Some(&(ACK, vec![])));
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the server sends");
        bytes
    }

    fn take_vec(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("the server sends");
        bytes
    }

    pub(crate) fn send_option(&mut self, code: u32, payload: &[u8]) {
        let len = payload.len() as u32;
        self.send(&[b"IHAVEOPT".as_slice(), &code.to_be_bytes(), &len.to_be_bytes(), payload].concat());
    }

    /// Sends an option; its replies up to the one that ends it: kind and payload.
    pub(crate) fn ask(&mut self, code: u32, payload: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send_option(code, payload);
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.take::<8>(), 0x0003_e889_0455_65a9u64.to_be_bytes());
            assert_eq!(self.take::<4>(), code.to_be_bytes());
            let kind = u32::from_be_bytes(self.take());
            let len = u32::from_be_bytes(self.take());
            replies.push((kind, self.take_vec(len as usize)));
            if kind == ACK || kind & ERROR != 0 {
                return replies;
            }
        }
    }

    pub(crate) fn request(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, len: u32) {
        self.send(&request(command, flags, cookie, offset, len));
    }

    /// A simple reply: error number and cookie.
    pub(crate) fn simple_reply(&mut self) -> (u32, u64) {
        assert_eq!(self.take::<4>(), 0x6744_6698u32.to_be_bytes());
        (u32::from_be_bytes(self.take()), u64::from_be_bytes(self.take()))
    }

    pub(crate) fn chunk(&mut self) -> Chunk {
        assert_eq!(self.take::<4>(), 0x668e_33efu32.to_be_bytes());
        let done = u16::from_be_bytes(self.take()) == 1;
        let kind = u16::from_be_bytes(self.take());
        let cookie = u64::from_be_bytes(self.take());
        let len = u32::from_be_bytes(self.take());
        Chunk { done, kind, cookie, payload: self.take_vec(len as usize) }
    }

    /// Waits for the server to hang up; what it sent before.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the server did not hang up: {error}"),
        }
    }
}

/// A request's bytes.
pub(crate) fn request(command: u16, flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let head = [&0x2560_9513u32.to_be_bytes()[..], &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    [&head[..], &cookie.to_be_bytes(), &offset.to_be_bytes(), &len.to_be_bytes()].concat()
}

/// Payload of `GO` and `INFO` for `name`, asking for nothing in particular.
pub(crate) fn go_payload(name: &str) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), &[0, 0]].concat()
}
