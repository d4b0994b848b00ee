//! `kiln instance screen`: an instance's screen for the VNC viewers of this machine. Viewers connect to a port of the
//! loopback address; each gets a WebSocket to the server, opened with a ticket of its own.

use std::net::{Ipv4Addr, SocketAddr};

use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use crate::client::{Client, Error, Upgraded};

/// How much of a viewer's bytes is sent in one message.
const CHUNK_BYTES: usize = 16 << 10;

/// Serves viewers, one after the other, until this process is ended.
pub(super) async fn show(client: &Client, instance: &str, port: u16) -> Result<(), Error> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener =
        TcpListener::bind(wanted).await.map_err(|error| format!("listening on {wanted}: {error}"))?;
    // Tells of what is wrong before a viewer is started.
    let mut screen = Some(open(client, instance).await?);
    eprintln!(
        "the screen of {instance} is at {}: point a VNC viewer there; end with Ctrl-C",
        listener.local_addr()?
    );
    loop {
        let (viewer, _) = listener.accept().await?;
        let screen = match screen.take() {
            Some(first) => first,
            None => open(client, instance).await?,
        };
        pass(viewer, screen).await;
    }
}

async fn open(client: &Client, instance: &str) -> Result<WebSocketStream<Upgraded>, Error> {
    let answer = client.cvm("DescribeInstanceVncUrl", &json!({ "InstanceId": instance })).await?;
    let url = answer["InstanceVncUrl"].as_str().unwrap_or_default();
    let upgraded = client.web_socket(url).await?;
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
}

/// Passes bytes between a viewer and a screen until either ends.
async fn pass(mut viewer: TcpStream, mut screen: WebSocketStream<Upgraded>) {
    let (mut from_viewer, mut to_viewer) = viewer.split();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        tokio::select! {
            read = from_viewer.read(&mut chunk) => {
                let Ok(length @ 1..) = read else { return };
                if screen.send(Message::Binary(chunk[..length].to_vec().into())).await.is_err() {
                    return;
                }
            }
            message = screen.next() => {
                let shown = match message {
                    Some(Ok(Message::Binary(shown))) => shown,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    _ => return,
                };
                if to_viewer.write_all(&shown).await.is_err() {
                    return;
                }
            }
        }
    }
}
