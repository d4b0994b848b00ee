//! What the actions on key pairs take and mean.

use kiln_service::Command;

use super::images::NO_TAGS;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, refused, required};

/// The error code for a key pair id of the wrong form.
pub(super) const KEY_PAIR_ID: &str = "InvalidKeyPairId.Malformed";

pub(super) const IMPORT: &[Parameter] = &[
    required("KeyName", Kind::Text),
    // Required by the public definition. There are no projects, so any one is as good as the default.
    required("ProjectId", Kind::Integer),
    required("PublicKey", Kind::Text),
    refused("TagSpecification", NO_TAGS),
];

pub(super) fn import(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::ImportKeyPair {
        name: arguments.required_text("KeyName")?,
        public_key: arguments.required_text("PublicKey")?,
    })
}

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("KeyIds", Kind::Texts),
    refused("Filters", "key pairs are listed whole or by their ids; use KeyIds"),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DescribeKeyPairs { key_pairs: arguments.ids("KeyIds", KEY_PAIR_ID)? })
}

pub(super) const DELETE: &[Parameter] = &[required("KeyIds", Kind::Texts)];

pub(super) fn delete(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::DeleteKeyPairs { key_pairs: arguments.ids("KeyIds", KEY_PAIR_ID)? })
}
