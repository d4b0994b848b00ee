//! Screens of instances for viewers in browsers and elsewhere: RFB in the binary messages of a WebSocket, as noVNC and
//! websockify speak it. The ticket in the path is the whole of the authentication; it is valid once.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_service::{RefusalKind, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::server::Api;

/// The path under which a ticket is used.
pub(crate) const PATH: &str = "/vnc/{ticket}";
/// What older viewers call the messages of such a WebSocket.
const SUBPROTOCOL: &str = "binary";
/// The most screens that are shown at once.
const MAX_SCREENS: usize = 256;
/// The longest message of a viewer, in bytes; keys and the pointer need a few.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// How much of a screen's bytes is sent in one message.
const CHUNK_BYTES: usize = 32 << 10;

/// The path of a ticket.
pub(crate) fn path(ticket: &str) -> String {
    PATH.replace("{ticket}", ticket)
}

/// The screens that are shown.
pub(crate) struct Screens(Arc<Semaphore>);

impl Default for Screens {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SCREENS)))
    }
}

/// Shows the screen that a ticket leads to.
pub(crate) async fn show(
    State(api): State<Api>,
    Path(ticket): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(place) = Arc::clone(&api.shared.screens.0).try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "Too many screens are open. Try again later.");
    };
    let screen = match open(&api.shared.service, &ticket).await {
        Ok(screen) => screen,
        Err(refusal) => return refusal,
    };
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |viewer| {
        pass(viewer, screen).await;
        drop(place);
    })
}

async fn open(service: &Service, ticket: &str) -> Result<UnixStream, Response> {
    let screen = service.open_screen(ticket).await.map_err(|refusal| {
        let denied = refusal.kind == RefusalKind::Denied;
        let status = if denied { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
        refused(status, &refusal.message)
    })?;
    screen
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(screen))
        .map_err(|error| refused(StatusCode::SERVICE_UNAVAILABLE, &format!("The screen: {error}.")))
}

fn refused(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

/// Passes bytes between a viewer and a screen until either ends.
async fn pass(mut viewer: WebSocket, screen: UnixStream) {
    let (mut from_screen, mut to_screen) = screen.into_split();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        tokio::select! {
            read = from_screen.read(&mut chunk) => {
                let Ok(length @ 1..) = read else { break };
                if viewer.send(Message::Binary(Bytes::copy_from_slice(&chunk[..length]))).await.is_err() {
                    break;
                }
            }
            message = viewer.recv() => {
                let said = match message {
                    Some(Ok(Message::Binary(said))) => said,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(_) | Message::Close(_)) | Err(_)) | None => break,
                };
                if to_screen.write_all(&said).await.is_err() {
                    break;
                }
            }
        }
    }
}
