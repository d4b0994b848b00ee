//! Signed calls to a server.

use std::path::Path;

use kiln_model::Timestamp;
use kiln_tencent_api::client::{Call, Credentials as SigningKey, sign};
use reqwest::StatusCode;
pub(crate) use reqwest::Upgraded;
use reqwest::header::{self, HeaderMap, HeaderValue};
use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::arguments::Connection;
use crate::config::{DEFAULT_DATA_DIR, DEFAULT_LISTEN};
use crate::credentials::Credentials;
use crate::tls::Authority;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Of the CBS service as well.
const CVM_VERSION: &str = "2017-03-12";
const KILN_VERSION: &str = "2026-11-01";

/// A server, a key and a region.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: url::Url,
    secret_id: String,
    secret_key: String,
    region: String,
}

impl Client {
    /// Takes the key from the arguments or the environment, else from the data directory.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Error> {
        let (secret_id, secret_key) = match (&connection.secret_id, &connection.secret_key) {
            (Some(id), Some(key)) => (id.clone(), key.clone()),
            (None, None) => {
                let data_dir = connection.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR));
                let read = Credentials::read(data_dir).map_err(|error| {
                    format!(
                        "no key: set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or name the server's data \
                         directory with --data-dir ({}: {error})",
                        Credentials::path(data_dir).display()
                    )
                })?;
                (read.secret_id, read.secret_key)
            }
            _ => return Err("give both --secret-id and --secret-key, or neither".into()),
        };
        let default = format!("http://{DEFAULT_LISTEN}");
        let text = connection.endpoint.as_deref().unwrap_or(&default);
        let endpoint: url::Url = text.parse().map_err(|error| format!("endpoint {text:?}: {error}"))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(format!("endpoint {text:?}: use a form such as http://{DEFAULT_LISTEN}").into());
        }
        // The server is often this very machine; a proxy of the environment would be asked in vain.
        let mut http = reqwest::Client::builder().no_proxy();
        if let Some(authority) = authority(connection)? {
            http = http.add_root_certificate(authority);
        }
        let http = http.build()?;
        Ok(Self { http, endpoint, secret_id, secret_key, region: connection.region.clone() })
    }

    /// What sends requests, and trusts the server's authority.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.secret_id, &self.secret_key)
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Calls an action of the CVM service.
    pub(crate) async fn cvm(&self, action: &str, parameters: &Value) -> Result<Value, Error> {
        self.call("cvm", CVM_VERSION, action, &self.region, parameters).await
    }

    /// Calls an action of the CBS service.
    pub(crate) async fn cbs(&self, action: &str, parameters: &Value) -> Result<Value, Error> {
        self.call("cbs", CVM_VERSION, action, &self.region, parameters).await
    }

    /// Calls an action of the CVM service in another region.
    pub(crate) async fn cvm_in(
        &self,
        region: &str,
        action: &str,
        parameters: &Value,
    ) -> Result<Value, Error> {
        self.call("cvm", CVM_VERSION, action, region, parameters).await
    }

    /// Calls one of Kiln's own actions.
    pub(crate) async fn kiln(&self, action: &str, parameters: &Value) -> Result<Value, Error> {
        self.call("kiln", KILN_VERSION, action, &self.region, parameters).await
    }

    /// Calls one of Kiln's own actions in another region.
    pub(crate) async fn kiln_in(
        &self,
        region: &str,
        action: &str,
        parameters: &Value,
    ) -> Result<Value, Error> {
        self.call("kiln", KILN_VERSION, action, region, parameters).await
    }

    /// Opens a WebSocket at an address that the server gave.
    pub(crate) async fn web_socket(&self, url: &str) -> Result<Upgraded, Error> {
        let url = url.replacen("ws", "http", 1);
        let request = self.http.get(url).headers(HeaderMap::from_iter([
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(&generate_key())?),
        ]));
        let answer = request.send().await.map_err(|error| causes(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(answer.text().await?.trim().to_owned().into());
        }
        Ok(answer.upgrade().await?)
    }

    async fn call(
        &self,
        service: &str,
        version: &str,
        action: &str,
        region: &str,
        parameters: &Value,
    ) -> Result<Value, Error> {
        let body = serde_json::to_vec(parameters)?;
        let host = self.endpoint.host_str().unwrap_or_default();
        let host = self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let call = Call {
            service,
            host: &host,
            action,
            version,
            region: Some(region),
            timestamp: Timestamp::now(),
            body: &body,
        };
        let key = SigningKey { secret_id: &self.secret_id, secret_key: &self.secret_key };
        let mut request = self.http.post(self.endpoint.clone());
        for (name, value) in sign(&key, &call) {
            request = request.header(name, value);
        }
        let answer = request.body(body).send().await.map_err(|error| {
            let cause = causes(&error);
            format!("the server at {} does not answer ({cause}). Is `kiln serve` running?", self.endpoint)
        })?;
        let mut answer: Value =
            answer.json().await.map_err(|error| format!("the answer is no JSON: {error}"))?;
        let response = answer["Response"].take();
        match response.get("Error") {
            None => Ok(response),
            Some(error) => Err(format!(
                "{}: {}",
                error["Code"].as_str().unwrap_or("UnknownError"),
                error["Message"].as_str().unwrap_or_default()
            )
            .into()),
        }
    }
}

/// The authority that is named, or that of a data directory on this machine.
fn authority(connection: &Connection) -> Result<Option<reqwest::Certificate>, Error> {
    let own =
        Authority::certificate_path(connection.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR)));
    let path = match &connection.authority {
        Some(named) => named,
        None if own.exists() => &own,
        None => return Ok(None),
    };
    let about = |error: &dyn std::fmt::Display| format!("the authority {}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| about(&error))?;
    Ok(Some(reqwest::Certificate::from_pem(&text).map_err(|error| about(&error))?))
}

/// An error with what it comes from: that a certificate is not trusted stands at the end of the chain.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
