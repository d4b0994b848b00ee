//! Replies of the transmission phase as bytes: a head of fixed room and a payload that is never copied.
//!
//! Invariant: a frame that is dropped gives back what its request held, so memory and slots are free exactly when
//! the bytes have left (or the connection has ended).

use crate::budget::{ReplyBytes, Slot};
use crate::limits::MAX_REQUEST_BYTES;
use crate::wire::{self, Errno, chunk};

const HEAD_BYTES: usize = 32;

/// One simple reply, or one chunk of a structured one.
#[derive(Debug)]
pub(crate) struct Frame {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    payload: Vec<u8>,
    bytes: Option<ReplyBytes>,
    slot: Option<Slot>,
}

impl Frame {
    fn new() -> Self {
        Self { head: [0; HEAD_BYTES], head_len: 0, payload: Vec::new(), bytes: None, slot: None }
    }

    fn put(mut self, field: &[u8]) -> Self {
        self.head[self.head_len..][..field.len()].copy_from_slice(field);
        self.head_len += field.len();
        self
    }

    fn chunk(kind: u16, cookie: u64, fields_len: usize, payload: Vec<u8>) -> Self {
        debug_assert!(payload.len() <= MAX_REQUEST_BYTES as usize);
        let len = (fields_len + payload.len()) as u32;
        let mut frame = Self::new()
            .put(&wire::STRUCTURED_REPLY_MAGIC.to_be_bytes())
            .put(&0u16.to_be_bytes())
            .put(&kind.to_be_bytes())
            .put(&cookie.to_be_bytes())
            .put(&len.to_be_bytes());
        frame.payload = payload;
        frame
    }

    /// The only reply to a request, without chunks; `payload` is what was read.
    pub(crate) fn simple(cookie: u64, outcome: Result<Vec<u8>, Errno>) -> Self {
        let error = outcome.as_ref().err().map_or(0, |errno| *errno as u32);
        let mut frame = Self::new()
            .put(&wire::SIMPLE_REPLY_MAGIC.to_be_bytes())
            .put(&error.to_be_bytes())
            .put(&cookie.to_be_bytes());
        frame.payload = outcome.unwrap_or_default();
        frame
    }

    /// Bytes read at `offset`.
    pub(crate) fn data(cookie: u64, offset: u64, payload: Vec<u8>) -> Self {
        Self::chunk(chunk::OFFSET_DATA, cookie, 8, payload).put(&offset.to_be_bytes())
    }

    /// `len` zeros at `offset`.
    pub(crate) fn hole(cookie: u64, offset: u64, len: u32) -> Self {
        Self::chunk(chunk::OFFSET_HOLE, cookie, 12, Vec::new())
            .put(&offset.to_be_bytes())
            .put(&len.to_be_bytes())
    }

    /// No content: there to carry the end of a reply.
    pub(crate) fn none(cookie: u64) -> Self {
        Self::chunk(chunk::NONE, cookie, 0, Vec::new())
    }

    /// The request failed as a whole.
    pub(crate) fn error(cookie: u64, errno: Errno, message: &str) -> Self {
        Self::chunk(chunk::ERROR, cookie, 0, error_payload(errno, message))
    }

    /// The read failed at `offset`.
    pub(crate) fn error_at(cookie: u64, errno: Errno, offset: u64, message: &str) -> Self {
        let mut payload = error_payload(errno, message);
        payload.extend_from_slice(&offset.to_be_bytes());
        Self::chunk(chunk::ERROR_OFFSET, cookie, 0, payload)
    }

    /// Extents of `base:allocation`: lengths in bytes and states.
    pub(crate) fn block_status(cookie: u64, extents: &[(u32, u32)]) -> Self {
        let words = extents.iter().flat_map(|(len, state)| [*len, *state]);
        let payload = words.flat_map(u32::to_be_bytes).collect();
        Self::chunk(chunk::BLOCK_STATUS, cookie, 4, payload).put(&wire::ALLOCATION_CONTEXT_ID.to_be_bytes())
    }

    /// Marks the last chunk of a structured reply.
    pub(crate) fn done(mut self) -> Self {
        self.head[4..6].copy_from_slice(&chunk::FLAG_DONE.to_be_bytes());
        self
    }

    /// Keeps `bytes` until this frame was written.
    pub(crate) fn holding(mut self, bytes: ReplyBytes) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Ends the request when this frame was written.
    pub(crate) fn ending(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Head and payload.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.head[..self.head_len], &self.payload]
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.head_len + self.payload.len()
    }
}

fn error_payload(errno: Errno, message: &str) -> Vec<u8> {
    let mut payload = (errno as u32).to_be_bytes().to_vec();
    payload.extend_from_slice(&(message.len() as u16).to_be_bytes());
    payload.extend_from_slice(message.as_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_says_its_own_length() {
        let frames = [
            Frame::data(1, 2, vec![3; 4]),
            Frame::hole(1, 2, 3),
            Frame::none(1),
            Frame::error(1, Errno::Io, "no"),
            Frame::error_at(1, Errno::Io, 7, "no"),
            Frame::block_status(1, &[(512, 0), (512, 3)]),
        ];
        for frame in frames {
            let bytes = frame.parts().concat();
            let said = u32::from_be_bytes(bytes[16..20].try_into().expect("four bytes"));
            assert_eq!(said as usize + 20, bytes.len(), "{frame:?}");
            assert_eq!(frame.done().parts()[0][4..6], [0, 1]);
        }
    }
}
