//! Printing: tables for people, JSON for programs.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::OutputForm;

/// Prints a value as indented JSON.
pub(crate) fn json(value: &Value) {
    println!("{value:#}");
}

/// Prints a listing: the answer itself for programs, else a table of the named fields of its rows.
///
/// A column is a title and the path of a field (a JSON pointer).
pub(crate) fn listing(form: OutputForm, answer: &Value, rows: &str, columns: &[(&str, &str)]) {
    if form == OutputForm::Json {
        return json(answer);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in answer[rows].as_array().into_iter().flatten() {
        table.add_row(columns.iter().map(|(_, field)| row.pointer(field).map(text).unwrap_or_default()));
    }
    println!("{table}");
}

/// A value as people read it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What others wrote must not steer the terminal it is shown on.
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
