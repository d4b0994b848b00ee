//! Usage and earnings. Amounts and prices are text, such as `0.1200`, so that none is rounded on its way; each amount is
//! rounded once, to the fourth place.

use kiln_model::{EarningsLine, UsageLine};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// What a month cost.
pub(crate) fn usage(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Usage(report) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "Month": report.month.to_string(),
        "TotalCount": report.total,
        "MachineAmount": report.machine_amount.to_string(),
        "ImageAmount": report.image_amount.to_string(),
        "Amount": report.machine_amount.plus(report.image_amount).to_string(),
        "UsageSet": report.lines.iter().map(usage_line).collect::<Vec<_>>(),
    }))
}

fn usage_line(line: &UsageLine) -> Value {
    let (machine, image) = (line.machine_amount(), line.image_amount());
    json!({
        "Uin": line.owner.to_string(),
        "Region": line.region,
        "InstanceId": line.instance,
        "InstanceType": line.instance_type,
        "ImageId": line.image,
        "FeeImageId": line.fee_image,
        "ProviderUin": line.provider.to_string(),
        "Seconds": seconds(line.millis),
        "MachinePerHour": line.machine_per_hour.to_string(),
        "ImagePerHour": line.image_per_hour.to_string(),
        "MachineAmount": machine.to_string(),
        "ImageAmount": image.to_string(),
        "Amount": machine.plus(image).to_string(),
    })
}

/// What a month brought.
pub(crate) fn earnings(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Earnings(report) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    members(json!({
        "Month": report.month.to_string(),
        "TotalCount": report.total,
        "Amount": report.image_amount.to_string(),
        "EarningsSet": report.lines.iter().map(earnings_line).collect::<Vec<_>>(),
    }))
}

/// Who paid is between them and the operator.
fn earnings_line(line: &EarningsLine) -> Value {
    json!({
        "ProviderUin": line.provider.to_string(),
        "Region": line.region,
        "ImageId": line.image,
        "ImagePerHour": line.image_per_hour.to_string(),
        "InstanceCount": line.instances,
        "Seconds": seconds(line.millis),
        "Amount": line.amount.to_string(),
    })
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
