//! What a signed upload form may do: its policy document, parsed and held against the form's fields.
//!
//! ```json
//! {"expiration": "2026-11-30T12:00:00Z", "conditions": [
//!   {"bucket": "images-1250000000"}, ["starts-with", "$key", "user/"], ["content-length-range", 0, 1048576]]}
//! ```
//!
//! Names of fields have no case, values have. Sources: AWS's "POST policy" and Tencent Cloud's "POST Object".

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use s3s::{S3Error, S3ErrorCode, S3Result};
use serde_json::{Map, Value};

use crate::error::refused;

/// A form's fields by their names in lower case, its bucket among them.
pub(crate) type Fields = BTreeMap<String, String>;

/// What no policy names: the signature itself, and what is ignored.
const UNNAMED: [&str; 5] = ["x-amz-signature", "signature", "awsaccesskeyid", "policy", "file"];
const IGNORED_PREFIX: &str = "x-ignore-";

/// A policy document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PostPolicy {
    expires: jiff::Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, prefix: String },
    Length(RangeInclusive<u64>),
}

impl PostPolicy {
    /// Reads a document.
    ///
    /// # Errors
    /// `InvalidPolicyDocument` with what is wrong.
    pub(crate) fn parse(document: &[u8]) -> S3Result<Self> {
        let document: Map<String, Value> =
            serde_json::from_slice(document).map_err(|_| invalid("it is no JSON object"))?;
        let expiration = document.get("expiration").and_then(Value::as_str);
        let expiration = expiration.ok_or_else(|| invalid("it has no \"expiration\""))?;
        let expires = Some(expiration).filter(|time| time.contains('T')).and_then(|time| time.parse().ok());
        let expires =
            expires.ok_or_else(|| invalid("its expiration is no time such as 2026-11-30T12:00:00Z"))?;
        let conditions = document.get("conditions").and_then(Value::as_array);
        let conditions = conditions.ok_or_else(|| invalid("it has no list of \"conditions\""))?;
        let mut all = Vec::with_capacity(conditions.len());
        for condition in conditions {
            match condition {
                Value::Object(named) if !named.is_empty() => {
                    for (field, value) in named {
                        all.push(Condition::equals(field, value)?);
                    }
                }
                Value::Array(parts) => all.push(Condition::parse(parts)?),
                _ => return Err(invalid("a condition is neither a list nor an object with a field")),
            }
        }
        Ok(Self { expires, conditions: all })
    }

    /// Holds the form against the policy at a time; the lengths that its file may have.
    ///
    /// # Errors
    /// `AccessDenied` with the condition that is not met.
    pub(crate) fn check(
        &self,
        fields: &Fields,
        names_all: bool,
        now: jiff::Timestamp,
    ) -> S3Result<RangeInclusive<u64>> {
        if now > self.expires {
            return Err(refused(S3ErrorCode::AccessDenied, "The form's policy has expired. Get a new form."));
        }
        let mut lengths = 0..=u64::MAX;
        for condition in &self.conditions {
            match condition {
                Condition::Length(range) => {
                    lengths = *lengths.start().max(range.start())..=*lengths.end().min(range.end());
                }
                Condition::Equals { field, value } => {
                    require(fields.get(field).is_some_and(|found| found == value), field)?;
                }
                Condition::StartsWith { field, prefix } => {
                    require(fields.get(field).is_some_and(|found| found.starts_with(prefix)), field)?;
                }
            }
        }
        if names_all && let Some(unnamed) = fields.keys().find(|field| !self.names(field)) {
            return Err(denied(format!("The form has a field {unnamed:?}, which its policy does not name.")));
        }
        // COS's policies need not name every field, but a form is for one bucket, and leads only where its signer said.
        for field in ["bucket", "key", "success_action_redirect", "redirect"] {
            if fields.contains_key(field) && !self.has_condition_on(field) {
                return Err(denied(format!(
                    "The form's policy says nothing of {field:?}. Add a condition on it."
                )));
            }
        }
        Ok(lengths)
    }

    fn names(&self, field: &str) -> bool {
        UNNAMED.contains(&field) || field.starts_with(IGNORED_PREFIX) || self.has_condition_on(field)
    }

    fn has_condition_on(&self, field: &str) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equals { field: named, .. } | Condition::StartsWith { field: named, .. } => {
                named == field
            }
            Condition::Length(_) => false,
        })
    }
}

