//! Connections of clients, and the spelling of headers: COS's own clients look for `ETag` and `Content-Length` as they
//! are written in the documentation, while HTTP names have no case and are sent in lower case otherwise.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{Extensions, Response};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::patient::Patient;

/// Connections that are held at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what is sent to it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(300);
/// The names whose spelling matters to clients, as a request's head.
const SPELT: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nETag: x\r\nContent-Length: 0\r\nContent-Type: x\r\nContent-Range: x\r\n\
    Content-Encoding: x\r\nContent-Disposition: x\r\nContent-Language: x\r\nCache-Control: x\r\nLast-Modified: x\r\n\
    Accept-Ranges: x\r\nLocation: x\r\nDate: x\r\nConnection: close\r\n\r\n";
/// The buffer between both ends of the connection that `SPELT` is sent on.
const SPELT_BUFFER_BYTES: usize = 4 << 10;

/// Serves the router until `stop`, then waits for what is under way.
pub async fn serve<L: Listener>(mut listener: L, router: Router, stop: CancellationToken) {
    let spelling = spelling().await;
    let router =
        router.layer(axum::middleware::map_response(move |mut response: Response<axum::body::Body>| {
            response.extensions_mut().extend(spelling.clone());
            std::future::ready(response)
        }));
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    while let Some(accepted) = stop.run_until_cancelled(accept(&mut listener, &places)).await {
        let Some((stream, place)) = accepted else { break };
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        connections.spawn(async move {
            let served = http1::Builder::new()
                .preserve_header_case(true)
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(Patient::new(stream, TAKE_TIMEOUT)), service);
            let mut served = std::pin::pin!(served);
            // Where the client breaks off there is nothing to say, and nobody to say it to.
            if stop.run_until_cancelled(served.as_mut()).await.is_none() {
                served.as_mut().graceful_shutdown();
                let _ = served.await;
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn accept<L: Listener>(
    listener: &mut L,
    places: &Arc<Semaphore>,
) -> Option<(L::Io, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await;
    Some((stream, place))
}

/// What makes hyper spell the headers of an answer as those of `SPELT`.
///
/// hyper keeps the spelling of a request's headers in an extension of a private type, and uses such an extension of an
/// answer (see `http1::Builder::preserve_header_case`). So it is given a request with the names as they are to be.
async fn spelling() -> Extensions {
    let (mut client, server) = tokio::io::duplex(SPELT_BUFFER_BYTES);
    let found = Arc::new(OnceLock::new());
    let keep = Arc::clone(&found);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let _ = keep.set(request.extensions().clone());
        std::future::ready(Ok::<_, Infallible>(Response::new(axum::body::Body::empty())))
    });
    let serving =
        http1::Builder::new().preserve_header_case(true).serve_connection(TokioIo::new(server), service);
    let (written, served) = tokio::join!(client.write_all(SPELT), serving);
    if written.is_err() || served.is_err() {
        tracing::warn!("headers are in lower case: clients of COS do not find them");
    }
    found.get().cloned().unwrap_or_default()
}
