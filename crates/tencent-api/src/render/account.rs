//! Accounts, sub-accounts, API keys, applications. A secret is shown once, by the action that made it.

use kiln_model::{
    ApplicationState, Email, ImportApplication, Limits, Phone, Role, SubAccount, SubAccountRole,
};
use kiln_service::{AccountSummary, Answer, CreatedSubAccount, Identity};
use serde_json::{Value, json};

use super::{gib, members};
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// Who the caller is.
pub(crate) fn identity(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Identity(Identity { account, sub_account }) = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let main = account.uin.to_string();
    let (arn, uin) = match sub_account {
        None => (format!("qcs::cam::uin/{main}:root"), main.clone()),
        Some(sub_account) => {
            (format!("qcs::cam:{main}:uin/{}", sub_account.uin), sub_account.uin.to_string())
        }
    };
    members(json!({"Arn": arn, "AccountId": main, "UserId": uin, "PrincipalId": uin, "Type": "CAMUser"}))
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
    let accounts: Vec<Value> = accounts.iter().map(summary).collect();
    members(json!({"TotalCount": accounts.len(), "AccountSet": accounts}))
}

/// One account.
pub(crate) fn one(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Account(account) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(summary(&account))
}

fn summary(summary: &AccountSummary) -> Value {
    json!({
        "Uin": summary.account.uin.to_string(),
        "AppId": summary.account.app_id,
        "Nickname": summary.account.nickname,
        "Role": match summary.account.role {
            Role::Operator => "OPERATOR",
            Role::Main => "MAIN",
        },
        "Email": summary.account.contact.email.as_ref().map(Email::as_str),
        "Phone": summary.account.contact.phone.as_ref().map(Phone::as_str),
        "NotifyByEmail": summary.account.contact.notify_email,
        "NotifyBySms": summary.account.contact.notify_sms,
        "AllowImport": summary.account.may_import,
        "CreatedTime": summary.account.created_at.to_string(),
        "Limits": limits(&summary.limits),
        "OwnLimits": summary.own_limits,
    })
}

/// A new sub-account and its first key.
pub(crate) fn sub_account_created(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::SubAccountCreated(CreatedSubAccount { sub_account, key }) = rendering.answer else {
        return Err(Error::UnexpectedAnswer);
    };
    let mut members = members(sub_account_object(&sub_account))?;
    members.insert("SecretId".to_owned(), json!(key.secret_id));
    members.insert("SecretKey".to_owned(), json!(key.secret_key));
    Ok(members)
}

/// A main account's sub-accounts.
pub(crate) fn sub_accounts(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::SubAccounts(sub_accounts) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let sub_accounts: Vec<Value> = sub_accounts.iter().map(sub_account_object).collect();
    members(json!({"TotalCount": sub_accounts.len(), "SubAccountSet": sub_accounts}))
}

fn sub_account_object(sub_account: &SubAccount) -> Value {
    json!({
        "Uin": sub_account.uin.to_string(),
        "OwnerUin": sub_account.owner.to_string(),
        "Name": sub_account.name,
        "Role": match sub_account.role {
            SubAccountRole::Full => "FULL",
            SubAccountRole::ReadOnly => "READ_ONLY",
        },
        "CreatedTime": sub_account.created_at.to_string(),
    })
}

/// Applications for the permission to import.
pub(crate) fn applications(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ImportApplications(page) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let application = |application: &ImportApplication| {
        json!({
            "Uin": application.account.to_string(),
            "Reason": application.reason,
            "State": match application.state {
                ApplicationState::Pending => "PENDING",
                ApplicationState::Granted => "GRANTED",
                ApplicationState::Refused => "REFUSED",
            },
            "AppliedTime": application.applied_at.to_string(),
            "DecidedTime": application.decided_at.map(|at| at.to_string()),
            "Answer": application.answer,
        })
    };
    let applications: Vec<Value> = page.applications.iter().map(application).collect();
    members(json!({"TotalCount": page.total, "ImportApplicationSet": applications}))
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
        "SnapshotsPerRegion": limits.snapshots_per_region,
        "DisksPerRegion": limits.disks_per_region,
        "RequestsPerSecond": limits.requests_per_second,
        "ExportTasks": limits.export_tasks,
    })
}

/// A new key.
pub(crate) fn key(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::ApiKeyCreated(key) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "SecretId": key.secret_id,
        "SecretKey": key.secret_key,
        "Uin": key.holder().to_string(),
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
                "Uin": key.holder().to_string(),
                "Enabled": key.enabled,
                "CreatedTime": key.created_at.to_string(),
            })
        })
        .collect();
    members(json!({"TotalCount": keys.len(), "ApiKeySet": keys}))
}
