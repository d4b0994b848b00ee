//! Answers in the public shapes: names, units and words of the wire.
//!
//! An answer of another kind than the action's is a fault of Kiln and becomes `InternalError`. Not here: the envelope.
//! Secrets are in the answers that create them and in no other.

pub(crate) mod accepted;
pub(crate) mod account;
pub(crate) mod disk;
pub(crate) mod image;
pub(crate) mod instance;
pub(crate) mod instance_type;
pub(crate) mod key_pair;
pub(crate) mod limits;
pub(crate) mod market;
pub(crate) mod message;
pub(crate) mod operation;
pub(crate) mod place;
pub(crate) mod price;
pub(crate) mod snapshot;
pub(crate) mod tag;
pub(crate) mod task;
pub(crate) mod usage;

use serde_json::Value;

use crate::envelope::Object;
use crate::error::Error;

/// The unit of sizes on the wire, in bytes.
pub(crate) const GIB: u64 = 1 << 30;

/// Bytes in GiB, rounded up.
fn gib(bytes: u64) -> u64 {
    bytes.div_ceil(GIB)
}

/// The members of a JSON object that was written as one.
fn members(value: Value) -> Result<Object, Error> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Error::UnexpectedAnswer),
    }
}
