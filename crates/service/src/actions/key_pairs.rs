//! Key pairs: public keys that are put into instances. A private key that is made here is shown once and kept nowhere.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_model::{KeyPair, KeyPairId, Tag, Timestamp};
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};
use rsa::traits::PublicKeyParts;

use super::tags;
use crate::{Answer, Caller, Filter, KeyPairCommand, PrivateKey, Refusal, SeenKeyPair, Service, checks};

const MAX_NAME_CHARS: usize = 25;
const MAX_DESCRIPTION_CHARS: usize = 60;
/// The length of the keys that are made here, in bits.
const RSA_BITS: usize = 3072;
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

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: KeyPairCommand,
) -> Result<Answer, Refusal> {
    match command {
        KeyPairCommand::Create { name, tags } => create(service, caller, name, tags).await,
        KeyPairCommand::Import { name, public_key, tags } => {
            import(service, caller, name, public_key, tags).await
        }
        KeyPairCommand::Modify { key_pair, name, description } => {
            modify(service, caller, &key_pair, name, description).await
        }
        KeyPairCommand::Describe { key_pairs, filters } => {
            describe(service, caller, &key_pairs, &filters).await
        }
        KeyPairCommand::Delete { key_pairs } => delete(service, caller, &key_pairs).await,
    }
}

async fn create(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    tags: Vec<Tag>,
) -> Result<Answer, Refusal> {
    check_name(&name)?;
    tags::check(&tags, &tags::CVM)?;
    let generated = tokio::task::spawn_blocking(generate).await.map_err(Refusal::internal)?;
    let (public_key, private_key) = generated.map_err(Refusal::internal)?;
    let pair = insert(service, caller, name, public_key, tags).await?;
    Ok(Answer::KeyPairCreated { pair, private_key })
}

/// A new pair: the public key in OpenSSH's form, the private one in PEM (PKCS #1), as OpenSSH and everybody else read
/// it.
fn generate() -> Result<(String, PrivateKey), rsa::Error> {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS)?;
    let pem = private.to_pkcs1_pem(LineEnding::LF)?;
    // RFC 4253: the name, the exponent, the modulus, each behind its length; the numbers with a zero in front, where
    // they would be taken for negative.
    let mut blob = Vec::new();
    let mut field = |bytes: &[u8]| {
        blob.extend((bytes.len() as u32).to_be_bytes());
        blob.extend(bytes);
    };
    field(b"ssh-rsa");
    for number in [private.e(), private.n()] {
        let bytes = number.to_bytes_be();
        let padding: &[u8] = if bytes.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
        field(&[padding, &bytes].concat());
    }
    Ok((format!("ssh-rsa {}", STANDARD.encode(blob)), PrivateKey(pem.to_string())))
}

async fn import(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    public_key: String,
    tags: Vec<Tag>,
) -> Result<Answer, Refusal> {
    check_name(&name)?;
    let public_key = public_key.trim().to_owned();
    check_public_key(&public_key)?;
    tags::check(&tags, &tags::CVM)?;
    Ok(Answer::KeyPairs(vec![insert(service, caller, name, public_key, tags).await?]))
}

/// Records a new key pair, within the limit.
async fn insert(
    service: &Arc<Service>,
    caller: &Caller,
    name: String,
    public_key: String,
    tags: Vec<Tag>,
) -> Result<SeenKeyPair, Refusal> {
    let pair = KeyPair {
        id: KeyPairId::random(),
        owner: caller.account.uin,
        name,
        public_key,
        description: String::new(),
        created_at: Timestamp::now(),
    };
    let mut tx = service.catalog.write().await?;
    let present = tx.key_pairs(pair.owner).await?;
    check_name_is_free(&present, &pair.name)?;
    if present.len() >= MAX_KEY_PAIRS {
        return Err(Refusal::quota(
            "InvalidKeyPair.LimitExceeded",
            format!(
                "You have {MAX_KEY_PAIRS} key pairs, the most there may be. Delete those that are not used."
            ),
        ));
    }
    tx.insert_key_pair(&pair).await?;
    tags::put(&mut tx, caller, pair.id.as_str(), &tags, &tags::CVM).await?;
    tx.commit().await?;
    Ok(SeenKeyPair { pair, instances: Vec::new(), tags })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let code = if name.is_empty() {
        "InvalidKeyPairNameEmpty"
    } else if name.len() > MAX_NAME_CHARS {
        "InvalidKeyPairNameTooLong"
    } else if !name.chars().all(well_formed) {
        "InvalidKeyPairNameIncludeIllegalChar"
    } else {
        return Ok(());
    };
    let message = format!("KeyName must be 1 to {MAX_NAME_CHARS} letters, digits and underscores.");
    Err(Refusal::invalid(code, message))
}

