//! A machine's screen, keyboard and mouse, over the RFB protocol (VNC, RFC 6143).
//!
//! QEMU listens nowhere for viewers: each is a connection that Kiln makes and gives it. Whoever has the other end is a
//! viewer, so authentication is Kiln's. Deliberately absent: the protocol itself.

use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::error::{Error, Result};
use crate::qmp::Qmp;

/// What QEMU calls a connection between being given it and making a viewer of it.
const NAME: &str = "viewer";

/// A new connection to the screen; QEMU speaks first.
///
/// # Errors
/// [`Error::Refused`] where the machine was started without a screen; as [`Qmp::execute`] otherwise.
pub(crate) async fn open(qmp: &mut Qmp) -> Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| Error::Monitor(error.to_string()))?;
    qmp.hand_over(NAME, theirs.into()).await?;
    let viewer = json!({ "protocol": "vnc", "fdname": NAME, "skipauth": true });
    let added = qmp.execute("add_client", viewer).await;
    if matches!(&added, Err(error) if error.is_refusal()) {
        // QEMU keeps a file that it was given until a command has taken it.
        qmp.execute("closefd", json!({ "fdname": NAME })).await?;
    }
    added.map(|_| ours)
}
