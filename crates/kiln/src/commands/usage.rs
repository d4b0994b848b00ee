//! `kiln usage`: a month's report as a table, as JSON or as comma-separated values.

use serde_json::{Value, json};

use crate::arguments::{OutputForm, Usage};
use crate::client::{Client, Error};
use crate::output;
use crate::pages;

const USAGE_COLUMNS: &[(&str, &str)] = &[
    ("ACCOUNT", "/Uin"),
    ("REGION", "/Region"),
    ("INSTANCE", "/InstanceId"),
    ("TYPE", "/InstanceType"),
    ("IMAGE", "/ImageId"),
    ("FEE OF", "/FeeImageId"),
    ("PROVIDER", "/ProviderUin"),
    ("SECONDS", "/Seconds"),
    ("MACHINE/H", "/MachinePerHour"),
    ("IMAGE/H", "/ImagePerHour"),
    ("MACHINE", "/MachineAmount"),
    ("IMAGE FEE", "/ImageAmount"),
    ("AMOUNT", "/Amount"),
];

const EARNINGS_COLUMNS: &[(&str, &str)] = &[
    ("PROVIDER", "/ProviderUin"),
    ("REGION", "/Region"),
    ("IMAGE", "/ImageId"),
    ("IMAGE/H", "/ImagePerHour"),
    ("INSTANCES", "/InstanceCount"),
    ("SECONDS", "/Seconds"),
    ("AMOUNT", "/Amount"),
];

pub(super) async fn run(client: &Client, form: OutputForm, wanted: Usage) -> Result<(), Error> {
    let (action, set, columns) = match wanted.earnings {
        true => ("DescribeEarnings", "EarningsSet", EARNINGS_COLUMNS),
        false => ("DescribeUsage", "UsageSet", USAGE_COLUMNS),
    };
    let report = whole(client, &wanted, action, set).await?;
    match (wanted.csv, form) {
        (true, _) => print_csv(&report, set, columns),
        (false, OutputForm::Json) => output::json(&report),
        (false, OutputForm::Table) => {
            output::listing(form, &report, set, columns);
            output::line(&format!(
                "{}: {} in all",
                output::text(&report["Month"]),
                output::text(&report["Amount"])
            ));
        }
    }
    Ok(())
}

/// The report with all of its lines.
async fn whole(client: &Client, wanted: &Usage, action: &str, set: &str) -> Result<Value, Error> {
    // The last answer, which says what all lines come to.
    let mut report = json!({ "Month": wanted.month });
    let lines = pages::all(set, async |mut page| {
        // Every page is of the same month, also at midnight.
        for (name, value) in [("Month", report["Month"].clone()), ("Uin", json!(wanted.account))] {
            if !value.is_null() {
                page[name] = value;
            }
        }
        report = client.kiln(action, &page).await?;
        Ok(json!({ set: report[set].take() }))
    })
    .await?;
    report[set] = Value::Array(lines);
    Ok(report)
}

fn print_csv(report: &Value, set: &str, columns: &[(&str, &str)]) {
    let names = columns.iter().map(|(_, path)| path.trim_start_matches('/').to_owned());
    output::line(&["Month".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(","));
    for line in report[set].as_array().into_iter().flatten() {
        let values = columns.iter().map(|(_, path)| line.pointer(path).unwrap_or(&Value::Null));
        let fields = std::iter::once(&report["Month"]).chain(values).map(csv_field);
        output::line(&fields.collect::<Vec<_>>().join(","));
    }
}

/// A field by RFC 4180.
fn csv_field(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}
