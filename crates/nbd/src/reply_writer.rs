//! Writes replies to the socket as they come, many with one system call. It never looks at what it writes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::limits::MAX_BATCH_FRAMES;
use crate::reply::Frame;
use crate::{Error, Result};

/// Writes until nobody can send any more replies.
///
/// # Errors
/// Where the connection fails, or the client takes nothing for `stall_timeout`.
pub(crate) async fn write_replies<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut replies: UnboundedReceiver<Frame>,
    stall_timeout: Duration,
) -> Result<()> {
    let mut batch = Batch::default();
    loop {
        batch.refill(&mut replies);
        if batch.frames.is_empty() {
            match replies.recv().await {
                Some(frame) => batch.frames.push_back(frame),
                None => return Ok(()),
            }
            continue;
        }
        let written = {
            let slices = batch.slices();
            let write = writer.write_vectored(&slices);
            tokio::time::timeout(stall_timeout, write).await.map_err(|_| Error::ReplyStalled)??
        };
        if written == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
        }
        batch.advance(written);
    }
}

/// Replies being written; the first one perhaps in part.
#[derive(Default)]
struct Batch {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that have been written, fewer than it has.
    written: usize,
}

impl Batch {
    fn refill(&mut self, replies: &mut UnboundedReceiver<Frame>) {
        while self.frames.len() < MAX_BATCH_FRAMES {
            let Ok(frame) = replies.try_recv() else { return };
            self.frames.push_back(frame);
        }
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.written;
        let mut slices = Vec::with_capacity(2 * self.frames.len());
        for part in self.frames.iter().flat_map(Frame::parts) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices.push(IoSlice::new(&part[skipped..]));
            }
        }
        slices
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        while let Some(first) = self.frames.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn frames_arrive_whole_through_a_narrow_pipe() {
        let (near, mut far) = tokio::io::duplex(7);
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut expected = Vec::new();
        for n in 0..200u64 {
            let frame = Frame::data(n, n, vec![n as u8; n as usize]);
            expected.extend(frame.parts().concat());
            sender.send(frame).expect("the receiver is there");
        }
        drop(sender);
        let mut got = Vec::new();
        let (written, read) =
            tokio::join!(write_replies(near, receiver, Duration::from_secs(5)), far.read_to_end(&mut got));
        written.expect("written");
        read.expect("read");
        assert_eq!(got, expected);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(8);
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        sender.send(Frame::none(1)).expect("the receiver is there");
        let outcome = write_replies(near, receiver, Duration::from_millis(20)).await;
        assert!(matches!(outcome, Err(Error::ReplyStalled)));
    }
}
