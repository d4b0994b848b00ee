//! The Tencent Cloud API 3.0 over HTTP: signatures, envelopes, parameters, error codes. The legacy API v2 is in `v2`.
//!
//! ```text
//! HttpRequest ─► SignedRequest ─► authentication ─► Action (table) ─► Arguments ─► Command ─► Service ─► Answer ─► envelope
//! ```
//!
//! A request becomes a [`kiln_service::Command`] or an error before the service sees it, and the service's answer is
//! rendered here in the public shapes. Deliberately absent: rules. What an account may do, which names are free and
//! which states allow what, the service decides. Nothing here logs a parameter, a signature or a key.

mod actions;
mod authentication;
pub mod client;
mod envelope;
mod error;
mod http_request;
mod parameter;
mod parameter_signature;
mod render;
mod replay;
mod screen;
mod server;
mod signed_request;
mod tc3;
mod v2;

pub use render::image::report_shape;
pub use server::{Api, ApiConfig, router};
