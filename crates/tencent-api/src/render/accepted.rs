//! Answers that say that something was done or will be.

use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// Nothing but that it was done.
pub(crate) fn nothing(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::Done | Answer::DryRunPassed => Ok(Object::new()),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// The image that is being made.
pub(crate) fn image(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::ImageAccepted { image, .. } => members(json!({"ImageId": image})),
        Answer::DryRunPassed => Ok(Object::new()),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// The files that are being written.
pub(crate) fn export(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::ExportAccepted { task, keys } => {
            let paths: Vec<String> = keys.iter().map(|key| format!("/{key}")).collect();
            members(json!({"TaskId": task.number(), "CosPaths": paths}))
        }
        Answer::DryRunPassed => members(json!({"TaskId": 0, "CosPaths": []})),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// The copies that are being made.
pub(crate) fn copies(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::CopiesAccepted(copies) => {
            let copies: Vec<Value> = copies
                .into_iter()
                .map(|copy| json!({"ImageId": copy.image, "Region": copy.region}))
                .collect();
            members(json!({"ImageSet": copies}))
        }
        Answer::DryRunPassed => members(json!({"ImageSet": []})),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// The instances that are being launched.
pub(crate) fn instances(rendering: Rendering<'_>) -> Result<Object, Error> {
    match rendering.answer {
        Answer::Launched(instances) => members(json!({"InstanceIdSet": instances})),
        Answer::DryRunPassed => members(json!({"InstanceIdSet": []})),
        _ => Err(Error::UnexpectedAnswer),
    }
}
