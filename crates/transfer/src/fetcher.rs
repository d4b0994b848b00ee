//! Fetching as a whole: ask, continue or begin, receive, try again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Response;
use tokio_util::sync::CancellationToken;

use crate::partial_file::PartialFile;
use crate::policy::Attempts;
use crate::receive::{Reception, receive_part};
use crate::request::Requester;
use crate::resolver::{Lookup, system_lookup};
use crate::response::{Ask, Head};
use crate::resume::Standing;
use crate::writer::{Writer, digest_file};
use crate::{Error, Policy, Result, SourceUrl, Validator};

/// Fetches files by one policy. One serves any number of fetches at a time.
pub struct Fetcher {
    policy: Policy,
    requester: Requester,
}

/// What a caller wants of one fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The longest file taken, in bytes.
    pub max_bytes: u64,
    /// The SHA-256 that the whole file must have.
    pub expected_sha256: Option<[u8; 32]>,
}

/// How far a fetch is. `received_bytes` falls back where a file has changed and is begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that were received, those of earlier fetches included.
    pub received_bytes: u64,
    /// The file's length, where the server says it.
    pub total_bytes: Option<u64>,
}

/// A file that was fetched whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its length.
    pub size_bytes: u64,
    /// What identifies the version that was fetched.
    pub validator: Option<Validator>,
}

/// What a server says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The file's length, where the server says it.
    pub size_bytes: Option<u64>,
    /// Parts of the file can be asked for.
    pub ranges: bool,
    /// What identifies the present version.
    pub validator: Option<Validator>,
}

/// One fetch under way.
struct Job<'a> {
    source: &'a SourceUrl,
    destination: &'a Path,
    options: &'a FetchOptions,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
    cancel: &'a CancellationToken,
    host: String,
    position: AtomicU64,
}

impl Fetcher {
    /// A fetcher that looks names up as the system does.
    ///
    /// # Errors
    /// [`Error::Setup`] where certificates are unusable.
    pub fn new(policy: Policy) -> Result<Self> {
        Self::with_lookup(policy, system_lookup())
    }

    /// A fetcher that looks names up by `lookup`. Its answers are checked like those of the system.
    ///
    /// # Errors
    /// As [`Fetcher::new`].
    pub fn with_lookup(policy: Policy, lookup: Lookup) -> Result<Self> {
        let requester = Requester::new(&policy, lookup)?;
        Ok(Self { policy, requester })
    }

    /// Asks what a server says of a file, by fetching its first byte (presigned URLs often allow GET only).
    ///
    /// # Errors
    /// Those of one attempt of a fetch, without any of the body.
    pub async fn probe(&self, source: &SourceUrl) -> Result<Probe> {
        let (head, _body) = self.requester.get(source, Ask::FirstByte).await?;
        Ok(Probe { size_bytes: head.total_bytes, ranges: head.ranges, validator: head.validator })
    }

    /// Reads `len` bytes at `offset` of a file without fetching it: of the version that `validator` identifies, where
    /// there is one. The server must take ranges (see [`Fetcher::probe`]). One attempt.
    ///
    /// # Errors
    /// Those of one attempt of a fetch; [`Error::WrongRange`] where the file has changed or the server sends all of it.
    pub async fn read_part(
        &self,
        source: &SourceUrl,
        offset: u64,
        len: u64,
        validator: Option<&Validator>,
    ) -> Result<Vec<u8>> {
        let (head, body) = self.requester.get(source, Ask::Part { offset, len, validator }).await?;
        if head.start_bytes != offset || !head.ranges {
            return Err(Error::WrongRange { reason: "the whole file came instead of a part".to_owned() });
        }
        receive_part(body, len, self.policy.timeouts.idle, &source.host().to_string()).await
    }

