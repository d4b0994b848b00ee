//! `kiln account`: accounts, their sub-accounts, keys, limits and permission to import.

use serde_json::{Value, json};

use crate::account_arguments::{AccountCommand, ApiKeyCommand, SetLimits, SubAccountCommand, SubAccountRole};
use crate::arguments::OutputForm;
use crate::client::{Client, Error};
use crate::output;
use crate::pages;

const ACCOUNT_COLUMNS: &[(&str, &str)] = &[
    ("UIN", "/Uin"),
    ("NICKNAME", "/Nickname"),
    ("ROLE", "/Role"),
    ("IMPORT", "/AllowImport"),
    ("EMAIL", "/Email"),
    ("PHONE", "/Phone"),
    ("CREATED", "/CreatedTime"),
];

pub(super) async fn run(client: &Client, form: OutputForm, command: AccountCommand) -> Result<(), Error> {
    match command {
        AccountCommand::Create { nickname, allow_import, email, phone } => {
            let parameters = given(
                json!({ "Nickname": nickname, "AllowImport": allow_import }),
                [("Email", email), ("Phone", phone)],
            );
            let created = client.kiln("CreateAccount", &parameters).await?;
            print_new_key(created, &["Uin", "AppId"]);
        }
        AccountCommand::List => {
            let accounts = client.kiln("DescribeAccounts", &json!({})).await?;
            output::listing(form, &accounts, "AccountSet", ACCOUNT_COLUMNS);
        }
        AccountCommand::Show { uin } => {
            let account = client.kiln("DescribeAccount", &given(json!({}), [("Uin", uin)])).await?;
            match form {
                OutputForm::Json => output::json(&account),
                OutputForm::Table => {
                    output::listing(form, &json!({ "AccountSet": [account] }), "AccountSet", ACCOUNT_COLUMNS);
                }
            }
        }
        AccountCommand::Contact { uin, email, phone, notify_email, notify_sms } => {
            let mut parameters = given(json!({}), [("Uin", uin), ("Email", email), ("Phone", phone)]);
            for (name, flag) in [("NotifyByEmail", notify_email), ("NotifyBySms", notify_sms)] {
                if let Some(flag) = flag {
                    parameters[name] = flag.into();
                }
            }
            let answer = client.kiln("ModifyAccountContact", &parameters).await?;
            output::done(form, &answer, "changed; `kiln account show` shows it");
        }
        AccountCommand::ApplyImport { reason } => {
            let answer = client.kiln("ApplyForImportPermission", &json!({ "Reason": reason })).await?;
            output::done(form, &answer, "applied; `kiln account applications` shows the operator's answer");
        }
        AccountCommand::Applications { pending } => applications(client, form, pending).await?,
        AccountCommand::AllowImport { uin, revoke, answer } => {
            let parameters = json!({ "Uin": uin, "Allowed": !revoke, "Answer": answer });
            let answer = client.kiln("ModifyImportPermission", &parameters).await?;
            let sentence =
                format!("account {uin} may {} images", if revoke { "not import" } else { "import" });
            output::done(form, &answer, &sentence);
        }
        AccountCommand::Limits { uin } => {
            let limits = client.kiln("DescribeLimits", &given(json!({}), [("Uin", uin)])).await?;
            let columns =
                [("LIMIT", "/Name"), ("ALLOWED", "/Limit"), ("USED", "/Used"), ("RENEWS", "/RenewsTime")];
            output::listing(form, &limits, "LimitSet", &columns);
        }
        AccountCommand::SetLimits(wanted) => set_limits(client, form, wanted).await?,
        AccountCommand::Sub(command) => sub_account(client, form, command).await?,
        AccountCommand::Key(command) => api_key(client, form, command).await?,
    }
    Ok(())
}

/// Parameters with those among `optional` that have a value.
fn given<const N: usize>(mut parameters: Value, optional: [(&str, Option<String>); N]) -> Value {
    for (name, value) in optional {
        if let Some(value) = value {
            parameters[name] = value.into();
        }
    }
    parameters
}

/// Prints a key as JSON in either form: it is what the environment is set from, and is not shown again.
fn print_new_key(mut created: Value, beside: &[&str]) {
    if let Some(fields) = created.as_object_mut() {
        fields
            .retain(|name, _| matches!(name.as_str(), "SecretId" | "SecretKey") || beside.contains(&&**name));
    }
    output::json(&created);
}

async fn applications(client: &Client, form: OutputForm, pending: bool) -> Result<(), Error> {
    let ask = async |mut page: Value| {
        if pending {
            page["State"] = "PENDING".into();
        }
        client.kiln("DescribeImportApplications", &page).await
    };
    let answer = pages::whole("ImportApplicationSet", ask).await?;
    let columns = [
        ("UIN", "/Uin"),
        ("STATE", "/State"),
        ("APPLIED", "/AppliedTime"),
        ("REASON", "/Reason"),
        ("DECIDED", "/DecidedTime"),
        ("ANSWER", "/Answer"),
    ];
    output::listing(form, &answer, "ImportApplicationSet", &columns);
    Ok(())
}

