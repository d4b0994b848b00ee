//! Requests of the transmission phase, parsed and checked against the export: past this point every range lies
//! within the device and every length within its limit.

use crate::limits::{MAX_REQUEST_BYTES, MAX_STATUS_EXTENTS};
use crate::wire::{Errno, REQUEST_MAGIC, command};
use crate::{Error, Result};

/// Bytes of a request without its payload.
pub(crate) const REQUEST_BYTES: usize = 28;

/// A request as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    flags: u16,
    kind: u16,
    /// Chosen by the client to tell its replies apart.
    pub(crate) cookie: u64,
    offset: u64,
    len: u32,
}

/// What is to be done for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// `len` is 1 to [`MAX_REQUEST_BYTES`].
    Read { offset: u64, len: u32 },
    /// `len` is at least 1.
    BlockStatus { offset: u64, len: u32, max_extents: usize },
    /// The client is going to read this; `len` is 1 to [`MAX_REQUEST_BYTES`].
    Cache { offset: u64, len: u32 },
    /// Nothing to do.
    Flush,
    /// No reply; the client hangs up.
    Disconnect,
    /// The answer is known already. The payload is read past first.
    Refuse { errno: Errno, reason: &'static str, payload_len: u32 },
}

impl Request {
    /// # Errors
    /// Where it is not a request at all: there is no finding the next one.
    pub(crate) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Result<Self> {
        let field = |at: usize, len: usize| bytes[at..at + len].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        if field(0, 4) != u64::from(REQUEST_MAGIC) {
            return Err(Error::Protocol("a request does not begin with its magic number"));
        }
        Ok(Self {
            flags: field(4, 2) as u16,
            kind: field(6, 2) as u16,
            cookie: field(8, 8),
            offset: field(16, 8),
            len: field(24, 4) as u32,
        })
    }

    /// Whether a client that negotiated structured replies takes only such a one.
    pub(crate) fn wants_chunks(&self) -> bool {
        matches!(self.kind, command::READ | command::BLOCK_STATUS)
    }

    /// Decides what to do. `allocation` says whether the client negotiated block status.
    pub(crate) fn check(&self, size_bytes: u64, allocation: bool) -> Command {
        let &Self { offset, len, .. } = self;
        let outside = offset.checked_add(u64::from(len)).is_none_or(|end| end > size_bytes);
        let refuse = |reason| Command::Refuse { errno: Errno::Inval, reason, payload_len: 0 };
        let read_only = |payload_len| Command::Refuse {
            errno: Errno::Perm,
            reason: "the export is read-only",
            payload_len,
        };
        match self.kind {
            command::DISC => Command::Disconnect,
            command::WRITE => read_only(len),
            command::TRIM | command::WRITE_ZEROES => read_only(0),
            _ if self.flags & !self.known_flags() != 0 => refuse("unknown flags"),
            command::FLUSH => Command::Flush,
            command::READ | command::CACHE | command::BLOCK_STATUS if outside => refuse("outside the export"),
            command::BLOCK_STATUS if !allocation => refuse("no metadata context was negotiated"),
            command::BLOCK_STATUS if len == 0 => refuse("an empty range has no status"),
            command::BLOCK_STATUS => Command::BlockStatus { offset, len, max_extents: self.max_extents() },
            command::READ if len > MAX_REQUEST_BYTES => refuse("longer than the maximum of 32 MiB"),
            command::READ if len == 0 => refuse("an empty read"),
            command::READ => Command::Read { offset, len },
            command::CACHE if len == 0 => Command::Flush,
            command::CACHE => Command::Cache { offset, len: len.min(MAX_REQUEST_BYTES) },
            _ => refuse("unknown command"),
        }
    }

    fn known_flags(&self) -> u16 {
        if self.kind == command::BLOCK_STATUS { command::FLAG_REQ_ONE } else { 0 }
    }

    fn max_extents(&self) -> usize {
        if self.flags & command::FLAG_REQ_ONE != 0 { 1 } else { MAX_STATUS_EXTENTS }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 1 << 30;

    fn check(kind: u16, flags: u16, offset: u64, len: u32) -> Command {
        Request { flags, kind, cookie: 0, offset, len }.check(SIZE, true)
    }

    fn errno(command: Command) -> Option<Errno> {
        match command {
            Command::Refuse { errno, .. } => Some(errno),
            _ => None,
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert_eq!(check(command::READ, 0, SIZE - 1, 1), Command::Read { offset: SIZE - 1, len: 1 });
        for bad in [
            check(command::READ, 0, SIZE - 1, 2),
            check(command::READ, 0, u64::MAX, 2),
            check(command::READ, 0, 0, MAX_REQUEST_BYTES + 1),
            check(command::READ, 1 << 2, 0, 1),
            check(command::BLOCK_STATUS, 0, 0, 0),
            check(99, 0, 0, 0),
        ] {
            assert_eq!(errno(bad), Some(Errno::Inval), "{bad:?}");
        }
        for kind in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
            assert_eq!(errno(check(kind, 1, u64::MAX, 7)), Some(Errno::Perm));
        }
    }

    #[test]
    fn block_status_has_to_be_negotiated() {
        let request = Request { flags: 0, kind: command::BLOCK_STATUS, cookie: 0, offset: 0, len: 1 };
        assert_eq!(errno(request.check(SIZE, false)), Some(Errno::Inval));
        assert_eq!(request.check(SIZE, true), Command::BlockStatus { offset: 0, len: 1, max_extents: 4096 });
    }

    proptest! {
        #[test]
        fn accepted_ranges_lie_within(mut bytes in prop::array::uniform28(any::<u8>()), kind in 0u16..9, size: u64) {
            bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
            bytes[6..8].copy_from_slice(&kind.to_be_bytes());
            let request = Request::decode(&bytes).expect("the magic is right");
            if let Command::Read { offset, len }
            | Command::Cache { offset, len }
            | Command::BlockStatus { offset, len, .. } = request.check(size, true)
            {
                prop_assert!(len > 0 && offset.checked_add(u64::from(len)).is_some_and(|end| end <= size));
            }
        }
    }
}