    /// Fetches a file into `destination`, and tries again what may pass, as often as the policy says.
    ///
    /// Runs of zeros become holes. What is needed to go on after an interruption lies beside the file, in
    /// `<destination>.resume`: the same call continues after an error, a cancellation, a kill or a power loss, from
    /// the last byte that is surely there, if the server still has the same version, else from the start. A file
    /// that is complete is not fetched again, so its user calls [`discard`](crate::discard) when done with it.
    ///
    /// The complete file is not synced: it is meant to be read and discarded. Cancelling keeps what was fetched, as
    /// does dropping the future, only that the file is in use for a moment longer then.
    ///
    /// # Errors
    /// Any but [`Error::InvalidUrl`] and [`Error::Setup`]; the last attempt's.
    pub async fn fetch(
        &self,
        source: &SourceUrl,
        destination: &Path,
        options: &FetchOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Fetched> {
        let (host, position) = (source.host().to_string(), AtomicU64::new(0));
        let job = Job { source, destination, options, progress, cancel, host, position };
        let mut attempts = Attempts::new(&self.policy.retry);
        loop {
            let error = match self.attempt(&job).await {
                Err(error) if error.is_retryable() => error,
                ended => return ended,
            };
            let Some(pause) = attempts.failed(job.position.load(Ordering::Relaxed)) else {
                return Err(error);
            };
            tracing::info!(%source, %error, ?pause, "a fetch is tried again");
            cancellable(cancel, tokio::time::sleep(pause)).await?;
        }
    }

    async fn attempt(&self, job: &Job<'_>) -> Result<Fetched> {
        let (path, source) = (job.destination.to_owned(), job.source.clone());
        let partial = blocking(move || PartialFile::open(&path, &source)).await?;
        let answer = match partial.standing().clone() {
            Standing::Complete { size_bytes } => return reuse(partial, size_bytes, job.options).await,
            Standing::Begun { offset, validator } => {
                let ask = Ask::From { offset, validator: &validator };
                cancellable(job.cancel, self.requester.get(job.source, ask)).await?
            }
            Standing::Nothing => cancellable(job.cancel, self.requester.get(job.source, Ask::Whole)).await?,
        };
        match answer {
            Ok((head, response)) => self.receive(job, partial, head, response).await,
            Err(error @ Error::WrongRange { .. }) => {
                blocking(move || partial.forget()).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn receive(
        &self,
        job: &Job<'_>,
        partial: PartialFile,
        head: Head,
        response: Response,
    ) -> Result<Fetched> {
        let options = job.options;
        if !head.framed && options.expected_sha256.is_none() {
            return Err(Error::LengthUnknown);
        }
        check_size(head.total_bytes, options)?;
        let start = head.start_bytes;
        let total_bytes = head.total_bytes;
        let (partial, state) = blocking(move || partial.begin(&head)).await?;
        let validator = state.validator.clone();
        job.position.store(start, Ordering::Relaxed);
        let writer = Writer::start(partial, state, start, options.expected_sha256);
        let reception = Reception {
            timeouts: &self.policy.timeouts,
            max_bytes: options.max_bytes,
            progress: job.progress,
            cancel: job.cancel,
            host: &job.host,
            total_bytes,
            position: &job.position,
        };
        match reception.run(response, &writer).await {
            Ok(size_bytes) => {
                writer.finish().await?;
                Ok(Fetched { size_bytes, validator })
            }
            Err(error) => {
                writer.stop().await?;
                Err(error)
            }
        }
    }
}

/// Takes a file that an earlier fetch has completed.
async fn reuse(partial: PartialFile, size_bytes: u64, options: &FetchOptions) -> Result<Fetched> {
    check_size(Some(size_bytes), options)?;
    let expected = options.expected_sha256;
    blocking(move || {
        if let Some(expected) = expected {
            let found =
                digest_file(&partial.file, size_bytes).map_err(|error| Error::file(&partial.path, error))?;
            partial.check_digest(found, expected)?;
        }
        let validator = partial.state().and_then(|state| state.validator.clone());
        Ok(Fetched { size_bytes, validator })
    })
    .await
}

fn check_size(size_bytes: Option<u64>, options: &FetchOptions) -> Result<()> {
    let limit_bytes = options.max_bytes;
    match size_bytes {
        Some(size) if size > limit_bytes => Err(Error::TooLarge { limit_bytes, size_bytes }),
        _ => Ok(()),
    }
}

async fn cancellable<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T> {
    cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("file calls neither panic nor are aborted")
}
