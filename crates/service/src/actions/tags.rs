//! Tags: an account's own notes on its resources. Who sees a shared image may not tag it, and sees nobody else's tags.

use std::sync::Arc;

use kiln_catalog::{TagCondition, Tx};
use kiln_model::{Resource, Tag};

use crate::{
    Answer, Caller, DescribeResourceTags, Filter, ModifyResourceTags, Refusal, RefusalKind, Service,
    TagCommand, TagFailure, TagTarget, checks,
};

const MAX_KEY_CHARS: usize = 127;
const MAX_VALUE_CHARS: usize = 255;
/// The most tags of a resource.
const MAX_TAGS: usize = 50;
/// The most tags that one request sets or removes.
const MAX_TAGS_PER_REQUEST: usize = 10;
/// The most resources that one request tags.
const MAX_RESOURCES: usize = 10;

/// The error codes that a service has for tags that cannot be.
pub(super) struct Codes {
    key: &'static str,
    value: &'static str,
    twice: &'static str,
    too_many_asked: &'static str,
    too_many_kept: &'static str,
}

/// The codes of the CVM service.
pub(super) const CVM: Codes = Codes {
    key: "FailedOperation.IllegalTagKey",
    value: "FailedOperation.IllegalTagValue",
    twice: "InvalidParameterValue.DuplicateTags",
    too_many_asked: "InvalidParameterValue.TagQuotaLimitExceeded",
    too_many_kept: "LimitExceeded.TagResourceQuota",
};

/// The codes of the CBS service.
pub(super) const CBS: Codes = Codes {
    key: "InvalidParameterValue",
    value: "InvalidParameterValue",
    twice: "InvalidParameterValue",
    too_many_asked: "InvalidParameterValue.LimitExceeded",
    too_many_kept: "LimitExceeded.TagQuotaLimitExceeded",
};

/// The codes of the tag service.
const TAG: Codes = Codes {
    key: "InvalidParameterValue.TagKeyCharacterIllegal",
    value: "InvalidParameterValue.TagValueCharacterIllegal",
    twice: "InvalidParameterValue.TagKeyDuplicate",
    too_many_asked: "LimitExceeded.TagNumPerRequest",
    too_many_kept: "LimitExceeded.ResourceAttachedTags",
};

/// The form of the tags of a request.
pub(super) fn check(tags: &[Tag], codes: &Codes) -> Result<(), Refusal> {
    if tags.len() > MAX_TAGS_PER_REQUEST {
        return Err(Refusal::invalid(
            codes.too_many_asked,
            format!("There are {} tags; at most {MAX_TAGS_PER_REQUEST} are set at once.", tags.len()),
        ));
    }
    for (position, tag) in tags.iter().enumerate() {
        check_text("key", &tag.key, 1, MAX_KEY_CHARS, codes.key)?;
        check_text("value", &tag.value, 0, MAX_VALUE_CHARS, codes.value)?;
        if tags[..position].iter().any(|other| other.key == tag.key) {
            return Err(Refusal::invalid(codes.twice, format!("The tag {:?} is there twice.", tag.key)));
        }
    }
    Ok(())
}

fn check_text(what: &str, text: &str, least: usize, most: usize, code: &'static str) -> Result<(), Refusal> {
    let plain = text.trim() == text && !text.chars().any(char::is_control);
    if plain && (least..=most).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(Refusal::invalid(
        code,
        format!("A tag's {what} must be {least} to {most} printable characters, without spaces at its ends."),
    ))
}

/// Puts tags on a resource of the caller's, within the limit.
pub(super) async fn put(
    tx: &mut Tx,
    caller: &Caller,
    resource: &str,
    tags: &[Tag],
    codes: &Codes,
) -> Result<(), Refusal> {
    let owner = caller.account.uin;
    for tag in tags {
        tx.put_tag(owner, resource, tag).await?;
    }
    let kept = tx.tags(owner, Some(resource), None, 0, 1).await?.1;
    if kept > MAX_TAGS as u64 {
        return Err(Refusal::quota(
            codes.too_many_kept,
            format!("{resource} would have {kept} tags; at most {MAX_TAGS} are allowed. Remove some."),
        ));
    }
    Ok(())
}

/// The condition that a filter of a list stands for, where it is one on tags.
pub(super) fn condition(filter: &Filter) -> Option<TagCondition> {
    let values = filter.values.clone();
    match filter.name.as_str() {
        "tag-key" => Some(TagCondition { keys: values, values: Vec::new() }),
        "tag-value" => Some(TagCondition { keys: Vec::new(), values }),
        name => name.strip_prefix("tag:").map(|key| TagCondition { keys: vec![key.to_owned()], values }),
    }
}

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: TagCommand,
) -> Result<Answer, Refusal> {
    match command {
        TagCommand::Describe(request) => describe(service, caller, request).await,
        TagCommand::Modify(request) => modify(service, caller, request).await,
        TagCommand::Tag { targets, tags } => tag(service, caller, targets, &tags).await,
        TagCommand::Untag { targets, keys } => untag(service, caller, targets, &keys).await,
    }
}