fn check_name_is_free(present: &[KeyPair], name: &str) -> Result<(), Refusal> {
    if !present.iter().any(|other| other.name == name) {
        return Ok(());
    }
    Err(Refusal::conflict(
        "InvalidKeyPairName.Duplicate",
        format!("You already have a key pair named {name}. Choose another name."),
    ))
}

async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    id: &KeyPairId,
    name: Option<String>,
    description: Option<String>,
) -> Result<Answer, Refusal> {
    name.as_deref().map_or(Ok(()), check_name)?;
    let chars = description.as_ref().map_or(0, |text| text.chars().count());
    if chars > MAX_DESCRIPTION_CHARS {
        return Err(Refusal::invalid(
            "InvalidParameterValue.TooLong",
            format!("Description has {chars} characters; at most {MAX_DESCRIPTION_CHARS} are allowed."),
        ));
    }
    let mut tx = service.catalog.write().await?;
    let mut pair = checks::own_key_pair(&mut tx, caller, id).await?;
    if let Some(name) = name.filter(|name| *name != pair.name) {
        check_name_is_free(&tx.key_pairs(caller.account.uin).await?, &name)?;
        pair.name = name;
    }
    pair.description = description.unwrap_or(pair.description);
    tx.set_key_pair_attributes(&pair).await?;
    tx.commit().await?;
    Ok(Answer::Done)
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
        "InvalidPublicKey.Malformed",
        "PublicKey must be one line in OpenSSH's form, such as the content of ~/.ssh/id_ed25519.pub.",
    ))
}

async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    ids: &[KeyPairId],
    filters: &[Filter],
) -> Result<Answer, Refusal> {
    if !ids.is_empty() && !filters.is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameter.SpecifyOneParameter",
            "KeyIds and Filters exclude each other. Give one of them.",
        ));
    }
    let owner = caller.account.uin;
    let mut tx = service.catalog.read().await?;
    let mut pairs = tx.key_pairs(owner).await?;
    // One that is not there is not listed; clients such as Terraform's take an empty list for deleted.
    if !ids.is_empty() {
        pairs.retain(|pair| ids.contains(&pair.id));
    }
    let mut tags = tx.tags_of(owner, pairs.iter().map(|pair| pair.id.as_str())).await?;
    let instances = tx.instances_of(owner).await?;
    let mut seen: Vec<SeenKeyPair> = pairs
        .into_iter()
        .map(|pair| {
            let opened = instances.iter().filter(|one| one.settings.key_pairs.contains(&pair.id));
            let instances = opened.map(|instance| instance.id.clone()).collect();
            SeenKeyPair { tags: tags.remove(pair.id.as_str()).unwrap_or_default(), instances, pair }
        })
        .collect();
    for filter in filters {
        narrow(&mut seen, filter)?;
    }
    Ok(Answer::KeyPairs(seen))
}

fn narrow(pairs: &mut Vec<SeenKeyPair>, filter: &Filter) -> Result<(), Refusal> {
    if let Some(condition) = tags::condition(filter) {
        let one_of = |wanted: &[String], text: &String| wanted.is_empty() || wanted.contains(text);
        let fits = |tag: &Tag| one_of(&condition.keys, &tag.key) && one_of(&condition.values, &tag.value);
        pairs.retain(|seen| seen.tags.iter().any(fits));
        return Ok(());
    }
    match filter.name.as_str() {
        "key-name" => pairs.retain(|seen| filter.values.contains(&seen.pair.name)),
        "project-id" if filter.values.iter().any(|value| value == "0") => {}
        "project-id" => pairs.clear(),
        other => {
            return Err(Refusal::invalid(
                "InvalidFilter",
                format!(
                    "There is no filter {other:?}. Use key-name, project-id, tag-key, tag-value or tag:KEY."
                ),
            ));
        }
    }
    Ok(())
}

async fn delete(service: &Arc<Service>, caller: &Caller, ids: &[KeyPairId]) -> Result<Answer, Refusal> {
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
