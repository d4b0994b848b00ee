//! AWS Signature Version 4 for S3: signing a request by headers, presigning a URL, and verifying a presigned one.
//!
//! Signed here are requests with `UNSIGNED-PAYLOAD` or the SHA-256 that the caller gives, in one piece.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::encoding::{decode, encode, encode_path};
use crate::{Error, Request};

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Says that the body is not covered.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// The longest that a presigned URL may hold, in seconds: a week.
pub const MAX_EXPIRY_SECONDS: i64 = 7 * 24 * 60 * 60;
/// How far a signer's clock may be ahead, in seconds.
pub(crate) const MAX_CLOCK_SKEW_SECONDS: i64 = 900;

/// A key, and for where and when it signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The half of the key that is sent.
    pub secret_id: &'a str,
    /// The half that signs.
    pub secret_key: &'a str,
    /// The region.
    pub region: &'a str,
    /// Seconds since the epoch.
    pub now: i64,
}

impl Signer<'_> {
    /// The headers that sign a request: `x-amz-date`, `x-amz-content-sha256` and `authorization`. All headers of the
    /// request are covered; `host` must be among them.
    pub fn sign(&self, request: &Request<'_>, payload: &str) -> Vec<(&'static str, String)> {
        let time = Time::of(self.now);
        let mut headers: Vec<_> = request.headers.to_vec();
        headers.push(("x-amz-content-sha256", payload));
        headers.push(("x-amz-date", &time.stamp));
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let covered = Request { headers: &headers, ..*request };
        let scope = time.scope(self.region);
        let signature = signature(&covered, &names, payload, self.secret_key, &time, self.region);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.secret_id,
            names.join(";")
        );
        vec![
            ("x-amz-date", time.stamp.clone()),
            ("x-amz-content-sha256", payload.to_owned()),
            ("authorization", authorization),
        ]
    }

    /// The query that presigns a request to `host` for so many seconds.
    pub fn presign(&self, method: &str, host: &str, path: &str, expiry_seconds: i64) -> String {
        let time = Time::of(self.now);
        let credential = format!("{}/{}", self.secret_id, time.scope(self.region));
        let query = format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={expiry_seconds}&X-Amz-SignedHeaders=host",
            encode(&credential),
            time.stamp
        );
        let request = Request { method, path, query: &query, headers: &[("host", host)] };
        let names = ["host".to_owned()];
        let signature = signature(&request, &names, UNSIGNED_PAYLOAD, self.secret_key, &time, self.region);
        format!("{query}&X-Amz-Signature={signature}")
    }
}

/// The signature of a presigned URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presigned {
    /// The key that signed.
    pub secret_id: String,
    region: String,
    time: Time,
    expiry_seconds: i64,
    signed_headers: Vec<String>,
    signature: String,
}

impl Presigned {
    /// The signature in a request's query, if there is one.
    ///
    /// # Errors
    /// [`Error::Malformed`] where there is one that lacks something.
    pub fn find(request: &Request<'_>) -> Option<Result<Self, Error>> {
        let parameters = request.parameters();
        let field = |name: &'static str| {
            let found = parameters.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| value.as_str()).ok_or(Error::Malformed(name))
        };
        field("X-Amz-Signature").is_ok().then(|| Self::parse(field))
    }

    fn parse<'a>(field: impl Fn(&'static str) -> Result<&'a str, Error>) -> Result<Self, Error> {
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Error::Malformed("X-Amz-Algorithm"));
        }
        let time = Time::parse(field("X-Amz-Date")?).ok_or(Error::Malformed("X-Amz-Date"))?;
        let (secret_id, region) =
            credential(field("X-Amz-Credential")?, &time).ok_or(Error::Malformed("X-Amz-Credential"))?;
        let expiry_seconds =
            field("X-Amz-Expires")?.parse().map_err(|_| Error::Malformed("X-Amz-Expires"))?;
        if !(0..=MAX_EXPIRY_SECONDS).contains(&expiry_seconds) {
            return Err(Error::Malformed("X-Amz-Expires"));
        }
        let signed_headers = field("X-Amz-SignedHeaders")?.split(';').map(str::to_ascii_lowercase).collect();
        Ok(Self {
            secret_id: secret_id.to_owned(),
            region: region.to_owned(),
            time,
            expiry_seconds,
            signed_headers,
            signature: field("X-Amz-Signature")?.to_owned(),
        })
    }

    /// Checks it against the request and the key at a time (seconds since the epoch).
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify(&self, request: &Request<'_>, secret_key: &str, now: i64) -> Result<(), Error> {
        let pairs = request.query.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature="));
        let query = pairs.collect::<Vec<_>>().join("&");
        let covered = Request { query: &query, ..*request };
        let expected =
            signature(&covered, &self.signed_headers, UNSIGNED_PAYLOAD, secret_key, &self.time, &self.region);
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(Error::Mismatch);
        }
        let age = self.time.age(now);
        if age > self.expiry_seconds || age < -MAX_CLOCK_SKEW_SECONDS {
            return Err(Error::Expired);
        }
        Ok(())
    }
}

