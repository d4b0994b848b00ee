//! `kiln log`: who did what, on what, when, and how it went.

use serde_json::json;

use crate::account_arguments::Log;
use crate::arguments::OutputForm;
use crate::client::{Client, Error};
use crate::output;

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "/Time"),
    ("ACCOUNT", "/AccountUin"),
    ("BY", "/ActorUin"),
    ("ACTION", "/ActionName"),
    ("ON", "/Subject"),
    ("REGION", "/RegionName"),
    ("RESULT", "/Result"),
    ("CODE", "/ErrorCode"),
    ("WHAT CAME OF IT", "/Message"),
];

pub(super) async fn run(client: &Client, form: OutputForm, wanted: Log) -> Result<(), Error> {
    let mut parameters = json!({ "Offset": wanted.offset, "Limit": wanted.limit });
    let filters = [
        ("AccountUin", wanted.account),
        ("ActorUin", wanted.actor),
        ("ActionName", wanted.action),
        ("Subject", wanted.subject),
        ("Result", wanted.refused.then(|| "REFUSED".to_owned())),
        ("From", wanted.from),
        ("Until", wanted.until),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            parameters[name] = value.into();
        }
    }
    let answer = client.kiln("DescribeOperations", &parameters).await?;
    output::listing(form, &answer, "OperationSet", COLUMNS);
    Ok(())
}
