//! Names of what a store holds: random 128-bit ids, and the scope that chunks are shared within.
//!
//! An id says nothing about content, so that a key is never used twice, not even for the same bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The text is not an id of 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $name::LEN]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = 16;

            /// A new id from the system's generator.
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// An id that was stored before.
            pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
                Self(bytes)
            }

            /// The bytes to store.
            pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; Self::LEN];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError)?;
                Ok(Self(bytes))
            }
        }
    };
}

random_id! {
    /// The id of a pack. Written as 32 lower-case hexadecimal digits.
    PackId
}

random_id! {
    /// The id of a manifest. Written as 32 lower-case hexadecimal digits.
    ManifestId
}

/// Whose chunks are shared with whom, as the ledger names it. Opaque here: equal text is the same scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope of that name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_other_text_is_refused() {
        let id = PackId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(PackId::random(), id);
        assert_eq!("../../etc/passwd".parse::<PackId>(), Err(ParseIdError));
        assert_eq!("00".parse::<ManifestId>(), Err(ParseIdError));
    }
}