/// The action takes all limits at once: those that are not named are as they were.
async fn set_limits(
    client: &Client,
    form: OutputForm,
    SetLimits { uin, wanted }: SetLimits,
) -> Result<(), Error> {
    let mut parameters = json!({ "Uin": uin });
    if !wanted.reset {
        let mut limits = client.kiln("DescribeAccount", &json!({ "Uin": uin })).await?["Limits"].take();
        let numbers = [
            ("ImagesPerRegion", wanted.images_per_region),
            ("SharesPerImage", wanted.shares_per_image),
            ("SystemDiskSize", wanted.system_disk_size),
            ("ImageNameLength", wanted.image_name_length),
            ("ImageDescriptionLength", wanted.image_description_length),
            ("InstancesPerRegion", wanted.instances_per_region),
            ("SnapshotsPerRegion", wanted.snapshots_per_region),
            ("DisksPerRegion", wanted.disks_per_region),
            ("RequestsPerSecond", wanted.requests_per_second),
            ("ExportTasks", wanted.export_tasks),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                limits[name] = value.into();
            }
        }
        match wanted.image_operations_per_day.as_deref() {
            None => {}
            Some("none") => limits["ImageOperationsPerDay"] = Value::Null,
            Some(text) => {
                let number: u32 = text.parse().map_err(|_| {
                    format!("--image-operations-per-day {text}: give a number, or `none` for any number")
                })?;
                limits["ImageOperationsPerDay"] = number.into();
            }
        }
        if let Some(limits) = limits.as_object_mut() {
            limits.retain(|_, value| !value.is_null());
        }
        parameters["Limits"] = limits;
    }
    let answer = client.kiln("ModifyAccountLimits", &parameters).await?;
    output::done(form, &answer, &format!("changed; `kiln account limits {uin}` shows them"));
    Ok(())
}

fn role_word(role: SubAccountRole) -> &'static str {
    match role {
        SubAccountRole::Full => "FULL",
        SubAccountRole::ReadOnly => "READ_ONLY",
    }
}

async fn sub_account(client: &Client, form: OutputForm, command: SubAccountCommand) -> Result<(), Error> {
    match command {
        SubAccountCommand::Create { name, role } => {
            let parameters = json!({ "Name": name, "Role": role_word(role) });
            print_new_key(client.kiln("CreateSubAccount", &parameters).await?, &["Uin", "OwnerUin", "Role"]);
        }
        SubAccountCommand::List { uin } => {
            let answer = client.kiln("DescribeSubAccounts", &given(json!({}), [("Uin", uin)])).await?;
            let columns =
                [("UIN", "/Uin"), ("NAME", "/Name"), ("ROLE", "/Role"), ("CREATED", "/CreatedTime")];
            output::listing(form, &answer, "SubAccountSet", &columns);
        }
        SubAccountCommand::Role { uin, role } => {
            let word = role_word(role);
            let answer = client.kiln("ModifySubAccount", &json!({ "Uin": uin, "Role": word })).await?;
            output::done(form, &answer, &format!("sub-account {uin} is {word} now"));
        }
        SubAccountCommand::Delete { uin } => {
            let answer = client.kiln("DeleteSubAccount", &json!({ "Uin": uin })).await?;
            output::done(form, &answer, &format!("deleted sub-account {uin} and its keys"));
        }
    }
    Ok(())
}

async fn api_key(client: &Client, form: OutputForm, command: ApiKeyCommand) -> Result<(), Error> {
    match command {
        ApiKeyCommand::Create { uin } => {
            let created = client.kiln("CreateApiKey", &given(json!({}), [("Uin", uin)])).await?;
            print_new_key(created, &["Uin"]);
        }
        ApiKeyCommand::List { uin } => {
            let answer = client.kiln("DescribeApiKeys", &given(json!({}), [("Uin", uin)])).await?;
            let columns =
                [("KEY", "/SecretId"), ("UIN", "/Uin"), ("ENABLED", "/Enabled"), ("CREATED", "/CreatedTime")];
            output::listing(form, &answer, "ApiKeySet", &columns);
        }
        ApiKeyCommand::Enable { key } => switch_key(client, form, &key, true).await?,
        ApiKeyCommand::Disable { key } => switch_key(client, form, &key, false).await?,
        ApiKeyCommand::Delete { key } => {
            let answer = client.kiln("DeleteApiKey", &json!({ "TargetSecretId": key })).await?;
            output::done(form, &answer, &format!("deleted key {key}"));
        }
    }
    Ok(())
}

async fn switch_key(client: &Client, form: OutputForm, key: &str, enabled: bool) -> Result<(), Error> {
    let parameters = json!({ "TargetSecretId": key, "Enabled": enabled });
    let answer = client.kiln("ModifyApiKey", &parameters).await?;
    output::done(
        form,
        &answer,
        &format!("key {key} is {} now", if enabled { "enabled" } else { "disabled" }),
    );
    Ok(())
}
