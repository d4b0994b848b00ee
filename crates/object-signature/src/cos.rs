//! COS's own signature: `q-sign-algorithm=sha1&q-ak=…&q-sign-time=…&q-key-time=…&q-header-list=…&q-url-param-list=…&q-signature=…`,
//! in the header `Authorization` or in the query.
//!
//! Which headers and parameters it covers is the signer's choice. Names are in lower case, lists in their order.

use hmac::{Hmac, Mac};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::encoding::{decode, encode};
use crate::{Error, Request};

const PREFIX: &str = "q-sign-algorithm=";
/// How old a signature may be that could have been an address of any bucket.
const MAX_AGE_SECONDS: i64 = 900;

/// A signature, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that signed.
    pub secret_id: String,
    sign_time: String,
    key_time: String,
    headers: Vec<String>,
    parameters: Vec<String>,
    signature: String,
    in_query: bool,
}

impl Signature {
    /// The signature that a request carries, if it is of this scheme.
    ///
    /// # Errors
    /// [`Error::Malformed`] where it is of this scheme and lacks something.
    pub fn find(request: &Request<'_>) -> Option<Result<Self, Error>> {
        // Clients put spaces in front of it, or "Bearer"-like words never.
        let header = request.header("authorization").map(str::trim).filter(|text| text.starts_with(PREFIX));
        match header {
            Some(header) => Some(Self::parse(header, false)),
            None if request.query.split('&').any(|pair| pair.starts_with(PREFIX)) => {
                Some(Self::parse(request.query, true))
            }
            None => None,
        }
    }

    fn parse(text: &str, in_query: bool) -> Result<Self, Error> {
        let field = |name: &'static str| {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
            let value = values.next().ok_or(Error::Malformed(name))?;
            Ok(if in_query { decode(value) } else { value.to_owned() })
        };
        if field("q-sign-algorithm")? != "sha1" {
            return Err(Error::Malformed("q-sign-algorithm"));
        }
        let list = |text: String| {
            text.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect::<Vec<_>>()
        };
        Ok(Self {
            secret_id: field("q-ak")?,
            sign_time: field("q-sign-time")?,
            key_time: field("q-key-time")?,
            headers: list(field("q-header-list")?),
            parameters: list(field("q-url-param-list")?),
            signature: field("q-signature")?,
            in_query,
        })
    }

    /// Whether it covers a header, by its name in lower case.
    pub fn covers_header(&self, name: &str) -> bool {
        self.headers.iter().any(|covered| covered == name)
    }

    /// Whether it stands in the query.
    pub fn in_query(&self) -> bool {
        self.in_query
    }

    /// Whether it was made just now, as clients sign requests that they send themselves.
    pub fn is_fresh(&self, now: i64) -> bool {
        let from = self.sign_time.split_once(';').and_then(|(from, _)| from.parse::<i64>().ok());
        from.is_some_and(|from| now.saturating_sub(from) <= MAX_AGE_SECONDS)
    }

    /// Checks it against the request and the key at a time (seconds since the epoch). Where the request's path names
    /// the bucket, `bucket` is given: clients sign the path after it in `Authorization`. Of a host with a port, COS's own SDK
    /// signs the name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify(
        &self,
        request: &Request<'_>,
        bucket: Option<&str>,
        secret_key: &str,
        now: i64,
    ) -> Result<(), Error> {
        let host = request.header("host").unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let fits = |path: &str| {
            [host, name].into_iter().any(|host| {
                let expected = self.expected(request, path, host, secret_key);
                bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes()))
            })
        };
        let path = decode(request.path);
        let after_bucket = bucket
            .and_then(|bucket| path.strip_prefix('/')?.strip_prefix(bucket))
            .map(|rest| if rest.is_empty() { "/" } else { rest });
        // An address is handed on: one that is signed without its bucket would be good for every other bucket.
        let after_bucket = after_bucket.filter(|_| !self.in_query);
        if !fits(&path) {
            if !after_bucket.is_some_and(fits) {
                return Err(Error::Mismatch);
            }
            // Nor is it known that it did not come from an address: clients sign each request when they send it.
            if !self.is_fresh(now) {
                return Err(Error::Expired);
            }
        }
        check_time(&self.sign_time, "q-sign-time", now)?;
        check_time(&self.key_time, "q-key-time", now)
    }

    fn expected(&self, request: &Request<'_>, path: &str, host: &str, secret_key: &str) -> String {
        let covered = |names: &[String], pairs: Vec<(String, String)>| {
            let mut pairs: Vec<_> = pairs
                .into_iter()
                .map(|(name, value)| (encode(&name).to_ascii_lowercase(), encode(&value)))
                .filter(|(name, _)| names.contains(name))
                .collect();
            pairs.sort();
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        let headers = request.headers.iter().map(|(name, value)| {
            let value = if name.eq_ignore_ascii_case("host") { host } else { value };
            ((*name).to_owned(), value.trim().to_owned())
        });
        let text = format!(
            "{}\n{path}\n{}\n{}\n",
            request.method.to_ascii_lowercase(),
            covered(&self.parameters, request.parameters()),
            covered(&self.headers, headers.collect()),
        );
        let to_sign = format!("sha1\n{}\n{}\n", self.sign_time, hex::encode(Sha1::digest(text)));
        let key = hmac_sha1(secret_key.as_bytes(), &self.key_time);
        hmac_sha1(key.as_bytes(), &to_sign)
    }
}

