//! Tags, as the CVM service shows them with a resource, and as the tag service lists them.

use kiln_model::Tag;
use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::{Rendering, tags};
use crate::envelope::Object;
use crate::error::Error;

/// A resource's tags.
pub(crate) fn of_resource(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| json!({"Key": tag.key, "Value": tag.value})).collect()
}

/// A list of tags.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ResourceTags { tags: found, total } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let rows: Vec<Value> = found
        .iter()
        .map(|(resource, tag)| {
            json!({
                "TagKey": tag.key,
                "TagValue": tag.value,
                "ResourceId": resource,
                "TagKeyMd5": md5(&tag.key),
                "TagValueMd5": md5(&tag.value),
                "ServiceType": tags::SERVICE,
                "Category": "",
            })
        })
        .collect();
    members(json!({
        "TotalCount": total,
        "Offset": rendering.arguments.integer("Offset").unwrap_or(0),
        "Limit": rendering.arguments.integer("Limit").unwrap_or(tags::DEFAULT_LIMIT),
        "Rows": rows,
    }))
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(text))
}

/// The resources that kept their tags as they were.
pub(crate) fn failures(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Tagged { failures } = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let failed: Vec<Value> = failures
        .iter()
        .map(|failure| {
            json!({
                "Resource": failure.name,
                "Code": failure.refusal.code,
                "Message": failure.refusal.message,
            })
        })
        .collect();
    members(json!({"FailedResources": failed}))
}
