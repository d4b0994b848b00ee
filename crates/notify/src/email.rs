//! E-mail by SMTP.

use std::sync::Arc;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::{ATTEMPT_TIMEOUT, Error};

/// Where e-mail is handed in.
#[derive(Clone)]
pub struct EmailConfig {
    /// `smtps://user:password@host`, `smtp://host:587?tls=required`, `smtp://host:25`.
    pub smtp: String,
    /// Who it is from.
    pub from: String,
}

/// Written without the URL, which can hold a password.
impl std::fmt::Debug for EmailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmailConfig").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Hands e-mail to one server.
#[derive(Clone)]
pub struct EmailSender {
    transport: Arc<AsyncSmtpTransport<Tokio1Executor>>,
    from: Mailbox,
}

impl EmailSender {
    /// A sender; nothing is connected to yet.
    ///
    /// # Errors
    /// [`Error::Config`] says which of the two values is wrong.
    pub fn new(config: &EmailConfig) -> Result<Self, Error> {
        let from = config
            .from
            .parse()
            .map_err(|error| Error::Config(format!("the sender {:?}: {error}", config.from)))?;
        // The library's own error could repeat the URL, and with it the password.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.smtp).map_err(|_| {
            Error::Config(
                "the SMTP address is no URL such as smtps://user:password@mail.example.org".to_owned(),
            )
        })?;
        Ok(Self { transport: Arc::new(builder.timeout(Some(ATTEMPT_TIMEOUT)).build()), from })
    }

    /// Sends plain text to one address.
    ///
    /// # Errors
    /// [`Error::Refused`] where the server says that it never takes this message, else [`Error::Temporary`].
    pub async fn send(&self, to: &str, subject: &str, text: &str) -> Result<(), Error> {
        let to: Mailbox = to.parse().map_err(|error| Error::Refused(format!("{to:?}: {error}")))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .map_err(|error| Error::Refused(error.to_string()))?;
        match tokio::time::timeout(ATTEMPT_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(cause(&error)),
            Err(_) => Err(Error::Temporary("the mail server took too long".to_owned())),
        }
    }
}

fn cause(error: &smtp::Error) -> Error {
    if error.is_permanent() { Error::Refused(error.to_string()) } else { Error::Temporary(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_told_without_its_password() {
        let config = |smtp: &str, from: &str| EmailConfig { smtp: smtp.to_owned(), from: from.to_owned() };
        for (smtp, from) in [
            ("imap://user:hunter2@mail", "kiln@example.org"),
            ("smtps://user:hunter2@mail.example.org", "nobody"),
        ] {
            let error = EmailSender::new(&config(smtp, from)).err().expect("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", config("smtps://user:hunter2@mail", "a@b")).contains("hunter2"));
    }
}
