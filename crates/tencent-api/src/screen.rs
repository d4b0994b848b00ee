//! Screens of instances for viewers in browsers and elsewhere: RFB in the binary messages of a WebSocket, as noVNC and
//! websockify speak it. The ticket in the path is the whole of the authentication; it is valid once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kiln_model::Uin;
use kiln_service::{OpenScreen, RefusalKind, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, interval_at, timeout};

use crate::server::Api;

/// The path under which a ticket is used.
pub(crate) const PATH: &str = "/vnc/{ticket}";
/// What older viewers call the messages of such a WebSocket.
const SUBPROTOCOL: &str = "binary";
/// The most screens that are shown at once.
const MAX_SCREENS: usize = 256;
/// The most of them that are one account's.
const MAX_SCREENS_OF_ACCOUNT: usize = 32;
/// How often a viewer is asked whether it is still there; it has until the next time to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The longest message of a viewer, in bytes; keys and the pointer need a few.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// How much of a screen's bytes is sent in one message.
const CHUNK_BYTES: usize = 32 << 10;

/// The path of a ticket.
pub(crate) fn path(ticket: &str) -> String {
    PATH.replace("{ticket}", ticket)
}

/// How many screens of each account are shown.
#[derive(Default)]
pub(crate) struct Screens(Mutex<HashMap<Uin, usize>>);

/// The place of one screen that is shown, given back when this is dropped.
struct Place {
    screens: Arc<Screens>,
    owner: Uin,
}

impl Screens {
    fn take(self: &Arc<Self>, owner: Uin) -> Option<Place> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.values().sum::<usize>() >= MAX_SCREENS {
            return None;
        }
        let own = shown.entry(owner).or_default();
        if *own >= MAX_SCREENS_OF_ACCOUNT {
            return None;
        }
        *own += 1;
        Some(Place { screens: Arc::clone(self), owner })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shown = self.screens.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = shown.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                shown.remove(&self.owner);
            }
        }
    }
}

/// Shows the screen that a ticket leads to.
pub(crate) async fn show(
    State(api): State<Api>,
    Path(ticket): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (owner, screen) = match open(&api.shared.service, &ticket).await {
        Ok(screen) => screen,
        Err(refusal) => return refusal,
    };
    let Some(place) = api.shared.screens.take(owner) else {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many screens are open. Close one and ask again.",
        );
    };
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |viewer| {
        pass(viewer, screen).await;
        drop(place);
    })
}

async fn open(service: &Service, ticket: &str) -> Result<(Uin, UnixStream), Response> {
    let OpenScreen { owner, connection } = service.open_screen(ticket).await.map_err(|refusal| {
        let denied = refusal.kind == RefusalKind::Denied;
        let status = if denied { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
        refused(status, &refusal.message)
    })?;
    connection
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(connection))
        .map(|screen| (owner, screen))
        .map_err(|error| refused(StatusCode::SERVICE_UNAVAILABLE, &format!("The screen: {error}.")))
}

fn refused(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

/// Passes bytes between a viewer and a screen until either ends, or the viewer is not there any more.
async fn pass(mut viewer: WebSocket, screen: UnixStream) {
    let (mut from_screen, mut to_screen) = screen.into_split();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    let mut heard = true;
    loop {
        let goes_on = tokio::select! {
            read = from_screen.read(&mut chunk) => match read {
                Ok(length @ 1..) => say(&mut viewer, Message::Binary(Bytes::copy_from_slice(&chunk[..length]))).await,
                Ok(0) | Err(_) => false,
            },
            message = viewer.recv() => {
                heard = true;
                match message {
                    Some(Ok(Message::Binary(said))) => to_screen.write_all(&said).await.is_ok(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => true,
                    Some(Ok(Message::Text(_) | Message::Close(_)) | Err(_)) | None => false,
                }
            }
            _ = ping.tick() => {
                std::mem::take(&mut heard) && say(&mut viewer, Message::Ping(Bytes::new())).await
            }
        };
        if !goes_on {
            break;
        }
    }
}

/// Sends a message, which a viewer that takes nothing does not hold up for ever.
async fn say(viewer: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(PING_INTERVAL, viewer.send(message)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_leaves_places_to_others_and_gives_its_own_back() {
        let screens = Arc::new(Screens::default());
        let mut places: Vec<_> = (0..MAX_SCREENS_OF_ACCOUNT).map(|_| screens.take(Uin(1))).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(screens.take(Uin(1)).is_none());
        assert!(screens.take(Uin(2)).is_some(), "others have their own");
        places.pop();
        assert!(screens.take(Uin(1)).is_some());
        drop(places);
        assert!(screens.0.lock().expect("not poisoned").is_empty());
    }
}
