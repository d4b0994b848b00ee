//! Accepts connections and sees each to its end. One server per process: its limits hold over all its listeners.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::budget::ServerBudget;
use crate::export::Exports;
use crate::handshake::negotiate;
use crate::limits::{ACCEPT_RETRY, READ_BUFFER_BYTES};
use crate::listener::{Connection, Listener};
use crate::transmission::transmit;
use crate::{Error, Limits, Result};

/// Serves exports on any number of listeners.
#[derive(Debug, Clone)]
pub struct Server {
    budget: Arc<ServerBudget>,
}

impl Server {
    /// A server with these limits.
    ///
    /// # Errors
    /// [`Error::Limits`] where they contradict the protocol.
    pub fn new(limits: Limits) -> Result<Self> {
        Ok(Self { budget: Arc::new(ServerBudget::new(limits)?) })
    }

    /// Serves `exports` to whoever connects, until `shutdown` resolves; then accepts nobody, lets requests in
    /// flight end within the limits' shutdown timeout, closes the connections and returns.
    ///
    /// A device call that is stuck stays behind on its blocking thread. Dropping the future closes at once.
    pub async fn serve<S>(&self, listener: Listener, exports: Arc<dyn Exports>, shutdown: S)
    where
        S: Future<Output = ()> + Send,
    {
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = self.accept_all(&listener, &exports, &closing, &mut connections) => {}
            () = shutdown => {}
        }
        drop(listener);
        // The receivers are those of the connections; there may be none.
        let _ = close.send(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.budget.limits.shutdown_timeout, drained).await.is_err() {
            tracing::warn!(open = connections.len(), "NBD connections closed with requests in flight");
        }
        connections.shutdown().await;
    }

    async fn accept_all(
        &self,
        listener: &Listener,
        exports: &Arc<dyn Exports>,
        closing: &watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let places = Arc::new(Semaphore::new(listener.max_connections));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (connection, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = listener.name(), "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Some(place) = self.admit(&places) else {
                tracing::warn!(%peer, "NBD client turned away: too many connections");
                continue;
            };
            let client = Client {
                budget: Arc::clone(&self.budget),
                exports: Arc::clone(exports),
                peer,
                closing: closing.clone(),
                _place: place,
            };
            connections.spawn(client.run(connection));
        }
    }

    /// A place on the listener and one on the server, if there are.
    fn admit(&self, places: &Arc<Semaphore>) -> Option<[OwnedSemaphorePermit; 2]> {
        let here = Arc::clone(places).try_acquire_owned().ok()?;
        let anywhere = Arc::clone(&self.budget.connections).try_acquire_owned().ok()?;
        Some([here, anywhere])
    }
}

/// One connection, from the greeting to the end.
struct Client {
    budget: Arc<ServerBudget>,
    exports: Arc<dyn Exports>,
    peer: Arc<str>,
    closing: watch::Receiver<bool>,
    _place: [OwnedSemaphorePermit; 2],
}

impl Client {
    async fn run(self, connection: Connection) {
        let outcome = match connection {
            Connection::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                self.talk(reader, writer).await
            }
            Connection::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                self.talk(reader, writer).await
            }
        };
        match outcome {
            Ok(()) => {}
            Err(Error::Io(error)) if is_hang_up(error.kind()) => {
                tracing::debug!(peer = %self.peer, "NBD client hung up: {error}");
            }
            Err(error) => tracing::warn!(peer = %self.peer, "NBD connection closed: {error}"),
        }
    }

    async fn talk<R, W>(&self, reader: R, mut writer: W) -> Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
        let mut closing = self.closing.clone();
        let handshake = negotiate(&mut reader, &mut writer, &*self.exports);
        let negotiated = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
            done = tokio::time::timeout(self.budget.limits.handshake_timeout, handshake) => {
                done.map_err(|_| Error::HandshakeTimeout)??
            }
        };
        let Some(negotiated) = negotiated else { return Ok(()) };
        tracing::debug!(peer = %self.peer, export = %negotiated.export.description, "NBD client attached");
        transmit(reader, writer, negotiated, &self.budget, Arc::clone(&self.peer), closing).await
    }
}

fn is_hang_up(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
