//! Signatures of upload forms (POST): of their policy, by AWS's version 4 or 2, or by COS's scheme.
//!
//! A form may do what its policy says, until the policy ends; that is why version 2 is taken here, although its URLs are
//! not. Fields are found by their names in lower case.
//!
//! Sources: AWS's "Authenticating requests: browser-based uploads using POST" and, for version 2, "Signing and
//! authenticating REST requests" of S3; Tencent Cloud's "POST Object" of COS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::Error;
use crate::cos::{check_time, hmac_sha1};
use crate::v4::{ALGORITHM, MAX_CLOCK_SKEW_SECONDS, MAX_EXPIRY_SECONDS, Time, credential, sign_policy};

/// A form's signature, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormSignature {
    /// The key that signed.
    pub secret_id: String,
    scheme: Scheme,
    signature: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    V4 { region: String, time: Time },
    V2,
    Cos { key_time: String },
}

impl FormSignature {
    /// The signature among a form's fields, if there is one.
    ///
    /// # Errors
    /// [`Error::Malformed`] where there is one that lacks something.
    pub fn find<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Option<Result<Self, Error>> {
        let has = |names: [&str; 2]| names.iter().any(|name| field(name).is_some());
        let needed = |name: &'static str| field(name).ok_or(Error::Malformed(name));
        if has(["x-amz-signature", "x-amz-credential"]) {
            Some(Self::v4(needed))
        } else if has(["q-signature", "q-ak"]) {
            Some(Self::cos(needed))
        } else if has(["signature", "awsaccesskeyid"]) {
            Some(Self::v2(needed))
        } else {
            None
        }
    }

    fn v4<'a>(field: impl Fn(&'static str) -> Result<&'a str, Error>) -> Result<Self, Error> {
        if field("x-amz-algorithm")? != ALGORITHM {
            return Err(Error::Malformed("x-amz-algorithm"));
        }
        let time = Time::parse(field("x-amz-date")?).ok_or(Error::Malformed("x-amz-date"))?;
        let (secret_id, region) =
            credential(field("x-amz-credential")?, &time).ok_or(Error::Malformed("x-amz-credential"))?;
        Ok(Self {
            secret_id: secret_id.to_owned(),
            scheme: Scheme::V4 { region: region.to_owned(), time },
            signature: field("x-amz-signature")?.to_owned(),
        })
    }

    fn v2<'a>(field: impl Fn(&'static str) -> Result<&'a str, Error>) -> Result<Self, Error> {
        Ok(Self {
            secret_id: field("awsaccesskeyid")?.to_owned(),
            scheme: Scheme::V2,
            signature: field("signature")?.to_owned(),
        })
    }

    fn cos<'a>(field: impl Fn(&'static str) -> Result<&'a str, Error>) -> Result<Self, Error> {
        if field("q-sign-algorithm")? != "sha1" {
            return Err(Error::Malformed("q-sign-algorithm"));
        }
        Ok(Self {
            secret_id: field("q-ak")?.to_owned(),
            scheme: Scheme::Cos { key_time: field("q-key-time")?.to_owned() },
            signature: field("q-signature")?.to_owned(),
        })
    }

    /// Whether it is of COS's scheme, whose policies need not name every field.
    pub fn is_cos(&self) -> bool {
        matches!(self.scheme, Scheme::Cos { .. })
    }

    /// Checks it against the policy, in base64 as it was sent, and the key at a time (seconds since the epoch).
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify(&self, policy: &str, secret_key: &str, now: i64) -> Result<(), Error> {
        let expected = match &self.scheme {
            Scheme::V4 { region, time } => sign_policy(policy, secret_key, time, region),
            Scheme::V2 => {
                let mut mac = Hmac::<Sha1>::new_from_slice(secret_key.as_bytes())
                    .expect("HMAC takes keys of every length");
                mac.update(policy.as_bytes());
                STANDARD.encode(mac.finalize().into_bytes())
            }
            Scheme::Cos { key_time } => {
                let document = STANDARD.decode(policy).map_err(|_| Error::Malformed("policy"))?;
                let key = hmac_sha1(secret_key.as_bytes(), key_time);
                hmac_sha1(key.as_bytes(), &hex::encode(Sha1::digest(document)))
            }
        };
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(Error::Mismatch);
        }
        match &self.scheme {
            Scheme::V4 { time, .. } => {
                let fits = (-MAX_CLOCK_SKEW_SECONDS..=MAX_EXPIRY_SECONDS).contains(&time.age(now));
                fits.then_some(()).ok_or(Error::Expired)
            }
            Scheme::V2 => Ok(()),
            Scheme::Cos { key_time } => check_time(key_time, "q-key-time", now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn signature(fields: &[(&str, &str)]) -> Option<Result<FormSignature, Error>> {
        let fields: HashMap<String, String> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FormSignature::find(|name| fields.get(name).map(String::as_str))
    }

    /// The example of AWS's documentation ("Example: browser-based upload using HTTP POST"), whose key it publishes.
    const POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn the_documented_form_holds() {
        let form = signature(&[
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
            ("x-amz-date", "20151229T000000Z"),
            ("x-amz-signature", "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"),
        ]);
        let form = form.expect("there is one").expect("well formed");
        let then = 1_451_347_200;
        assert_eq!(form.secret_id, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(form.verify(POLICY, KEY, then + 60), Ok(()));
        assert_eq!(form.verify(POLICY, "another", then), Err(Error::Mismatch));
        assert_eq!(form.verify(&POLICY[4..], KEY, then), Err(Error::Mismatch));
        assert_eq!(form.verify(POLICY, KEY, then + MAX_EXPIRY_SECONDS + 1), Err(Error::Expired));
    }

    #[test]
    fn version_2_signs_the_policy_as_it_is_sent() {
        // By `printf e30= | openssl dgst -sha1 -hmac key -binary | base64`.
        let fields = [("awsaccesskeyid", "AKID"), ("signature", "6IQ2GnMTXeA7xFHgR7DAcL0KYjw=")];
        let form = signature(&fields).expect("there is one").expect("well formed");
        assert_eq!((form.verify("e30=", "key", 0), form.is_cos()), (Ok(()), false));
        assert_eq!(form.verify("e30", "key", 0), Err(Error::Mismatch));
    }

    #[test]
    fn cos_signs_the_policy_decoded() {
        // By sha1sum and openssl, step by step as COS's documentation has it.
        let fields = [
            ("q-sign-algorithm", "sha1"),
            ("q-ak", "AKID"),
            ("q-key-time", "1557989151;1557996351"),
            ("q-signature", "beae8be2d87cdf80368380d72015b9b4e4b00796"),
        ];
        let form = signature(&fields).expect("there is one").expect("well formed");
        assert_eq!((form.verify("e30=", "key", 1_557_990_000), form.is_cos()), (Ok(()), true));
        assert_eq!(form.verify("e30=", "key", 1_558_000_000), Err(Error::Expired));
        assert_eq!(form.verify("e30=", "other", 1_557_990_000), Err(Error::Mismatch));
    }

    #[test]
    fn what_lacks_a_field_is_malformed() {
        assert_eq!(signature(&[("key", "k")]), None);
        let check = |field, lacks| assert_eq!(signature(&[field]), Some(Err(Error::Malformed(lacks))));
        check(("x-amz-signature", "0"), "x-amz-algorithm");
        check(("awsaccesskeyid", "AKID"), "signature");
        check(("q-ak", "AKID"), "q-sign-algorithm");
    }
}
