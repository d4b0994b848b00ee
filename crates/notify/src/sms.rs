//! Short messages, by a webhook: one POST of `{"phone", "text"}` for each. Any answer of 2xx takes it.

use serde_json::json;
use url::Url;

use crate::{ATTEMPT_TIMEOUT, Error};

/// The gateway.
#[derive(Clone)]
pub struct SmsConfig {
    /// Where is posted to.
    pub webhook: String,
    /// Sent as a bearer token, where there is one.
    pub token: Option<String>,
}

/// Written without the token.
impl std::fmt::Debug for SmsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmsConfig").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

/// Posts to one gateway.
#[derive(Clone)]
pub struct SmsSender {
    http: reqwest::Client,
    webhook: Url,
    token: Option<String>,
}

impl SmsSender {
    /// A sender; nothing is connected to yet.
    ///
    /// # Errors
    /// [`Error::Config`] where the address is none of http or https.
    pub fn new(config: &SmsConfig) -> Result<Self, Error> {
        let webhook: Url = config
            .webhook
            .parse()
            .ok()
            .filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                Error::Config(format!("the SMS webhook {:?} is no http(s) URL", config.webhook))
            })?;
        // The gateway is the operator's; a proxy of the environment, or another place, is not what was configured.
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Config(format!("the SMS webhook: {error}")))?;
        Ok(Self { http, webhook, token: config.token.clone() })
    }

    /// Sends a text to one number.
    ///
    /// # Errors
    /// [`Error::Refused`] for an answer of 400 to 499 (but 408 and 429), else [`Error::Temporary`].
    pub async fn send(&self, phone: &str, text: &str) -> Result<(), Error> {
        let mut request = self.http.post(self.webhook.clone()).json(&json!({ "phone": phone, "text": text }));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer =
            request.send().await.map_err(|error| Error::Temporary(error.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let sentence = format!("the SMS gateway answers with {status}");
        if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) {
            return Err(Error::Refused(sentence));
        }
        Err(Error::Temporary(sentence))
    }
}
