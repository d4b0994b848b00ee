//! Printing: tables for people, JSON for programs.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::OutputForm;

/// Prints a line. Where nobody reads any more (`| head`) the program ends; where it cannot be written, it fails.
pub(crate) fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Writes bytes as they are, as [`line`] does.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("kiln: standard output: {error}");
            std::process::exit(1);
        }
    }
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &Value) {
    line(&format!("{value:#}"));
}

/// Says that something was done: the sentence for people, the API's answer for programs.
pub(crate) fn done(form: OutputForm, answer: &Value, sentence: &str) {
    match form {
        OutputForm::Json => json(answer),
        OutputForm::Table => line(sentence),
    }
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
    // Long cells are broken where somebody looks; a program gets a row in a line.
    if let Some((_, width)) = console::Term::stdout().size_checked() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in answer[rows].as_array().into_iter().flatten() {
        table.add_row(columns.iter().map(|(_, field)| row.pointer(field).map(text).unwrap_or_default()));
    }
    line(&table.to_string());
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
