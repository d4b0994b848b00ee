//! Printing: tables for people, JSON for programs.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::OutputForm;

/// The blanks on both sides of a cell.
const CELL_MARGIN: usize = 2;
/// What is left of the last column at least: a time has so many characters.
const LAST_CHARS_MIN: usize = 20;

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

/// Prints a listing: the answer itself for programs, else a table of its rows.
pub(crate) fn listing(form: OutputForm, answer: &Value, rows: &str, columns: &[(&str, &str)]) {
    if form == OutputForm::Json {
        return json(answer);
    }
    line(&table(answer[rows].as_array().into_iter().flatten(), columns, &console::Term::stdout()));
}

/// A table of the named fields of rows, for whom it is printed to.
///
/// A column is a title and the path of a field (a JSON pointer), or paths with spaces between them: the first that is there.
pub(crate) fn table<'a>(
    rows: impl Iterator<Item = &'a Value>,
    columns: &[(&str, &str)],
    to: &console::Term,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| *title));
    let cells = |row: &Value| columns.iter().map(|(_, fields)| cell(row, fields)).collect();
    let mut rows: Vec<Vec<String>> = rows.map(cells).collect();
    // A program gets all of a row; who looks has a line of the terminal for it.
    if let Some((_, width)) = to.size_checked() {
        fit(&mut rows, columns, usize::from(width));
    }
    table.add_rows(rows);
    table.to_string()
}

fn cell(row: &Value, fields: &str) -> String {
    let mut found = fields.split(' ').filter_map(|field| row.pointer(field)).peekable();
    let first = found.peek().copied();
    found.find(|value| !value.is_null()).or(first).map(text).unwrap_or_default()
}

/// Cuts the last column, which has the longest texts, so that a row fits into a line.
fn fit(rows: &mut [Vec<String>], columns: &[(&str, &str)], width: usize) {
    let Some(last) = columns.len().checked_sub(1) else { return };
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].as_str()).chain([columns[column].0]);
        cells.map(console::measure_text_width).max().unwrap_or(0)
    };
    let others: usize = (0..last).map(|column| widest(column) + CELL_MARGIN).sum();
    let left = width.saturating_sub(others + CELL_MARGIN).max(LAST_CHARS_MIN);
    for cell in rows.iter_mut().map(|row| &mut row[last]) {
        *cell = console::truncate_str(cell, left, "…").into_owned();
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_shows_the_first_field_that_is_there() {
        let row = json!({"ImageId": null, "Export": {"ImageIds": ["img-1", "img-2"]}, "Stage": null});
        assert_eq!(cell(&row, "/ImageId /Export/ImageIds"), "img-1 img-2");
        assert_eq!(cell(&row, "/Stage /ImageId"), "-");
        assert_eq!(cell(&row, "/Absent"), "");
    }

    #[test]
    fn the_last_column_takes_what_is_left_of_a_line() {
        let columns = [("TASK", "/TaskId"), ("REASON", "/ErrorMessage")];
        let row = |reason: &str| vec!["task-00000000".to_owned(), reason.to_owned()];
        let mut rows = [row("short"), row("a reason that is longer than the line that it stands in")];
        fit(&mut rows, &columns, 40);
        assert_eq!(rows[0][1], "short");
        assert_eq!(rows[1][1], "a reason that is longe…");
        assert_eq!(13 + CELL_MARGIN + rows[1][1].chars().count() + CELL_MARGIN, 40);
        fit(&mut rows, &columns, 10);
        assert_eq!(rows[1][1].chars().count(), LAST_CHARS_MIN);
    }
}
