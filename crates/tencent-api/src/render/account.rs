//! Accounts and API keys. A secret is shown once, by the action that made it.

use kiln_model::{Limits, Role};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::{gib, members};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// Who the caller is.
pub(crate) fn identity(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Identity(account) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let uin = account.uin.to_string();
    members(json!({
        "Arn": format!("qcs::cam::uin/{uin}:root"),
        "AccountId": uin,
        "UserId": uin,
        "PrincipalId": uin,
        "Type": "CAMUser",
    }))
}

/// A new account and its first key.
pub(crate) fn created(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::AccountCreated { account, key } = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    members(json!({
        "Uin": account.uin.to_string(),
        "AppId": account.app_id,
        "Nickname": account.nickname,
        "SecretId": key.secret_id,
        "SecretKey": key.secret_key,
    }))
}

/// All accounts.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Accounts(accounts) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let accounts: Vec<Value> = accounts
        .into_iter()
        .map(|summary| {
            json!({
                "Uin": summary.account.uin.to_string(),
                "AppId": summary.account.app_id,
                "Nickname": summary.account.nickname,
                "Role": match summary.account.role {
                    Role::Operator => "OPERATOR",
                    Role::Main => "MAIN",
                },
                "AllowImport": summary.account.may_import,
                "CreatedTime": summary.account.created_at.to_string(),
                "Limits": limits(&summary.limits),
            })
        })
        .collect();
    members(json!({"TotalCount": accounts.len(), "AccountSet": accounts}))
}

fn limits(limits: &Limits) -> Value {
    json!({
        "ImagesPerRegion": limits.images_per_region,
        "ImageOperationsPerDay": limits.image_operations_per_day,
        "SharesPerImage": limits.shares_per_image,
        "SystemDiskSize": gib(limits.system_disk_bytes),
        "ImageNameLength": limits.image_name_chars,
        "ImageDescriptionLength": limits.image_description_chars,
        "InstancesPerRegion": limits.instances_per_region,
    })
}

/// A new key.
pub(crate) fn key(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ApiKeyCreated(key) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "SecretId": key.secret_id,
        "SecretKey": key.secret_key,
        "Uin": key.uin.to_string(),
        "CreatedTime": key.created_at.to_string(),
    }))
}

/// An account's keys, without their secrets.
pub(crate) fn keys(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ApiKeys(keys) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let keys: Vec<Value> = keys
        .into_iter()
        .map(|key| {
            json!({
                "SecretId": key.secret_id,
                "Uin": key.uin.to_string(),
                "Enabled": key.enabled,
                "CreatedTime": key.created_at.to_string(),
            })
        })
        .collect();
    members(json!({"TotalCount": keys.len(), "ApiKeySet": keys}))
}
