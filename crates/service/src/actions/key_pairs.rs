//! Key pairs: public keys that are put into instances.

use std::sync::Arc;

use kiln_model::{KeyPair, KeyPairId, Timestamp};

use crate::{Answer, Caller, Refusal, Service};

const MAX_NAME_CHARS: usize = 25;
const MAX_KEY_BYTES: usize = 16 << 10;
/// The key types that OpenSSH takes today.
const KEY_TYPES: &[&str] = &[
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The most key pairs of an account.
const MAX_KEY_PAIRS: usize = 100;

pub(super) async fn import(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    public_key: String,
) -> Result<Answer, Refusal> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(well_formed) {
        return Err(Refusal::invalid(
            "InvalidKeyPairName.Illegal",
            format!("KeyName must be 1 to {MAX_NAME_CHARS} letters, digits and underscores."),
        ));
    }
    let public_key = public_key.trim().to_owned();
    check_public_key(&public_key)?;
    let pair = KeyPair {
        id: KeyPairId::random(),
        owner: caller.account.uin,
        name,
        public_key,
        created_at: Timestamp::now(),
    };
    let mut tx = service.catalog.write().await?;
    let present = tx.key_pairs(pair.owner).await?;
    if present.len() >= MAX_KEY_PAIRS {
        return Err(Refusal::quota(
            "LimitExceeded.KeyPair",
            format!(
                "You have {MAX_KEY_PAIRS} key pairs, the most there may be. Delete those that are not used."
            ),
        ));
    }
    if present.iter().any(|other| other.name == pair.name) {
        return Err(Refusal::conflict(
            "InvalidKeyPairName.Duplicate",
            format!("You already have a key pair named {}. Choose another name.", pair.name),
        ));
    }
    tx.insert_key_pair(&pair).await?;
    tx.commit().await?;
    Ok(Answer::KeyPairs(vec![pair]))
}

fn check_public_key(key: &str) -> Result<(), Refusal> {
    let mut words = key.split_ascii_whitespace();
    let known = words.next().is_some_and(|kind| KEY_TYPES.contains(&kind));
    let material = words.next().is_some_and(|text| {
        text.len() >= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    });
    if known && material && key.len() <= MAX_KEY_BYTES && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "InvalidParameterValue.InvalidPublicKey",
        "PublicKey must be one line in OpenSSH's form, such as the content of ~/.ssh/id_ed25519.pub.",
    ))
}

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    ids: &[KeyPairId],
) -> Result<Answer, Refusal> {
    let mut pairs = service.catalog.read().await?.key_pairs(caller.account.uin).await?;
    if !ids.is_empty() {
        pairs.retain(|pair| ids.contains(&pair.id));
    }
    Ok(Answer::KeyPairs(pairs))
}

pub(super) async fn delete(
    service: &Arc<Service>,
    caller: &Caller,
    ids: &[KeyPairId],
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.write().await?;
    for id in ids {
        if !tx.delete_key_pair(caller.account.uin, id).await? {
            return Err(Refusal::not_found(
                "InvalidKeyPairId.NotFound",
                format!("You have no key pair {id}; nothing was deleted."),
            ));
        }
    }
    tx.commit().await?;
    Ok(Answer::Done)
}
