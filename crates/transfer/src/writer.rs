//! The thread that writes a body into its file, and a second one that syncs it now and then.
//!
//! The receiving task hands over blocks through a short queue, so a slow disk slows the network down instead of
//! filling memory. Syncing happens beside writing: it bounds what a power loss costs, and nobody waits for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::partial_file::PartialFile;
use crate::resume::ResumeState;
use crate::sparse::SparseWriter;
use crate::{Error, Result};

/// Batches that wait for the writer. With the batches' size it bounds a fetch's memory.
const QUEUE_BATCHES: usize = 4;
/// The pause between the ends of two syncs, and so about what a power loss costs.
pub(crate) const SYNC_EVERY: Duration = Duration::from_secs(5);
/// The piece in which a file is read for its digest, in bytes.
const READ_BYTES: usize = 1024 * 1024;

enum Message {
    Data(Vec<Bytes>),
    /// The body is complete. Without it, the end of the queue means that the fetch was broken off.
    End,
}

/// The receiving task's end. Dropped, the thread writes what it was given and ends.
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    /// Starts writing at `start`, where the file ends. `expected_sha256` is of the whole file.
    pub(crate) fn start(
        partial: PartialFile,
        state: ResumeState,
        start: u64,
        expected_sha256: Option<[u8; 32]>,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_BATCHES);
        let thread = tokio::task::spawn_blocking(move || {
            write_body(&partial, state, start, expected_sha256, messages)
        });
        Self { queue, thread }
    }

    /// Hands over a batch; false where the thread has ended, which [`Writer::stop`] explains.
    pub(crate) async fn write(&self, batch: Vec<Bytes>) -> bool {
        self.queue.send(Message::Data(batch)).await.is_ok()
    }

    /// Ends a complete body: writes the rest and compares the digest.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::File`], [`Error::ChecksumMismatch`].
    pub(crate) async fn finish(self) -> Result<()> {
        // Where the thread is gone already, its result says why.
        let _ = self.queue.send(Message::End).await;
        self.stop().await
    }

    /// Breaks off: what was handed over is written and kept.
    pub(crate) async fn stop(self) -> Result<()> {
        drop(self.queue);
        self.thread.await.expect("the writer neither panics nor is aborted")
    }
}

fn write_body(
    partial: &PartialFile,
    state: ResumeState,
    start: u64,
    expected_sha256: Option<[u8; 32]>,
    mut messages: mpsc::Receiver<Message>,
) -> Result<()> {
    let failed = |error| Error::file(&partial.path, error);
    let mut writer = SparseWriter::new(&partial.file, start);
    // A digest cannot be continued, so that of a resumed file is taken from the file at the end.
    let mut digest = (expected_sha256.is_some() && start == 0).then(Sha256::new);
    let (state, complete) = thread::scope(|scope| {
        // No queue: a position is taken only when the last sync is over.
        let (positions, due) = std_mpsc::sync_channel(0);
        let syncing = scope.spawn(|| sync_positions(&partial.file, &partial.sidecar, state, due));
        let written = write_messages(&mut writer, digest.as_mut(), &mut messages, &positions);
        drop(positions);
        let state = syncing.join().expect("syncing does not panic").map_err(failed)?;
        Ok((state, written.map_err(failed)?))
    })?;
    if !complete {
        return Ok(());
    }
    let size_bytes = writer.flushed();
    if let Some(expected) = expected_sha256 {
        let found = match digest {
            Some(digest) => digest.finalize().into(),
            None => digest_file(&partial.file, size_bytes).map_err(failed)?,
        };
        partial.check_digest(found, expected)?;
    }
    let state = ResumeState { complete: true, total_bytes: Some(size_bytes), ..state };
    state.store(&partial.sidecar, false).map_err(failed)
}

/// Writes until the queue ends; whether the body is complete.
fn write_messages(
    writer: &mut SparseWriter<'_>,
    mut digest: Option<&mut Sha256>,
    messages: &mut mpsc::Receiver<Message>,
    positions: &std_mpsc::SyncSender<u64>,
) -> io::Result<bool> {
    let mut last_sync = Instant::now();
    let mut complete = false;
    while let Some(message) = messages.blocking_recv() {
        let Message::Data(batch) = message else {
            complete = true;
            break;
        };
        for data in batch {
            writer.append(&data)?;
            if let Some(digest) = &mut digest {
                digest.update(&data);
            }
        }
        if last_sync.elapsed() >= SYNC_EVERY {
            match positions.try_send(writer.flushed()) {
                Ok(()) => last_sync = Instant::now(),
                Err(std_mpsc::TrySendError::Full(_)) => {}
                // Syncing failed, and says so when it is joined.
                Err(std_mpsc::TrySendError::Disconnected(_)) => return Ok(false),
            }
        }
    }
    writer.flush()?;
    Ok(complete)
}

/// Syncs the file as far as each position and notes it in the sidecar.
fn sync_positions(
    file: &File,
    sidecar: &Path,
    mut state: ResumeState,
    due: std_mpsc::Receiver<u64>,
) -> io::Result<ResumeState> {
    for position in due {
        file.sync_data()?;
        state.synced_bytes = position;
        state.store(sidecar, true)?;
    }
    Ok(state)
}

/// The SHA-256 of a file's first `size_bytes`.
pub(crate) fn digest_file(file: &File, size_bytes: u64) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut position = 0;
    while position < size_bytes {
        let now = usize::try_from(size_bytes - position).map_or(READ_BYTES, |rest| rest.min(READ_BYTES));
        file.read_exact_at(&mut buffer[..now], position)?;
        digest.update(&buffer[..now]);
        position += now as u64;
    }
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_full_disk_is_told() {
        // Every write to this device fails for want of space.
        let full = OpenOptions::new().write(true).open("/dev/full").expect("the device exists");
        let (queue, mut messages) = mpsc::channel(QUEUE_BATCHES);
        let (positions, _due) = std_mpsc::sync_channel(0);
        queue.try_send(Message::Data(vec![Bytes::from(vec![7; 3 << 20])])).expect("room");
        drop(queue);
        let mut writer = SparseWriter::new(&full, 0);
        let error = write_messages(&mut writer, None, &mut messages, &positions).expect_err("no space");
        let told = Error::file(Path::new("disk"), error);
        assert!(matches!(told, Error::DiskFull { .. }), "{told:?}");
    }
}