/// That now is between the two times of a field.
pub(crate) fn check_time(time: &str, field: &'static str, now: i64) -> Result<(), Error> {
    let (from, until) = time.split_once(';').ok_or(Error::Malformed(field))?;
    let number = |text: &str| text.parse::<i64>().map_err(|_| Error::Malformed(field));
    if now < number(from)? || now > number(until)? {
        return Err(Error::Expired);
    }
    Ok(())
}

pub(crate) fn hmac_sha1(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Tencent Cloud's documentation ("Request signature", uploading an object), whose key it publishes.
    const KEY: &str = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz";
    const SIGNED: &str = "q-sign-algorithm=sha1&q-ak=AKIDQjz3ltompVjBni5LitkWHFlFpwkn9U5q\
        &q-sign-time=1557989151;1557996351&q-key-time=1557989151;1557996351\
        &q-header-list=content-length;content-md5;content-type;date;host;x-cos-acl;x-cos-grant-read\
        &q-url-param-list=&q-signature=3b8851a11a569213c17ba8fa7dcf2abec6935172";
    const HEADERS: &[(&str, &str)] = &[
        ("Date", "Thu, 16 May 2019 06:45:51 GMT"),
        ("Host", "examplebucket-1250000000.cos.ap-beijing.myqcloud.com"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "13"),
        ("Content-MD5", "mQ/fVh815F3k6TAUm8m0eg=="),
        ("x-cos-acl", "private"),
        ("x-cos-grant-read", "uin=\"100000000011\""),
    ];
    const THEN: i64 = 1_557_990_000;

    fn check(headers: &[(&str, &str)], path: &str, key: &str, now: i64) -> Result<(), Error> {
        let mut headers = headers.to_vec();
        headers.push(("authorization", SIGNED));
        let request = Request { method: "PUT", path, query: "", headers: &headers };
        let signature = Signature::find(&request).expect("there is one").expect("well formed");
        signature.verify(&request, None, key, now)
    }

    #[test]
    fn the_documented_example_holds() {
        let path = "/exampleobject(%E8%85%BE%E8%AE%AF%E4%BA%91)";
        assert_eq!(check(HEADERS, path, KEY, THEN), Ok(()));
        assert_eq!(check(HEADERS, path, KEY, THEN + 100_000), Err(Error::Expired));
        assert_eq!(check(HEADERS, path, "another", THEN), Err(Error::Mismatch));
        assert_eq!(check(HEADERS, "/other", KEY, THEN), Err(Error::Mismatch));
        assert_eq!(check(&HEADERS[1..], path, KEY, THEN), Err(Error::Mismatch));
        let with_host = |host| {
            let mut headers = HEADERS.to_vec();
            headers[1].1 = host;
            check(&headers, path, KEY, THEN)
        };
        assert_eq!(with_host("examplebucket-1250000000.cos.ap-beijing.myqcloud.com:5457"), Ok(()));
        assert_eq!(
            with_host("otherbucket-1250000000.cos.ap-beijing.myqcloud.com:5457"),
            Err(Error::Mismatch)
        );
    }

    #[test]
    fn a_header_that_may_have_been_an_address_of_any_bucket_is_good_while_it_is_fresh() {
        let fields = "q-sign-algorithm=sha1&q-ak=AKID&q-sign-time=1000;99999&q-key-time=1000;99999\
            &q-header-list=&q-url-param-list=";
        let check = |signed: &str, now| {
            let unsigned = format!("{fields}&q-signature=");
            let request = |path, headers| Request { method: "GET", path, query: "", headers };
            let found = |text: &str| Signature::parse(text, false).expect("well formed");
            let signature = found(&unsigned).expected(&request(signed, &[]), signed, "", KEY);
            found(&format!("{unsigned}{signature}")).verify(&request("/a-1/k", &[]), Some("a-1"), KEY, now)
        };
        assert_eq!(check("/k", 1000 + MAX_AGE_SECONDS), Ok(()));
        assert_eq!(check("/k", 1001 + MAX_AGE_SECONDS), Err(Error::Expired));
        assert_eq!(check("/a-1/k", 90_000), Ok(()));
        assert_eq!(check("/b-1/k", 1001), Err(Error::Mismatch));
    }

    #[test]
    fn what_lacks_a_field_is_malformed() {
        let headers = [("Authorization", "q-sign-algorithm=sha1&q-ak=AKID")];
        let request = Request { method: "GET", path: "/", query: "", headers: &headers };
        assert_eq!(Signature::find(&request), Some(Err(Error::Malformed("q-sign-time"))));
        let none = Request { method: "GET", path: "/", query: "a=b", headers: &[] };
        assert_eq!(Signature::find(&none), None);
    }
}
