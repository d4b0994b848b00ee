//! Sends one message to one place: e-mail by SMTP, or a short message by a webhook.
//!
//! Not here: to whom, when, how often, and what it says; a message that could not be sent is its caller's to try again.
//! Invariant: nothing that is secret (passwords, tokens) is in an error.

mod email;
mod sms;

pub use email::{EmailConfig, EmailSender};
pub use sms::{SmsConfig, SmsSender};

/// How long one attempt may take, from the connection to the other side's answer.
const ATTEMPT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// The other side refuses, and will refuse again.
    #[error("refused: {0}")]
    Refused(String),
    /// It may work later.
    #[error("{0}")]
    Temporary(String),
}
