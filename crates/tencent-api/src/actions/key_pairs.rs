//! What the actions on key pairs take and mean.

use kiln_service::{Command, KeyPairCommand};

use super::images::{FILTER, TAG_SPECIFICATION, filters, tags};
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};

/// The error code for a key pair id of the wrong form.
pub(super) const KEY_PAIR_ID: &str = "InvalidKeyPairId.Malformed";
/// The kind of resource that a key pair is to tags.
const RESOURCE: &str = "keypair";

pub(super) const CREATE: &[Parameter] = &[
    required("KeyName", Kind::Text),
    // Required by the public definition. There are no projects, so any one is as good as the default.
    required("ProjectId", Kind::Integer),
    optional("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
];

pub(super) fn create(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::KeyPair(KeyPairCommand::Create {
        name: arguments.required_text("KeyName")?,
        tags: tags(arguments, RESOURCE)?,
    }))
}

pub(super) const IMPORT: &[Parameter] = &[
    required("KeyName", Kind::Text),
    required("ProjectId", Kind::Integer),
    required("PublicKey", Kind::Text),
    optional("TagSpecification", Kind::Objects(TAG_SPECIFICATION)),
];

pub(super) fn import(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::KeyPair(KeyPairCommand::Import {
        name: arguments.required_text("KeyName")?,
        public_key: arguments.required_text("PublicKey")?,
        tags: tags(arguments, RESOURCE)?,
    }))
}

pub(super) const MODIFY: &[Parameter] =
    &[required("KeyId", Kind::Text), optional("KeyName", Kind::Text), optional("Description", Kind::Text)];

pub(super) fn modify(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::KeyPair(KeyPairCommand::Modify {
        key_pair: arguments.required_id("KeyId", KEY_PAIR_ID)?,
        name: arguments.text("KeyName"),
        description: arguments.text("Description"),
    }))
}

pub(super) const DESCRIBE: &[Parameter] = &[
    optional("KeyIds", Kind::Texts),
    optional("Filters", Kind::Objects(FILTER)),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::KeyPair(KeyPairCommand::Describe {
        key_pairs: arguments.ids("KeyIds", KEY_PAIR_ID)?,
        filters: filters(arguments)?,
    }))
}

pub(super) const DELETE: &[Parameter] = &[required("KeyIds", Kind::Texts)];

pub(super) fn delete(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::KeyPair(KeyPairCommand::Delete { key_pairs: arguments.ids("KeyIds", KEY_PAIR_ID)? }))
}