impl Condition {
    fn parse(parts: &[Value]) -> S3Result<Self> {
        let [kind, first, second] = parts else {
            return Err(invalid("a condition has not three parts"));
        };
        let field = || {
            let field = first.as_str().and_then(|field| field.strip_prefix('$'));
            field.ok_or_else(|| invalid("a condition's field has no dollar sign"))
        };
        match kind.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("eq") => Self::equals(field()?, second),
            Some("starts-with") => {
                let prefix = second.as_str().ok_or_else(|| invalid("a condition's value is no text"))?;
                Ok(Self::StartsWith { field: field()?.to_ascii_lowercase(), prefix: prefix.to_owned() })
            }
            Some("content-length-range") => {
                let range = length(first)?..=length(second)?;
                if range.is_empty() {
                    return Err(invalid("its content-length-range is empty"));
                }
                Ok(Self::Length(range))
            }
            _ => Err(invalid("a condition is none of eq, starts-with and content-length-range")),
        }
    }

    /// COS's policies name the time of the key as `q-sign-time`; its forms have it as `q-key-time`.
    fn equals(field: &str, value: &Value) -> S3Result<Self> {
        let value = value.as_str().ok_or_else(|| invalid("a condition's value is no text"))?;
        let field = match field.to_ascii_lowercase() {
            field if field == "q-sign-time" => "q-key-time".to_owned(),
            field => field,
        };
        Ok(Self::Equals { field, value: value.to_owned() })
    }
}

/// A number of bytes, which some clients write as text.
fn length(value: &Value) -> S3Result<u64> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| invalid("its content-length-range has no two numbers of bytes"))
}

fn require(holds: bool, field: &str) -> S3Result<()> {
    if holds {
        return Ok(());
    }
    Err(denied(format!("The form's field {field:?} is not as its policy wants it.")))
}

fn denied(sentence: String) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, sentence)
}

fn invalid(what: &str) -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidPolicyDocument,
        format!("The form's policy cannot be used: {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_780_000_000;

    fn policy(conditions: &str) -> PostPolicy {
        let document =
            format!(r#"{{"expiration": "2026-11-30T12:00:00.000Z", "conditions": [{conditions}]}}"#);
        PostPolicy::parse(document.as_bytes()).expect("a policy")
    }

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<RangeInclusive<u64>, String> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let now = jiff::Timestamp::from_second(NOW).expect("a time");
        policy(conditions)
            .check(&fields, true, now)
            .map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn every_condition_must_hold_and_every_field_be_named() {
        let conditions = r#"{"bucket": "b"}, ["starts-with", "$KEY", "user/"], ["eq", "$acl", "private"]"#;
        let holds = [("bucket", "b"), ("key", "user/1"), ("acl", "private")];
        assert_eq!(check(conditions, &holds), Ok(0..=u64::MAX));
        let with = |name, value| {
            let mut fields = holds.to_vec();
            fields.retain(|(field, _)| *field != name);
            fields.push((name, value));
            check(conditions, &fields)
        };
        assert!(with("bucket", "c").is_err_and(|error| error.contains("\"bucket\"")));
        assert!(with("key", "User/1").is_err_and(|error| error.contains("\"key\"")));
        assert!(with("acl", "Private").is_err());
        assert!(with("x-amz-meta-a", "b").is_err_and(|error| error.contains("does not name")));
        assert_eq!(with("x-ignore-me", "b"), Ok(0..=u64::MAX));
        assert_eq!(with("policy", "b"), Ok(0..=u64::MAX));
        assert!(check(conditions, &holds[..2]).is_err(), "a field that is missing is not as it should be");
    }

    #[test]
    fn lengths_are_those_that_all_ranges_allow() {
        let ranges = r#"["content-length-range", 1, "100"], ["content-length-range", 10, 200]"#;
        assert_eq!(check(ranges, &[]), Ok(10..=100));
    }

    #[test]
    fn a_policy_ends() {
        let late = jiff::Timestamp::from_second(NOW + 400_000_000).expect("a time");
        assert!(policy("").check(&Fields::new(), true, late).is_err());
    }

    #[test]
    fn what_is_no_policy_is_told_why() {
        let check = |document: &str, why: &str| {
            let error = PostPolicy::parse(document.as_bytes()).expect_err(document);
            assert_eq!(error.code(), &S3ErrorCode::InvalidPolicyDocument);
            assert!(error.message().is_some_and(|message| message.contains(why)), "{error:?}");
        };
        check("", "no JSON");
        check(r#"{"EXPIRATION": "2026-11-30T12:00:00Z", "conditions": []}"#, "\"expiration\"");
        check(r#"{"expiration": "tomorrow", "conditions": []}"#, "no time");
        check(r#"{"expiration": "2026-11-30T12:00:00Z"}"#, "\"conditions\"");
        for (condition, why) in [
            ("{}", "neither"),
            ("7", "neither"),
            (r#"["eq", "$key"]"#, "three parts"),
            (r#"["eq", "key", "k"]"#, "dollar"),
            (r#"{"key": 7}"#, "no text"),
            (r#"["ends-with", "$key", "k"]"#, "none of"),
            (r#"["content-length-range", -1, 0]"#, "numbers"),
            (r#"["content-length-range", 2, 1]"#, "empty"),
        ] {
            let document =
                format!(r#"{{"expiration": "2026-11-30T12:00:00Z", "conditions": [{condition}]}}"#);
            check(&document, why);
        }
    }
}
