//! Who signed a request, how, and what it asks for: read from headers or, with the older signatures, from parameters.
//!
//! Nothing here is proven yet: `authentication` does that. Not here: the action's own parameters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kiln_model::SecretId;

use crate::error::Error;
use crate::http_request::HttpRequest;
use crate::parameter_signature::Method;
use crate::tc3;

/// The longest SecretId that is looked up.
const MAX_SECRET_ID_BYTES: usize = 128;
/// The most headers that a signature can name.
const MAX_SIGNED_HEADERS: usize = 64;
/// The most parameters that an older signature can cover.
const MAX_SIGNED_PARAMETERS: usize = 10_000;
/// The parameters that every action has with the older signatures.
const COMMON_PARAMETERS: [&str; 12] = [
    "Action",
    "Version",
    "Region",
    "Timestamp",
    "Nonce",
    "SecretId",
    "Signature",
    "SignatureMethod",
    "Token",
    "Language",
    "RequestClient",
    "SignatureVersion",
];

/// A request as its sender claims it to be.
#[derive(Debug, Clone)]
pub(crate) struct SignedRequest {
    /// Whose key is said to have signed it.
    pub(crate) secret_id: SecretId,
    /// When, in seconds since the epoch.
    pub(crate) timestamp: i64,
    /// The action's name.
    pub(crate) action: String,
    /// The version of the service; the legacy API has none.
    pub(crate) version: Option<String>,
    /// The region, where one is named.
    pub(crate) region: Option<String>,
    /// The signature, decoded.
    pub(crate) signature: Vec<u8>,
    /// What else is needed to compute the signature.
    pub(crate) scheme: Scheme,
}

/// How a request is signed.
#[derive(Debug, Clone)]
pub(crate) enum Scheme {
    /// `TC3-HMAC-SHA256`.
    Tc3 {
        /// The date of the credential scope.
        date: String,
        /// The service of the credential scope.
        service: String,
        /// The names of the signed headers, as they came.
        signed_headers: String,
        /// Whether the body is not covered.
        unsigned_payload: bool,
    },
    /// `HmacSHA1` or `HmacSHA256`.
    Parameters {
        /// Which of the two.
        method: Method,
        /// All parameters but the signature.
        signed: Vec<(String, String)>,
    },
}

impl SignedRequest {
    /// Reads what a request says about itself.
    pub(crate) fn read(http: &HttpRequest) -> Result<Self, Error> {
        match http.header("authorization")? {
            Some(authorization) => Self::read_headers(http, authorization),
            None => Self::read_parameters(http),
        }
    }

    fn read_headers(http: &HttpRequest, authorization: &str) -> Result<Self, Error> {
        let authorization = Authorization::parse(authorization)?;
        let header = |name: &str| http.header(name)?.ok_or_else(|| Error::MissingParameter(name.to_owned()));
        if http.header("X-TC-Token")?.is_some_and(|token| !token.is_empty()) {
            return Err(Error::TokenUnsupported);
        }
        Ok(Self {
            secret_id: secret_id(authorization.secret_id)?,
            timestamp: parse_timestamp(header("X-TC-Timestamp")?)?,
            action: header("X-TC-Action")?.to_owned(),
            version: Some(header("X-TC-Version")?.to_owned()),
            region: http.header("X-TC-Region")?.filter(|region| !region.is_empty()).map(str::to_owned),
            signature: hex::decode(authorization.signature)
                .map_err(|_| Error::InvalidAuthorization("the signature is not hexadecimal"))?,
            scheme: Scheme::Tc3 {
                date: authorization.date.to_owned(),
                service: authorization.service.to_owned(),
                signed_headers: authorization.signed_headers.to_owned(),
                unsigned_payload: http.header("X-TC-Content-SHA256")? == Some(tc3::UNSIGNED_PAYLOAD),
            },
        })
    }

