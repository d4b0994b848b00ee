//! Whether a request was signed by the key that it names, now, and whether it may repeat an earlier one.
//!
//! Not here: what the account may do. Invariants: signatures are compared in constant time; an unknown SecretId costs
//! the same arithmetic as a wrong signature; whether a key is disabled is told only to who can sign with it.

use kiln_model::{ApiKey, Timestamp};
use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::http_request::HttpRequest;
use crate::parameter_signature;
use crate::signed_request::{Scheme, SignedRequest};
use crate::tc3::{self, Covered};

/// How far a request's timestamp may be off the server's clock, in seconds.
pub(crate) const MAX_CLOCK_SKEW_SECONDS: u64 = 300;
/// Signs in the place of keys that do not exist.
const ABSENT_KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123";

/// Checks that `signed` was signed at about `now` with `key`, the key of its SecretId if there is one.
pub(crate) fn verify(
    http: &HttpRequest,
    signed: &SignedRequest,
    key: Option<&ApiKey>,
    now: Timestamp,
    allow_unsigned_payload: bool,
) -> Result<(), Error> {
    let seconds_off = signed.timestamp.abs_diff(now.0.div_euclid(1000));
    if seconds_off > MAX_CLOCK_SKEW_SECONDS {
        return Err(Error::SignatureExpired { seconds_off, allowed: MAX_CLOCK_SKEW_SECONDS });
    }
    let secret_key = key.map_or(ABSENT_KEY, |key| key.secret_key.as_str());
    let fits = match &signed.scheme {
        Scheme::Tc3 { date, service, signed_headers, unsigned_payload } => {
            if *unsigned_payload && !allow_unsigned_payload {
                return Err(Error::UnsignedPayload);
            }
            if tc3::utc_date(signed.timestamp).as_ref() != Some(date) {
                return Err(Error::InvalidAuthorization(
                    "the credential scope's date is not the timestamp's",
                ));
            }
            let payload = if *unsigned_payload { tc3::UNSIGNED_PAYLOAD.as_bytes() } else { &http.body };
            let covered = |canonical_headers: &str| {
                tc3::signature(
                    secret_key,
                    &Covered {
                        method: http.method.as_str(),
                        path: &http.path,
                        query: &http.query,
                        canonical_headers,
                        signed_headers,
                        payload,
                        timestamp: signed.timestamp,
                        date,
                        service,
                    },
                )
            };
            fits_a_form(http, signed_headers, &signed.signature, covered)?
        }
        Scheme::Parameters { method, signed: parameters } => {
            let (verb, host, path) = (http.method.as_str(), &http.host, &http.path);
            let expected = parameter_signature::signature(*method, secret_key, verb, host, path, parameters);
            bool::from(expected.ct_eq(&signed.signature))
        }
    };
    match key {
        None => Err(Error::SecretIdNotFound),
        Some(_) if !fits => Err(Error::SignatureFailure),
        Some(key) if !key.enabled => Err(Error::SecretIdDisabled),
        Some(_) => Ok(()),
    }
}

/// The documentation has header values signed in lower case, the SDKs sign them as they are; most sign the host with
/// its port, as they send it, the one for Node.js without: all are right.
fn fits_a_form(
    http: &HttpRequest,
    signed_headers: &str,
    claimed: &[u8],
    signature_over: impl Fn(&str) -> [u8; 32],
) -> Result<bool, Error> {
    let mut forms = vec![canonical_headers(http, signed_headers, &http.host)?];
    if let Some((name, _port)) = http.host.rsplit_once(':') {
        forms.push(canonical_headers(http, signed_headers, name)?);
    }
    let lowered: Vec<String> =
        forms.iter().map(|form| form.to_lowercase()).filter(|form| !forms.contains(form)).collect();
    forms.extend(lowered);
    let none = subtle::Choice::from(0);
    Ok(forms.iter().fold(none, |fits, form| fits | signature_over(form).ct_eq(claimed)).into())
}

fn canonical_headers(http: &HttpRequest, signed_headers: &str, host: &str) -> Result<String, Error> {
    let mut lines = String::new();
    for name in signed_headers.split(';') {
        let name = name.to_ascii_lowercase();
        let value = if name == "host" { Some(host) } else { http.header(&name)? };
        let Some(value) = value else {
            return Err(Error::InvalidAuthorization("SignedHeaders names a header that was not sent"));
        };
        lines.push_str(&format!("{name}:{value}\n"));
    }
    Ok(lines)
}