/// The key and the region that a credential of that time names.
pub(crate) fn credential<'a>(text: &'a str, time: &Time) -> Option<(&'a str, &'a str)> {
    let mut parts = text.split('/');
    let (secret_id, date, region) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.eq(["s3", "aws4_request"]) && date == time.date();
    is_whole.then_some((secret_id, region))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Time {
    /// `20130524T000000Z`
    stamp: String,
    seconds: i64,
}

impl Time {
    fn of(seconds: i64) -> Self {
        let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self { stamp: time.strftime("%Y%m%dT%H%M%SZ").to_string(), seconds: time.as_second() }
    }

    pub(crate) fn parse(stamp: &str) -> Option<Self> {
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self { stamp: stamp.to_owned(), seconds: time.timestamp().as_second() })
    }

    /// How long it is past, in seconds.
    pub(crate) fn age(&self, now: i64) -> i64 {
        now.saturating_sub(self.seconds)
    }

    fn date(&self) -> &str {
        self.stamp.get(..8).unwrap_or_default()
    }

    fn scope(&self, region: &str) -> String {
        format!("{}/{region}/s3/aws4_request", self.date())
    }
}

fn signature(
    request: &Request<'_>,
    signed_headers: &[String],
    payload: &str,
    secret_key: &str,
    time: &Time,
    region: &str,
) -> String {
    let mut parameters: Vec<_> = request
        .parameters()
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    parameters.sort();
    let headers: String = signed_headers
        .iter()
        .map(|name| format!("{name}:{}\n", request.header(name).unwrap_or_default().trim()))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload}",
        request.method,
        encode_path(&decode(request.path)),
        parameters.join("&"),
        signed_headers.join(";"),
    );
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{}\n{}",
        time.stamp,
        time.scope(region),
        hex::encode(Sha256::digest(canonical))
    );
    hex::encode(hmac_sha256(&signing_key(secret_key, time, region), &to_sign))
}

/// The signature of a form's policy.
pub(crate) fn sign_policy(policy: &str, secret_key: &str, time: &Time, region: &str) -> String {
    hex::encode(hmac_sha256(&signing_key(secret_key, time, region), policy))
}

fn signing_key(secret_key: &str, time: &Time, region: &str) -> Vec<u8> {
    let secret = format!("AWS4{secret_key}");
    [time.date(), region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, text| hmac_sha256(&key, text))
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of AWS's documentation ("Authenticating requests"), whose key it publishes.
    const SIGNER: Signer<'_> = Signer {
        secret_id: "AKIAIOSFODNN7EXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        now: 1_369_353_600,
    };
    const HOST: &str = "examplebucket.s3.amazonaws.com";

    #[test]
    fn the_documented_header_comes_out() {
        let headers = [("host", HOST), ("range", "bytes=0-9")];
        let request = Request { method: "GET", path: "/test.txt", query: "", headers: &headers };
        let signed = SIGNER.sign(&request, &hex::encode(Sha256::digest("")));
        let authorization = &signed[2].1;
        assert!(
            authorization
                .ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
        );
    }

    #[test]
    fn the_documented_presigned_url_comes_out_and_holds_for_its_time() {
        let query = SIGNER.presign("GET", HOST, "/test.txt", 86_400);
        assert!(
            query.ends_with("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"),
            "{query}"
        );
        let headers = [("Host", HOST)];
        let check = |path: &str, method: &str, now: i64| {
            let request = Request { method, path, query: &query, headers: &headers };
            let found = Presigned::find(&request).expect("there is one").expect("well formed");
            found.verify(&request, SIGNER.secret_key, now)
        };
        assert_eq!(check("/test.txt", "GET", SIGNER.now + 86_400), Ok(()));
        assert_eq!(check("/test.txt", "GET", SIGNER.now + 86_401), Err(Error::Expired));
        assert_eq!(check("/test.txt", "GET", SIGNER.now - 901), Err(Error::Expired));
        assert_eq!(check("/other.txt", "GET", SIGNER.now), Err(Error::Mismatch));
        assert_eq!(check("/test.txt", "PUT", SIGNER.now), Err(Error::Mismatch));
    }
}
