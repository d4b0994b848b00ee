//! Looking at a file on its server before it is fetched: a hopeless one is refused in seconds, not after its transfer.
//!
//! Only parts of the file are read, over ranges, within bounds; where that is not possible (no ranges, too much to
//! read, a slow server) the file is fetched as if nobody had looked. So only a whole look can refuse, and it must be
//! one at a single version of the file.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_block::{BlockDevice, Error, Extent, ExtentKind, check_bounds};
use kiln_model::ImportClaim;
use kiln_transfer::{SourceUrl, Validator};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::JobContext;
use crate::Service;
use crate::judgement::{Judgement, JudgementError, judge};

/// The piece in which the file is read, in bytes.
const PIECE_BYTES: u64 = 256 << 10;
/// What a preview may read, in pieces: 64 MiB.
const PIECES_MAX: usize = 256;
/// How long a preview may take.
const TIME: Duration = Duration::from_secs(30);
/// Smaller files are fetched sooner than looked at, in bytes.
const MIN_FILE_BYTES: u64 = 64 << 20;

/// Judges a file on its server; `None` where it must be fetched to know.
pub(super) async fn preview(
    context: &JobContext,
    source: &SourceUrl,
    claim: &ImportClaim,
    size_limit_bytes: u64,
) -> Option<Result<Judgement, JudgementError>> {
    let service = Arc::clone(&context.service);
    let deadline = Instant::now() + TIME;
    let probe = tokio::select! {
        () = context.cancel.cancelled() => return None,
        probe = tokio::time::timeout(TIME, service.fetcher.probe(source)) => probe.ok()?.ok()?,
    };
    let size_bytes = probe.size_bytes.filter(|size| *size >= MIN_FILE_BYTES && probe.ranges)?;
    // Without one, two parts could be of two files.
    let validator = probe.validator?;
    let file = Arc::new(ServedFile {
        service: Arc::clone(&service),
        source: source.clone(),
        validator,
        size_bytes,
        deadline,
        cancel: context.cancel.clone(),
        runtime: Handle::current(),
        pieces: Mutex::default(),
    });
    let (device, claim) = (Arc::clone(&file) as Arc<dyn BlockDevice>, claim.clone());
    let judged = tokio::task::spawn_blocking(move || {
        judge(&service.config.confined(), device, &service.config.import_policy, &claim, size_limit_bytes)
    });
    let judged = match judged.await {
        Ok(judged) => judged,
        Err(error) => {
            tracing::error!(%error, task = %context.task.id, "a preview broke off; the file is fetched all the same");
            return None;
        }
    };
    let failed = file.pieces.lock().unwrap_or_else(PoisonError::into_inner).failed;
    // What could not be looked into here is looked into again when it is fetched.
    let is_whole = !failed && !matches!(judged, Err(JudgementError::Unreadable(_)));
    is_whole.then_some(judged)
}

/// A file on a server, read piece by piece.
struct ServedFile {
    service: Arc<Service>,
    source: SourceUrl,
    validator: Validator,
    size_bytes: u64,
    deadline: Instant,
    cancel: CancellationToken,
    runtime: Handle,
    pieces: Mutex<Pieces>,
}

#[derive(Default)]
struct Pieces {
    read: HashMap<u64, Arc<Vec<u8>>>,
    /// Whether a piece could not be had: then nothing that was concluded counts.
    failed: bool,
}

impl ServedFile {
    fn piece(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = pieces.read.get(&number) {
            return Ok(Arc::clone(piece));
        }
        let fetched = if pieces.failed || pieces.read.len() == PIECES_MAX {
            Err(io::Error::other("a preview reads no more than this"))
        } else {
            self.fetch(number)
        };
        match fetched {
            Ok(piece) => {
                let piece = Arc::new(piece);
                pieces.read.insert(number, Arc::clone(&piece));
                Ok(piece)
            }
            Err(error) => {
                pieces.failed = true;
                Err(error)
            }
        }
    }

    fn fetch(&self, number: u64) -> io::Result<Vec<u8>> {
        let start = number * PIECE_BYTES;
        let len = PIECE_BYTES.min(self.size_bytes - start);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let read = self.service.fetcher.read_part(&self.source, start, len, Some(&self.validator));
        let read = self.cancel.run_until_cancelled(tokio::time::timeout(left, read));
        let read = self.runtime.block_on(read).ok_or_else(|| io::Error::other("the import was cancelled"))?;
        read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
    }
}

impl BlockDevice for ServedFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        let mut done = 0;
        while done < buf.len() {
            let position = offset + done as u64;
            let piece = self.piece(position / PIECE_BYTES)?;
            let from = &piece[(position % PIECE_BYTES) as usize..];
            let now = from.len().min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&from[..now]);
            done += now;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent, Error> {
        check_bounds(offset, len, self.size_bytes)?;
        Ok(Extent { offset, len, kind: ExtentKind::Data })
    }
}