async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeResourceTags,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    let (tags, total) = tx
        .tags(caller.account.uin, request.resource.as_deref(), request.prefix, request.offset, request.limit)
        .await?;
    Ok(Answer::ResourceTags { tags, total })
}

async fn modify(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyResourceTags,
) -> Result<Answer, Refusal> {
    if request.replace.is_empty() && request.delete.is_empty() {
        return Err(Refusal::invalid(
            "MissingParameter",
            "There are neither ReplaceTags nor DeleteTags. Give one of them, or both.",
        ));
    }
    check(&request.replace, &TAG)?;
    if let Some(both) = request.replace.iter().find(|tag| request.delete.contains(&tag.key)) {
        return Err(Refusal::invalid(
            "InvalidParameterValue.DeleteTagsParamError",
            format!("The tag {:?} is in both ReplaceTags and DeleteTags. Leave it out of one.", both.key),
        ));
    }
    let mut tx = service.catalog.write().await?;
    check_target(&mut tx, caller, &request.target).await?;
    let id = request.target.resource.id();
    for key in &request.delete {
        if !tx.delete_tag(caller.account.uin, id, key).await? {
            return Err(no_such_tag(id, key));
        }
    }
    put(&mut tx, caller, id, &request.replace, &TAG).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

async fn tag(
    service: &Arc<Service>,
    caller: &Caller,
    targets: Vec<TagTarget>,
    tags: &[Tag],
) -> Result<Answer, Refusal> {
    check(tags, &TAG)?;
    check_count(&targets)?;
    let mut failures = Vec::new();
    for target in targets {
        let outcome = async {
            let mut tx = service.catalog.write().await?;
            check_target(&mut tx, caller, &target).await?;
            put(&mut tx, caller, target.resource.id(), tags, &TAG).await?;
            Ok(tx.commit().await?)
        };
        note(&mut failures, &target, outcome.await)?;
    }
    Ok(Answer::Tagged { failures })
}

async fn untag(
    service: &Arc<Service>,
    caller: &Caller,
    targets: Vec<TagTarget>,
    keys: &[String],
) -> Result<Answer, Refusal> {
    check_count(&targets)?;
    let mut failures = Vec::new();
    for target in targets {
        let outcome = async {
            let mut tx = service.catalog.write().await?;
            check_target(&mut tx, caller, &target).await?;
            for key in keys {
                tx.delete_tag(caller.account.uin, target.resource.id(), key).await?;
            }
            Ok(tx.commit().await?)
        };
        note(&mut failures, &target, outcome.await)?;
    }
    Ok(Answer::Tagged { failures })
}

/// Each resource has its own outcome; only a fault of the service ends the request.
fn note(
    failures: &mut Vec<TagFailure>,
    target: &TagTarget,
    outcome: Result<(), Refusal>,
) -> Result<(), Refusal> {
    match outcome {
        Ok(()) => Ok(()),
        Err(refusal) if refusal.kind == RefusalKind::Internal => Err(refusal),
        Err(refusal) => {
            failures.push(TagFailure { name: target.name.clone(), refusal });
            Ok(())
        }
    }
}

fn check_count(targets: &[TagTarget]) -> Result<(), Refusal> {
    if (1..=MAX_RESOURCES).contains(&targets.len()) {
        return Ok(());
    }
    Err(Refusal::invalid(
        "LimitExceeded.ResourceNumPerRequest",
        format!("ResourceList has {} entries; 1 to {MAX_RESOURCES} are allowed.", targets.len()),
    ))
}

/// That a resource is the caller's own, where its name says it is.
async fn check_target(tx: &mut Tx, caller: &Caller, target: &TagTarget) -> Result<(), Refusal> {
    if let Some(account) = target.account.filter(|account| *account != caller.account.uin) {
        return Err(Refusal::denied(
            "InvalidParameterValue.UinInvalid",
            format!("{} names account {account}; you can tag your own resources only.", target.name),
        ));
    }
    let there = Caller { region: target.region.clone(), ..caller.clone() };
    let found = match &target.resource {
        Resource::Image(id) => checks::own_image(tx, &there, id).await.map(|_| ()),
        Resource::Instance(id) => checks::own_instance(tx, &there, id).await.map(|_| ()),
        Resource::Disk(id) => checks::own_disk(tx, &there, id).await.map(|_| ()),
        Resource::Snapshot(id) => {
            checks::own_snapshot(tx, &there, id, "InvalidSnapshotId.NotFound").await.map(|_| ())
        }
        Resource::KeyPair(id) => checks::own_key_pair(tx, caller, id).await.map(|_| ()),
    };
    found.map_err(|refusal| match refusal.kind {
        RefusalKind::Internal => refusal,
        kind => Refusal::new(kind, "InvalidParameterValue.ResourceIdInvalid", refusal.message),
    })
}

fn no_such_tag(resource: &str, key: &str) -> Refusal {
    Refusal::not_found(
        "ResourceNotFound.AttachedTagKeyNotFound",
        format!("{resource} has no tag {key:?}; nothing was changed."),
    )
}
