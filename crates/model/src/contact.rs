//! Where an account's owner is reached: an e-mail address and a telephone number, each of a checked form.

use std::fmt;
use std::str::FromStr;

use crate::{Channel, ParseIdError};

const MAX_EMAIL_BYTES: usize = 254;
const MAX_LABEL_BYTES: usize = 64;
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// How an account's owner is reached. Absent: not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The registered e-mail address.
    pub email: Option<Email>,
    /// The registered telephone number.
    pub phone: Option<Phone>,
    /// Whether messages are sent to the address.
    pub notify_email: bool,
    /// Whether messages are sent to the number.
    pub notify_sms: bool,
}

impl Default for Contact {
    fn default() -> Self {
        Self { email: None, phone: None, notify_email: true, notify_sms: true }
    }
}

impl Contact {
    /// Where messages are sent on one way; `None` where they are not.
    pub fn address(&self, channel: Channel) -> Option<&str> {
        match channel {
            Channel::Email => self.email.as_ref().map(Email::as_str).filter(|_| self.notify_email),
            Channel::Sms => self.phone.as_ref().map(Phone::as_str).filter(|_| self.notify_sms),
        }
    }
}

/// An e-mail address of the plain form: nothing quoted, no comment, a domain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Email {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let local = |part: &str| {
            (1..=MAX_LABEL_BYTES).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
                && part.split('.').all(|atom| !atom.is_empty())
        };
        let label = |part: &str| {
            (1..=MAX_LABEL_BYTES).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        match text.rsplit_once('@') {
            Some((name, domain))
                if text.len() <= MAX_EMAIL_BYTES && local(name) && domain.split('.').all(label) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ParseIdError {
                text: text.to_owned(),
                kind: "e-mail address",
                expected: "the form name@domain",
            }),
        }
    }
}

/// A telephone number: digits, with a plus before them where it has its country's code. Kept without separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone(String);

impl Phone {
    /// The number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Phone {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let digits = plain.strip_prefix('+').unwrap_or(&plain);
        if PHONE_DIGITS.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(plain));
        }
        Err(ParseIdError {
            text: text.to_owned(),
            kind: "telephone number",
            expected: "5 to 15 digits, with a plus and the country's code before them",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_mailbox_and_nothing_else() {
        for good in ["a@b", "first.last+images@mail.example.org", "root@localhost"] {
            assert_eq!(good.parse::<Email>().map(|email| email.to_string()), Ok(good.to_owned()));
        }
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b@c",
            "a@b\r\nBcc: x@y",
            "<a@b>",
            "a@-b",
            "a@b..c",
            "a..b@c",
            &long,
        ] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_number_is_kept_without_separators() {
        assert_eq!(
            "+86 138-0013-8000".parse::<Phone>().map(|phone| phone.0),
            Ok("+8613800138000".to_owned())
        );
        for bad in ["", "+", "1234", "12345678901234567", "12345a", "++12345", "12345\n"] {
            assert!(bad.parse::<Phone>().is_err(), "{bad:?}");
        }
    }
}
