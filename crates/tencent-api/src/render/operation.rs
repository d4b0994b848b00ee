//! The operation log, and the actions that there are.

use kiln_service::{Answer, OperationEntry, OperationOutcome};
use serde_json::{Value, json};

use super::members;
use crate::actions::{ACTIONS, Access, Rendering};
use crate::envelope::Object;
use crate::error::Error;

/// A page of the log.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Operations(page) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let operations: Vec<Value> = page.operations.iter().map(operation).collect();
    members(json!({"TotalCount": page.total, "OperationSet": operations}))
}

fn operation(entry: &OperationEntry) -> Value {
    let succeeded = entry.code.is_empty();
    json!({
        "Time": entry.at.to_string(),
        "AccountUin": entry.account.to_string(),
        "ActorUin": entry.sub_account.unwrap_or(entry.account).to_string(),
        "SecretId": entry.secret_id,
        "ActionName": entry.action,
        "Subject": entry.subject,
        "RegionName": entry.region,
        "OperationRequestId": entry.request_id,
        "Result": match entry.outcome() {
            OperationOutcome::Succeeded => "SUCCEEDED",
            OperationOutcome::Refused => "REFUSED",
            OperationOutcome::Unfinished => "UNFINISHED",
        },
        "ErrorCode": (!succeeded).then_some(&entry.code),
        // Of a success: what was made, and the task that goes on with it.
        "Message": entry.message,
    })
}

/// Every action, from the table itself.
pub(crate) fn actions(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Done = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let actions: Vec<Value> = ACTIONS
        .iter()
        .map(|action| {
            json!({
                "Service": action.of.service,
                "Version": action.of.version,
                "ActionName": action.name,
                "Access": match action.access() {
                    Access::Read => "READ",
                    Access::Change => "CHANGE",
                },
            })
        })
        .collect();
    members(json!({"TotalCount": actions.len(), "ActionSet": actions}))
}
