//! What the actions of the tag service take and mean.
//!
//! A resource's full name is `qcs:PROJECT:SERVICE:REGION:uin/ACCOUNT:KIND/ID`, where project and account may be empty.

use std::str::FromStr;

use kiln_model::{ParseIdError, RegionId, Resource, Tag};
use kiln_service::{Command, DescribeResourceTags, ModifyResourceTags, TagCommand, TagTarget};

use crate::error::{Error, shortened};
use crate::parameter::{Arguments, Kind, Parameter, harmless, only, optional, required};

/// How many are listed where the request does not say.
pub(crate) const DEFAULT_LIMIT: u64 = 15;
const MAX_LIMIT: u64 = 200;
/// The service that all resources with tags belong to.
pub(crate) const SERVICE: &str = "cvm";

/// The kinds of resources that carry tags, and what their identifiers begin with.
const KINDS: &[(&str, &str)] = &[
    ("image", "img-"),
    ("instance", "ins-"),
    ("keypair", "skey-"),
    ("volume", "disk-"),
    ("snapshot", "snap-"),
];

/// The full name of a resource in the caller's own account, such as clients use it.
fn target(name: &str) -> Result<TagTarget, Error> {
    let malformed = || Error::InvalidResource {
        name: shortened(name),
        expected: "qcs::cvm:REGION:uin/ACCOUNT:KIND/ID, where KIND is image, instance, keypair, volume or snapshot",
    };
    let parts: Vec<&str> = name.split(':').collect();
    let ["qcs", _, SERVICE, region, account, path] = parts[..] else { return Err(malformed()) };
    let account = match account.strip_prefix("uin/") {
        Some(digits) => Some(digits.parse().map_err(|_| malformed())?),
        None if account.is_empty() => None,
        None => return Err(malformed()),
    };
    fn id<T: FromStr<Err = ParseIdError>>(text: &str) -> Option<T> {
        text.parse().ok()
    }
    let resource = match path.split_once('/') {
        Some(("image", text)) => id(text).map(Resource::Image),
        Some(("instance", text)) => id(text).map(Resource::Instance),
        Some(("snapshot", text)) => id(text).map(Resource::Snapshot),
        Some(("volume", text)) => id(text).map(Resource::Disk),
        Some(("keypair", text)) => id(text).map(Resource::KeyPair),
        _ => None,
    };
    Ok(TagTarget {
        region: RegionId::from_trusted(region),
        account,
        resource: resource.ok_or_else(malformed)?,
        name: name.to_owned(),
    })
}

fn targets(arguments: &Arguments) -> Result<Vec<TagTarget>, Error> {
    arguments.texts("ResourceList").iter().map(|name| target(name)).collect()
}

const TAG: &[Parameter] = &[
    required("TagKey", Kind::Text),
    required("TagValue", Kind::Text),
    // All tags are of one category.
    harmless("Category", Kind::Text),
];
const KEY: &[Parameter] = &[required("TagKey", Kind::Text)];

fn tags(arguments: &Arguments, name: &str) -> Result<Vec<Tag>, Error> {
    let tag = |given: &Arguments| {
        Ok(Tag { key: given.required_text("TagKey")?, value: given.required_text("TagValue")? })
    };
    arguments.objects(name).iter().map(tag).collect()
}

pub(super) const DESCRIBE: &[Parameter] = &[
    // Only the caller's own are listed.
    harmless("CreateUin", Kind::Integer),
    // An identifier is never used twice, in whatever region.
    harmless("ResourceRegion", Kind::Text),
    only("ServiceType", Kind::Text, &[SERVICE], "no other service's resources carry tags"),
    optional("ResourcePrefix", Kind::Text),
    optional("ResourceId", Kind::Text),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
    only("CosResourceId", Kind::Integer, &["0"], "buckets carry no tags"),
];

pub(super) fn describe(arguments: &Arguments) -> Result<Command, Error> {
    let limit = arguments.integer("Limit").unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(arguments.invalid("Limit", format!("it must be between 1 and {MAX_LIMIT}")));
    }
    Ok(Command::Tag(TagCommand::Describe(DescribeResourceTags {
        resource: arguments.text("ResourceId"),
        prefix: arguments.choice("ResourcePrefix", KINDS)?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit,
    })))
}

pub(super) const MODIFY: &[Parameter] = &[
    required("Resource", Kind::Text),
    optional("ReplaceTags", Kind::Objects(TAG)),
    optional("DeleteTags", Kind::Objects(KEY)),
];

pub(super) fn modify(arguments: &Arguments) -> Result<Command, Error> {
    let delete: Result<_, _> =
        arguments.objects("DeleteTags").iter().map(|key| key.required_text("TagKey")).collect();
    Ok(Command::Tag(TagCommand::Modify(ModifyResourceTags {
        target: target(&arguments.required_text("Resource")?)?,
        replace: tags(arguments, "ReplaceTags")?,
        delete: delete?,
    })))
}

pub(super) const TAG_RESOURCES: &[Parameter] =
    &[required("ResourceList", Kind::Texts), required("Tags", Kind::Objects(TAG))];

pub(super) fn tag(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Tag(TagCommand::Tag { targets: targets(arguments)?, tags: tags(arguments, "Tags")? }))
}

pub(super) const UNTAG_RESOURCES: &[Parameter] =
    &[required("ResourceList", Kind::Texts), required("TagKeys", Kind::Texts)];

pub(super) fn untag(arguments: &Arguments) -> Result<Command, Error> {
    let keys = arguments.texts("TagKeys").to_vec();
    Ok(Command::Tag(TagCommand::Untag { targets: targets(arguments)?, keys }))
}
