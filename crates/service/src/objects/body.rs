//! A body on its way to the disk: received in pieces, hashed and written beside the receiving, never held whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;

use super::files::{ObjectFiles, StoredPart, UnfinishedPart};
use super::room::Room;
use super::{MAX_PART_BYTES, PartEtag, file_refusal, too_large};
use crate::Refusal;

/// What is gathered before it is hashed and written.
const BATCH_BYTES: usize = 1 << 20;
/// How long a sender may be silent.
const IDLE: Duration = Duration::from_secs(60);

type Writing = JoinHandle<std::io::Result<(UnfinishedPart, Vec<u8>)>>;

/// That a body does not say that it is too long.
pub(super) fn check_size(announced_bytes: Option<u64>) -> Result<(), Refusal> {
    match announced_bytes {
        Some(size) if size > MAX_PART_BYTES => Err(too_large(size, MAX_PART_BYTES)),
        _ => Ok(()),
    }
}

/// Stores a body as a part of that number, as far as there is room. A body that says how long it is must be as long.
pub(super) async fn store(
    files: Arc<ObjectFiles>,
    number: u32,
    etag: PartEtag,
    announced_bytes: Option<u64>,
    room: &mut Room,
    mut body: impl Stream<Item = Result<Bytes, Refusal>> + Unpin,
) -> Result<StoredPart, Refusal> {
    let mut writing: Writing =
        tokio::task::spawn_blocking(move || Ok((files.create(etag)?, Vec::with_capacity(BATCH_BYTES))));
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut received: u64 = 0;
    loop {
        let piece = tokio::time::timeout(IDLE, body.next()).await.map_err(|_| silent())?;
        let Some(piece) = piece.transpose()? else { break };
        received += piece.len() as u64;
        if received > MAX_PART_BYTES {
            return Err(too_large(received, MAX_PART_BYTES));
        }
        room.grow_to(received)?;
        batch.extend_from_slice(&piece);
        if batch.len() >= BATCH_BYTES {
            let (part, mut next) = written(writing).await?;
            std::mem::swap(&mut next, &mut batch);
            writing = append(part, next);
        }
    }
    if announced_bytes.is_some_and(|size| size != received) {
        return Err(Refusal::invalid(
            "IncompleteBody",
            format!("The body ended after {received} bytes, which is not what was announced. Send it again."),
        ));
    }
    let (part, _) = written(writing).await?;
    let (part, _) = written(append(part, batch)).await?;
    let stored = tokio::task::spawn_blocking(move || part.finish(number));
    stored.await.map_err(Refusal::internal)?.map_err(|error| file_refusal(&error))
}

/// Appends a batch on another thread, which gives the emptied buffer back.
fn append(mut part: UnfinishedPart, mut batch: Vec<u8>) -> Writing {
    tokio::task::spawn_blocking(move || {
        part.append(&batch)?;
        batch.clear();
        Ok((part, batch))
    })
}

async fn written(writing: Writing) -> Result<(UnfinishedPart, Vec<u8>), Refusal> {
    writing.await.map_err(Refusal::internal)?.map_err(|error| file_refusal(&error))
}

fn silent() -> Refusal {
    Refusal::invalid("RequestTimeout", format!("Nothing came for {} seconds. Send it again.", IDLE.as_secs()))
}
