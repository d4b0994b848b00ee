//! A Network Block Device server: serves any [`kiln_block::BlockDevice`] as a read-only export.
//!
//! ```text
//! Listener ─► Server::serve ─► handshake (Exports resolves the name) ─► transmission
//!                                                        device calls on blocking threads
//! ```
//! It speaks the fixed newstyle handshake, structured replies and `base:allocation`. Deliberately absent: writing,
//! TLS, old-style negotiation, and any idea of images or accounts: who may read what is for [`Exports`] to say.

#![deny(unsafe_code)]

mod budget;
mod command;
mod device_call;
mod device_errors;
mod device_queue;
mod error;
mod export;
mod handshake;
mod limits;
mod listener;
mod option;
mod reply;
mod reply_writer;
mod server;
mod transmission;
mod wire;

pub use error::{Error, Result};
pub use export::{Export, Exports, Listing, ResolveError, SingleExport};
pub use limits::{Limits, MAX_REQUEST_BYTES, PREFERRED_BLOCK_BYTES};
pub use listener::{Listener, SocketAccess};
pub use server::Server;
