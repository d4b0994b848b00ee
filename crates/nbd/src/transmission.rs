//! The transmission phase of one connection: reads requests and hands them on; replies are written as they come.
//!
//! ```text
//! socket ─► read_requests ─► DeviceQueue (blocking threads) ─► write_replies ─► socket
//!              │  waits for a slot and for room          └── each frame holds both until written
//! ```
//! Invariant: a request that was taken is answered, unless the connection fails.

use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::budget::{ConnectionBudget, ServerBudget, Slot};
use crate::command::{Command, REQUEST_BYTES, Request};
use crate::device_call::{Call, DeviceCaller, Job, Pieces};
use crate::device_errors::DeviceErrors;
use crate::device_queue::DeviceQueue;
use crate::handshake::Negotiated;
use crate::limits::{MAX_REQUEST_BYTES, MAX_STATUS_EXTENTS, PIECE_BYTES};
use crate::reply::Frame;
use crate::reply_writer::write_replies;
use crate::{Error, Result};

/// Serves requests until the client leaves or `closing` turns true, and then until what is in flight is answered.
///
/// # Errors
/// Where the client breaks the protocol, takes no replies, or the connection fails.
pub(crate) async fn transmit<R, W>(
    reader: R,
    writer: W,
    negotiated: Negotiated,
    server: &Arc<ServerBudget>,
    peer: Arc<str>,
    closing: watch::Receiver<bool>,
) -> Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Negotiated { export, structured, allocation } = negotiated;
    let (sender, receiver) = mpsc::unbounded_channel();
    let errors = DeviceErrors::new(Arc::clone(&export.description), peer);
    let intake = Intake {
        size_bytes: export.device.size_bytes(),
        structured,
        allocation,
        budget: ConnectionBudget::new(server),
        queue: Arc::new(DeviceQueue::new(
            DeviceCaller::new(export.device, errors),
            sender,
            Arc::clone(server),
        )),
    };
    let replies = write_replies(writer, receiver, server.limits.reply_stall_timeout);
    tokio::try_join!(intake.read_requests(reader, closing), replies)?;
    Ok(())
}

/// Takes requests in. When it is dropped and the queue is empty, the writer ends.
struct Intake {
    size_bytes: u64,
    structured: bool,
    allocation: bool,
    budget: ConnectionBudget,
    queue: Arc<DeviceQueue>,
}

impl Intake {
    async fn read_requests<R>(self, mut reader: R, mut closing: watch::Receiver<bool>) -> Result<()>
    where
        R: AsyncBufRead + Unpin,
    {
        loop {
            let slot = self.budget.slot().await;
            let request = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return Ok(()),
                request = read_request(&mut reader) => request?,
            };
            let Some(request) = request else { return Ok(()) };
            match request.check(self.size_bytes, self.allocation) {
                Command::Disconnect => return Ok(()),
                Command::Refuse { errno, reason, payload_len } => {
                    skip_payload(&mut reader, payload_len).await?;
                    let frame = if self.structured && request.wants_chunks() {
                        Frame::error(request.cookie, errno, reason).done()
                    } else {
                        Frame::simple(request.cookie, Err(errno))
                    };
                    self.queue.reply(frame.ending(slot));
                }
                command => self.accept(request.cookie, command, slot).await,
            }
        }
    }

    /// Hands an accepted command on, once there is room for its reply.
    async fn accept(&self, cookie: u64, command: Command, slot: Slot) {
        match command {
            Command::Read { offset, len } if !self.structured => {
                self.call(cookie, offset, len, len, Call::ReadSimple(slot)).await;
            }
            Command::Read { offset, len } if len <= PIECE_BYTES => {
                self.call(cookie, offset, len, len, Call::Read(slot)).await;
            }
            Command::Read { offset, len } => self.read_in_pieces(cookie, offset, len, slot).await,
            Command::BlockStatus { offset, len, max_extents } => {
                let room = 8 * max_extents.min(MAX_STATUS_EXTENTS) as u32;
                self.call(cookie, offset, len, room, Call::BlockStatus { slot, max_extents }).await;
            }
            Command::Cache { offset, len } => {
                self.call(cookie, offset, len, len.min(PIECE_BYTES), Call::Cache(slot)).await;
            }
            Command::Flush | Command::Disconnect | Command::Refuse { .. } => {
                self.queue.reply(Frame::simple(cookie, Ok(Vec::new())).ending(slot));
            }
        }
    }

    async fn read_in_pieces(&self, cookie: u64, offset: u64, len: u32, slot: Slot) {
        let cuts: Vec<_> = pieces(offset, len).collect();
        let shared = Arc::new(Pieces::new(cuts.len() as u32, slot));
        for (offset, len) in cuts {
            self.call(cookie, offset, len, len, Call::ReadPiece(Arc::clone(&shared))).await;
        }
    }

    async fn call(&self, cookie: u64, offset: u64, len: u32, room: u32, call: Call) {
        let bytes = self.budget.reply_bytes(room).await;
        self.queue.push(Job { cookie, offset, len, call, bytes });
    }
}

/// Cuts a range where the device's chunks are cut.
fn pieces(offset: u64, len: u32) -> impl Iterator<Item = (u64, u32)> {
    let end = offset + u64::from(len);
    let piece = u64::from(PIECE_BYTES);
    let mut position = offset;
    std::iter::from_fn(move || {
        let start = position;
        position = ((start / piece + 1) * piece).min(end);
        (start < end).then(|| (start, (position - start) as u32))
    })
}

/// The next request; `None` where the client hung up instead.
async fn read_request<R: AsyncBufRead + Unpin>(reader: &mut R) -> Result<Option<Request>> {
    if reader.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let mut bytes = [0; REQUEST_BYTES];
    reader.read_exact(&mut bytes).await?;
    Request::decode(&bytes).map(Some)
}

/// Reads past what a refused request carries.
async fn skip_payload<R: AsyncBufRead + Unpin>(reader: &mut R, len: u32) -> Result<()> {
    if len > MAX_REQUEST_BYTES {
        return Err(Error::Protocol("a payload is longer than the maximum"));
    }
    let mut payload = reader.take(u64::from(len));
    let skipped = tokio::io::copy_buf(&mut payload, &mut tokio::io::sink()).await?;
    if skipped < u64::from(len) {
        return Err(Error::Protocol("a payload is cut short"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_range_and_end_at_multiples() {
        let piece = u64::from(PIECE_BYTES);
        let cuts: Vec<_> = pieces(piece - 1, 2 * PIECE_BYTES + 2).collect();
        assert_eq!(cuts, [(piece - 1, 1), (piece, PIECE_BYTES), (2 * piece, PIECE_BYTES), (3 * piece, 1)]);
        assert_eq!(pieces(5, 3).collect::<Vec<_>>(), [(5, 3)]);
    }
}
