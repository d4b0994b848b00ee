//! Key pairs for logging in to instances.

use kiln_service::{Answer, SeenKeyPair};
use serde_json::{Value, json};

use super::{members, tag};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// How many are listed where the request does not say.
const DEFAULT_LIMIT: u64 = 20;
/// How many are listed at most.
const MAX_LIMIT: u64 = 100;

/// The key pair that was imported.
pub(crate) fn imported(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::KeyPairs(pairs) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    match &pairs[..] {
        [seen] => members(json!({"KeyId": seen.pair.id})),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// A new key pair with its private key, which is shown here and nowhere else.
pub(crate) fn created(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::KeyPairCreated { pair, private_key } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let mut shape = key_pair(&pair);
    shape["PrivateKey"] = private_key.0.into();
    members(json!({"KeyPair": shape}))
}

/// A page of key pairs: the service answers with all of them, which are few.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::KeyPairs(pairs) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let offset = rendering.arguments.integer("Offset").unwrap_or(0);
    let limit = rendering.arguments.integer("Limit").unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    let page: Vec<Value> = pairs.iter().skip(skipped).zip(0..limit).map(|(pair, _)| key_pair(pair)).collect();
    members(json!({"TotalCount": pairs.len(), "KeyPairSet": page}))
}

fn key_pair(seen: &SeenKeyPair) -> Value {
    let pair = &seen.pair;
    json!({
        "KeyId": pair.id,
        "KeyName": pair.name,
        "ProjectId": 0,
        "Description": pair.description,
        "PublicKey": pair.public_key,
        "CreatedTime": pair.created_at.to_string(),
        "AssociatedInstanceIds": seen.instances,
        "Tags": tag::of_resource(&seen.tags),
    })
}
