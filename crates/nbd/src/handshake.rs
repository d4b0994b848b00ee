//! The negotiation before the transmission phase: fixed newstyle, one option at a time.
//!
//! Deliberately without TLS: exports that leave the machine go through a tunnel, or are named by capabilities.
//! Invariant: nothing about an export is told that [`Exports`] does not hand out for exactly the name asked for;
//! a client that keeps guessing names is disconnected.

use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::export::{Export, Exports, Listing, ResolveError};
use crate::limits::{
    MAX_NAME_BYTES, MAX_OPTION_BYTES, MAX_OPTIONS, MAX_REQUEST_BYTES, MAX_UNKNOWN_NAMES, MIN_BLOCK_BYTES,
    PREFERRED_BLOCK_BYTES,
};
use crate::option::{self, ClientOption, InfoRequest, MetaRequest, OptionError};
use crate::wire::{self, info, option_reply};
use crate::{Error, Result};

/// What the two sides agreed on.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) export: Export,
    pub(crate) structured: bool,
    /// Whether block status of `base:allocation` was asked for.
    pub(crate) allocation: bool,
}

/// Negotiates until the client starts with an export; `None` where it leaves instead.
///
/// # Errors
/// Where the client breaks the protocol or the connection fails. Cancel-safe only in that the connection is to be
/// dropped with it.
pub(crate) async fn negotiate<R, W>(reader: R, writer: W, exports: &dyn Exports) -> Result<Option<Negotiated>>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut handshake = Handshake {
        reader,
        writer,
        exports,
        no_zeroes: false,
        structured: false,
        allocation_for: None,
        resolved: None,
        unknown_names: 0,
    };
    handshake.greet().await?;
    for _ in 0..MAX_OPTIONS {
        let (code, parsed) = handshake.read_option().await?;
        let step = match parsed {
            Ok(option) => handshake.answer(code, option).await?,
            Err(error) => handshake.answer_malformed(code, error).await?,
        };
        match step {
            Step::Go(export) => return Ok(Some(handshake.conclude(export))),
            Step::Leave => return Ok(None),
            Step::Next => {}
        }
    }
    Err(Error::Protocol("too many options"))
}

enum Step {
    Next,
    Go((String, Export)),
    Leave,
}

