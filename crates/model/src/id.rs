//! Identifiers. Each is a type of its own, so that an instance's id cannot stand where an image's is meant.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// The text is not an identifier of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}: expected {expected}")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
    /// The kind of identifier.
    pub kind: &'static str,
    /// The form that it has.
    pub expected: &'static str,
}

const RANDOM_CHARS: usize = 8;
const HIDDEN_CHARS: usize = 32;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn random_text(len: usize) -> String {
    let mut rng = rand::rng();
    (0..len).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// Text newtypes: construction from trusted text, display, comparison, serialisation as the text itself.
macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes text that is already known to be of the right form, such as a column of the catalogue.
            pub fn from_trusted(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Resource identifiers: a prefix, a hyphen, eight characters of `0-9a-z`.
macro_rules! resource_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        text_newtype!($(#[$doc])* $name);

        impl $name {
            /// A new identifier that nobody can guess from others. The catalogue refuses one that was ever used.
            pub fn random() -> Self {
                Self(format!(concat!($prefix, "-{}"), random_text(RANDOM_CHARS)))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let tail = text.strip_prefix(concat!($prefix, "-")).unwrap_or_default();
                if tail.len() == RANDOM_CHARS && tail.bytes().all(|b| ALPHABET.contains(&b)) {
                    return Ok(Self(text.to_owned()));
                }
                Err(ParseIdError {
                    text: text.to_owned(),
                    kind: stringify!($name),
                    expected: concat!($prefix, "- and eight characters of 0-9a-z"),
                })
            }
        }
    };
}

/// Identifiers that nobody is to guess or to read: 32 characters of `0-9a-z`.
macro_rules! hidden_id {
    ($(#[$doc:meta])* $name:ident) => {
        text_newtype!($(#[$doc])* $name);

        impl $name {
            /// A new identifier that nobody can guess.
            pub fn random() -> Self {
                Self(random_text(HIDDEN_CHARS))
            }
        }
    };
}

resource_id!(/// An image, such as `img-3fa9k2lq`.
    ImageId, "img");
resource_id!(/// An instance, such as `ins-0b3kq81z`.
    InstanceId, "ins");
resource_id!(/// A task, such as `task-7xk20s1m`.
    TaskId, "task");
resource_id!(/// A snapshot, such as `snap-91kd03nm`: how one disk of an image is shown.
    SnapshotId, "snap");
resource_id!(/// A disk of an instance, such as `disk-5m2z91aa`.
    DiskId, "disk");
resource_id!(/// A key pair for logging in to instances, such as `skey-1x9f0p3d`.
    KeyPairId, "skey");
resource_id!(/// An image's listing in the marketplace, such as `lst-4k2m8x0q`.
    ListingId, "lst");
text_newtype!(/// A region, such as `ap-guangzhou`. Which regions exist is configured.
    RegionId);
text_newtype!(/// A zone, such as `ap-guangzhou-3`.
    ZoneId);
text_newtype!(/// A manifest in a region's store: 32 hexadecimal digits.
    ManifestKey);
text_newtype!(/// A pack in a region's store: 32 hexadecimal digits.
    PackKey);
hidden_id!(/// One version of an object of a bucket.
    ObjectId);
hidden_id!(/// A piece of an object, and the file that holds it.
    PartId);
hidden_id!(/// An upload in parts.
    UploadId);
text_newtype!(/// The public half of an API key: `AKID` and 32 characters.
    SecretId);

impl TaskId {
    /// The same as a number, for where the public API has numbers: its eight characters as digits of base 36.
    pub fn number(&self) -> u64 {
        let digits = self.0.rsplit_once('-').map_or("", |(_, digits)| digits);
        u64::from_str_radix(digits, 36).unwrap_or_default()
    }

    /// The identifier that has this number, if one can.
    pub fn of_number(number: u64) -> Option<Self> {
        let mut digits = [b'0'; RANDOM_CHARS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(rest % 36) as usize];
            rest /= 36;
        }
        (rest == 0).then(|| Self(format!("task-{}", String::from_utf8_lossy(&digits))))
    }
}

impl SecretId {
    /// A new identifier.
    pub fn random() -> Self {
        Self(format!("AKID{}", random_text(32)))
    }
}

/// Numbers that accounts are known by: a fixed count of decimal digits.
macro_rules! account_number {
    ($(#[$doc:meta])* $name:ident, $digits:literal, $first:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// A new number of the right length. The catalogue refuses one that is in use.
            pub fn random() -> Self {
                let span = 10u64.pow($digits - 4);
                Self($first * span + rand::rng().random_range(0..span))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text.parse() {
                    Ok(number) if text.len() == $digits && !text.starts_with(['0', '+']) => Ok(Self(number)),
                    _ => Err(ParseIdError {
                        text: text.to_owned(),
                        kind: stringify!($name),
                        expected: concat!($digits, " digits"),
                    }),
                }
            }
        }
    };
}

account_number!(/// The number of an account: 12 digits, such as 100000624047.
    Uin, 12, 1000);
account_number!(/// The number by which an account's buckets are named: 10 digits.
    AppId, 10, 1250);

/// A secret of `len` random characters, from the operating system's generator.
pub(crate) fn random_secret(len: usize) -> String {
    random_text(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_as_their_own_kind_only() {
        let id = ImageId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert!(id.as_str().parse::<InstanceId>().is_err());
        for bad in ["", "img-", "img-ABCDEFGH", "img-123456789", "img-1234567"] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tasks_have_numbers() {
        for id in ["task-00000000", "task-0000000z", "task-zzzzzzzz", TaskId::random().as_str()] {
            let id = TaskId::from_trusted(id);
            assert!(id.number() < 1 << 53, "a number that every JSON reader holds");
            assert_eq!(TaskId::of_number(id.number()), Some(id));
        }
        assert_eq!(TaskId::of_number(36u64.pow(8)), None);
    }

    #[test]
    fn account_numbers_have_their_length() {
        assert_eq!(Uin::random().to_string().len(), 12);
        assert_eq!(AppId::random().to_string().len(), 10);
        assert!("100000624047".parse::<Uin>().is_ok());
        assert!("+00000624047".parse::<Uin>().is_err());
    }
}
