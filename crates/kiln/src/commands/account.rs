//! `kiln account`: the operator's work on accounts.

use serde_json::json;

use crate::arguments::{AccountCommand, OutputForm};
use crate::client::{Client, Error};
use crate::output;

pub(super) async fn run(client: &Client, form: OutputForm, command: AccountCommand) -> Result<(), Error> {
    match command {
        AccountCommand::Create { nickname, allow_import } => {
            let parameters = json!({ "Nickname": nickname, "AllowImport": allow_import });
            let mut created = client.kiln("CreateAccount", &parameters).await?;
            if let Some(fields) = created.as_object_mut() {
                fields.retain(|name, _| matches!(name.as_str(), "Uin" | "AppId" | "SecretId" | "SecretKey"));
            }
            output::json(&created);
        }
        AccountCommand::List => {
            let accounts = client.kiln("DescribeAccounts", &json!({})).await?;
            let columns = [
                ("UIN", "/Uin"),
                ("NICKNAME", "/Nickname"),
                ("ROLE", "/Role"),
                ("IMPORT", "/AllowImport"),
                ("CREATED", "/CreatedTime"),
            ];
            output::listing(form, &accounts, "AccountSet", &columns);
        }
        AccountCommand::AllowImport { uin, revoke } => {
            let parameters = json!({ "Uin": uin, "Allowed": !revoke });
            let answer = client.kiln("ModifyImportPermission", &parameters).await?;
            let sentence =
                format!("account {uin} may {} images", if revoke { "no longer import" } else { "import" });
            output::done(form, &answer, &sentence);
        }
    }
    Ok(())
}