struct Handshake<'a, R, W> {
    reader: R,
    writer: W,
    exports: &'a dyn Exports,
    no_zeroes: bool,
    structured: bool,
    /// The name for which block status was last asked for.
    allocation_for: Option<String>,
    /// The last name that resolved: clients ask about it several times in a row.
    resolved: Option<(String, Export)>,
    unknown_names: usize,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Handshake<'_, R, W> {
    async fn greet(&mut self) -> Result<()> {
        let ours = wire::FLAG_FIXED_NEWSTYLE | wire::FLAG_NO_ZEROES;
        self.writer.write_u64(wire::GREETING_MAGIC).await?;
        self.writer.write_u64(wire::OPTION_MAGIC).await?;
        self.writer.write_u16(ours).await?;
        let theirs = self.reader.read_u32().await?;
        if theirs & !u32::from(ours) != 0 {
            return Err(Error::Protocol("unknown client flags"));
        }
        self.no_zeroes = theirs & u32::from(wire::FLAG_NO_ZEROES) != 0;
        Ok(())
    }

    async fn read_option(&mut self) -> Result<(u32, std::result::Result<ClientOption, OptionError>)> {
        if self.reader.read_u64().await? != wire::OPTION_MAGIC {
            return Err(Error::Protocol("an option does not begin with its magic number"));
        }
        let code = self.reader.read_u32().await?;
        let len = self.reader.read_u32().await?;
        if len > MAX_OPTION_BYTES {
            if code != wire::option::EXPORT_NAME {
                self.reply(code, option_reply::ERR_TOO_BIG, b"the option is too long").await?;
            }
            return Err(Error::Protocol("an option is too long"));
        }
        let mut payload = vec![0; len as usize];
        self.reader.read_exact(&mut payload).await?;
        Ok((code, option::parse(code, &payload)))
    }

    async fn answer(&mut self, code: u32, option: ClientOption) -> Result<Step> {
        match option {
            ClientOption::ExportName(name) => self.start_unconditionally(name).await,
            ClientOption::Abort => {
                // The client may be gone already, and need not wait for this.
                let _ = self.reply(code, option_reply::ACK, &[]).await;
                Ok(Step::Leave)
            }
            ClientOption::List => self.list(code).await,
            ClientOption::Info(request) => self.describe(code, &request).await.map(|_| Step::Next),
            ClientOption::Go(request) => Ok(match self.describe(code, &request).await? {
                Some(export) => Step::Go((request.name, export)),
                None => Step::Next,
            }),
            ClientOption::StructuredReply => {
                self.structured = true;
                self.acknowledge(code).await
            }
            ClientOption::ListMetaContext(request) => self.meta_contexts(code, request, false).await,
            ClientOption::SetMetaContext(request) => self.meta_contexts(code, request, true).await,
            ClientOption::Unsupported => {
                self.reply(code, option_reply::ERR_UNSUP, b"not supported").await?;
                Ok(Step::Next)
            }
        }
    }

    async fn answer_malformed(&mut self, code: u32, error: OptionError) -> Result<Step> {
        let (kind, reason) = match error {
            OptionError::Invalid(reason) => (option_reply::ERR_INVALID, reason),
            OptionError::TooBig(reason) => (option_reply::ERR_TOO_BIG, reason),
        };
        if code == wire::option::EXPORT_NAME {
            return Err(Error::Protocol(reason));
        }
        self.reply(code, kind, reason.as_bytes()).await?;
        Ok(Step::Next)
    }

    /// `EXPORT_NAME`, the option of old clients.
    async fn start_unconditionally(&mut self, name: String) -> Result<Step> {
        let Ok(export) = self.resolve(&name).await? else {
            return Err(Error::Protocol("no such export"));
        };
        let mut answer = export_facts(&export).to_vec();
        if !self.no_zeroes {
            answer.resize(answer.len() + wire::EXPORT_NAME_PADDING, 0);
        }
        self.writer.write_all(&answer).await?;
        Ok(Step::Go((name, export)))
    }

    async fn list(&mut self, code: u32) -> Result<Step> {
        match self.exports.list().await {
            Ok(Listing::Names(names)) => {
                for name in names.iter().filter(|name| name.len() <= MAX_NAME_BYTES) {
                    let len = name.len() as u32;
                    let payload = [&len.to_be_bytes(), name.as_bytes()].concat();
                    self.reply(code, option_reply::SERVER, &payload).await?;
                }
                self.acknowledge(code).await
            }
            Ok(Listing::Refused) => self.refuse(code, ResolveError::Denied).await,
            Err(error) => self.refuse(code, error).await,
        }
    }

    /// Answers `INFO` and the telling part of `GO`.
    async fn describe(&mut self, code: u32, request: &InfoRequest) -> Result<Option<Export>> {
        let export = match self.resolve(&request.name).await? {
            Ok(export) => export,
            Err(error) => {
                self.refuse(code, error).await?;
                return Ok(None);
            }
        };
        self.reply_info(code, info::EXPORT, &export_facts(&export)).await?;
        let sizes = [MIN_BLOCK_BYTES, PREFERRED_BLOCK_BYTES, MAX_REQUEST_BYTES].map(u32::to_be_bytes);
        self.reply_info(code, info::BLOCK_SIZE, &sizes.concat()).await?;
        if request.kinds.contains(&info::NAME) {
            self.reply_info(code, info::NAME, request.name.as_bytes()).await?;
        }
        if request.kinds.contains(&info::DESCRIPTION) && export.description.len() <= MAX_NAME_BYTES {
            self.reply_info(code, info::DESCRIPTION, export.description.as_bytes()).await?;
        }
        self.acknowledge(code).await?;
        Ok(Some(export))
    }

    async fn meta_contexts(&mut self, code: u32, request: MetaRequest, set: bool) -> Result<Step> {
        if set {
            self.allocation_for = None;
        }
        if !self.structured {
            self.reply(code, option_reply::ERR_INVALID, b"structured replies come first").await?;
            return Ok(Step::Next);
        }
        if let Err(error) = self.resolve(&request.name).await? {
            return self.refuse(code, error).await;
        }
        if request.allocation {
            let id = if set { wire::ALLOCATION_CONTEXT_ID } else { 0 };
            let payload = [&id.to_be_bytes(), wire::ALLOCATION_CONTEXT.as_bytes()].concat();
            self.reply(code, option_reply::META_CONTEXT, &payload).await?;
            if set {
                self.allocation_for = Some(request.name);
            }
        }
        self.acknowledge(code).await
    }

    async fn resolve(&mut self, name: &str) -> Result<std::result::Result<Export, ResolveError>> {
        if let Some((known, export)) = &self.resolved
            && known == name
        {
            return Ok(Ok(export.clone()));
        }
        let answer = self.exports.resolve(name).await;
        match &answer {
            Ok(export) => self.resolved = Some((name.to_owned(), export.clone())),
            Err(_) => self.unknown_names += 1,
        }
        if self.unknown_names > MAX_UNKNOWN_NAMES {
            return Err(Error::Protocol("too many names that do not resolve"));
        }
        Ok(answer)
    }

    async fn refuse(&mut self, code: u32, error: ResolveError) -> Result<Step> {
        let kind = match error {
            ResolveError::Unknown => option_reply::ERR_UNKNOWN,
            ResolveError::Denied => option_reply::ERR_POLICY,
            ResolveError::Unavailable => option_reply::ERR_SHUTDOWN,
        };
        self.reply(code, kind, error.to_string().as_bytes()).await?;
        Ok(Step::Next)
    }

    async fn acknowledge(&mut self, code: u32) -> Result<Step> {
        self.reply(code, option_reply::ACK, &[]).await?;
        Ok(Step::Next)
    }

    async fn reply_info(&mut self, code: u32, kind: u16, fields: &[u8]) -> Result<()> {
        self.reply(code, option_reply::INFO, &[&kind.to_be_bytes(), fields].concat()).await
    }

    async fn reply(&mut self, code: u32, kind: u32, payload: &[u8]) -> Result<()> {
        let mut reply = wire::OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        for field in [code, kind, payload.len() as u32] {
            reply.extend_from_slice(&field.to_be_bytes());
        }
        reply.extend_from_slice(payload);
        Ok(self.writer.write_all(&reply).await?)
    }

    fn conclude(self, (name, export): (String, Export)) -> Negotiated {
        // What was agreed for one export says nothing about another.
        let allocation = self.structured && self.allocation_for.is_some_and(|agreed| agreed == name);
        Negotiated { export, structured: self.structured, allocation }
    }
}

/// Size and transmission flags, as `EXPORT_NAME` and the export information carry them.
fn export_facts(export: &Export) -> [u8; 10] {
    let mut facts = [0; 10];
    facts[..8].copy_from_slice(&export.device.size_bytes().to_be_bytes());
    facts[8..].copy_from_slice(&wire::TRANSMISSION_FLAGS.to_be_bytes());
    facts
}