    fn read_parameters(http: &HttpRequest) -> Result<Self, Error> {
        let encoded = match http.media_type()?.as_str() {
            _ if http.method == axum::http::Method::GET => http.query.as_bytes(),
            "application/x-www-form-urlencoded" => &http.body,
            _ => return Err(Error::InvalidAuthorization("there is no Authorization header")),
        };
        let pairs = url::form_urlencoded::parse(encoded).into_owned();
        let mut signed: Vec<(String, String)> = pairs.take(MAX_SIGNED_PARAMETERS + 1).collect();
        // Nothing is proven yet: no more than this is sorted and signed for somebody who only claims to have a key.
        if signed.len() > MAX_SIGNED_PARAMETERS {
            return Err(Error::InvalidRequest(format!(
                "it has more than {MAX_SIGNED_PARAMETERS} parameters"
            )));
        }
        let value = |name: &str| {
            let found = signed.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            found.filter(|value| !value.is_empty())
        };
        let required = |name: &str| value(name).ok_or_else(|| Error::MissingParameter(name.to_owned()));
        let Some(signature) = value("Signature") else {
            return Err(Error::InvalidAuthorization(
                "there is neither an Authorization header nor a Signature",
            ));
        };
        if value("Token").is_some() {
            return Err(Error::TokenUnsupported);
        }
        let method = match value("SignatureMethod").as_deref() {
            None | Some("HmacSHA1") => Method::HmacSha1,
            Some("HmacSHA256") => Method::HmacSha256,
            Some(_) => {
                return Err(Error::InvalidAuthorization("SignatureMethod is not HmacSHA1 or HmacSHA256"));
            }
        };
        required("Nonce")?;
        let (id, timestamp, action) = (required("SecretId")?, required("Timestamp")?, required("Action")?);
        let (version, region) = (value("Version"), value("Region"));
        signed.retain(|(name, _)| name != "Signature");
        Ok(Self {
            secret_id: secret_id(&id)?,
            timestamp: parse_timestamp(&timestamp)?,
            action,
            version,
            region,
            signature: BASE64
                .decode(signature)
                .map_err(|_| Error::InvalidAuthorization("the signature is not base64"))?,
            scheme: Scheme::Parameters { method, signed },
        })
    }

    /// Whether the signature says which service is addressed. The SDK for Node.js takes the service from the endpoint,
    /// of which an address tells none.
    pub(crate) fn names_a_service(&self) -> bool {
        match &self.scheme {
            Scheme::Tc3 { service, .. } => {
                service != "localhost" && !service.bytes().all(|byte| byte.is_ascii_digit())
            }
            Scheme::Parameters { .. } => false,
        }
    }

    /// The service that is addressed: that of the credential scope, or else the host's first label.
    pub(crate) fn service<'a>(&'a self, host: &'a str) -> &'a str {
        match &self.scheme {
            Scheme::Tc3 { service, .. } => service,
            Scheme::Parameters { .. } => host.split(['.', ':']).next().unwrap_or_default(),
        }
    }
}

/// Whether a parameter of the older signatures belongs to every action.
pub(crate) fn is_common_parameter(name: &str) -> bool {
    COMMON_PARAMETERS.contains(&name)
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    secret_id: &'a str,
    date: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        let Some((tc3::ALGORITHM, fields)) = text.split_once(' ') else {
            return Err(Error::InvalidAuthorization("the algorithm is not TC3-HMAC-SHA256"));
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let slot = match field.trim().split_once('=') {
                Some(("Credential", value)) => (&mut credential, value),
                Some(("SignedHeaders", value)) => (&mut signed_headers, value),
                Some(("Signature", value)) => (&mut signature, value),
                _ => return Err(Error::InvalidAuthorization("it has a field that is not known")),
            };
            if slot.0.replace(slot.1).is_some() {
                return Err(Error::InvalidAuthorization("it has a field twice"));
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            return Err(Error::InvalidAuthorization("Credential, SignedHeaders or Signature is missing"));
        };
        let scope: Vec<&str> = credential.split('/').collect();
        let [secret_id, date, service, tc3::TERMINATOR] = scope[..] else {
            return Err(Error::InvalidAuthorization("Credential is not SecretId/date/service/tc3_request"));
        };
        check_signed_headers(signed_headers)?;
        Ok(Self { secret_id, date, service, signed_headers, signature })
    }
}

fn check_signed_headers(signed_headers: &str) -> Result<(), Error> {
    let names: Vec<String> = signed_headers.split(';').map(str::to_ascii_lowercase).collect();
    if names.len() > MAX_SIGNED_HEADERS {
        return Err(Error::InvalidAuthorization("SignedHeaders names too many headers"));
    }
    if !["host", "content-type"].iter().all(|needed| names.iter().any(|name| name == needed)) {
        return Err(Error::InvalidAuthorization("SignedHeaders must name host and content-type"));
    }
    Ok(())
}

fn secret_id(text: &str) -> Result<SecretId, Error> {
    if text.is_empty()
        || text.len() > MAX_SECRET_ID_BYTES
        || !text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Error::SecretIdNotFound);
    }
    Ok(SecretId::from_trusted(text))
}

fn parse_timestamp(text: &str) -> Result<i64, Error> {
    text.parse().map_err(|_| Error::MistypedParameter {
        path: "Timestamp".to_owned(),
        expected: "a number of seconds since 1970",
        found: "something else",
    })
}
