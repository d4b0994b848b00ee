//! `kiln key-pair`: public keys for logging in to instances.

use serde_json::json;

use crate::arguments::{KeyPairCommand, OutputForm};
use crate::client::{Client, Error};
use crate::output;

pub(super) async fn run(client: &Client, form: OutputForm, command: KeyPairCommand) -> Result<(), Error> {
    match command {
        KeyPairCommand::Import { name, file } => {
            let key =
                std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            // Never sent: whoever sees a private key has it.
            if key.contains("PRIVATE KEY") {
                let advice = "this is a private key; give the public one, whose name ends with .pub";
                return Err(format!("{}: {advice}", file.display()).into());
            }
            let parameters = json!({ "KeyName": name, "PublicKey": key.trim(), "ProjectId": 0 });
            let answer = client.cvm("ImportKeyPair", &parameters).await?;
            match form {
                OutputForm::Json => output::json(&answer),
                OutputForm::Table => output::line(&output::text(&answer["KeyId"])),
            }
        }
        KeyPairCommand::List => {
            let answer = client.cvm("DescribeKeyPairs", &json!({ "Limit": 100 })).await?;
            let columns = [("KEY", "/KeyId"), ("NAME", "/KeyName"), ("CREATED", "/CreatedTime")];
            output::listing(form, &answer, "KeyPairSet", &columns);
        }
        KeyPairCommand::Delete { key_pairs } => {
            let answer = client.cvm("DeleteKeyPairs", &json!({ "KeyIds": key_pairs })).await?;
            output::done(form, &answer, &format!("deleted {}", key_pairs.join(", ")));
        }
    }
    Ok(())
}
