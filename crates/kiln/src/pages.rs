//! Lists of the API, which come page by page.

use serde_json::{Value, json};

use crate::client::Error;

/// Rows on a page, the most that the API gives.
pub(crate) const PAGE: u64 = 100;

/// All rows of a list, by the member that has a page of them; `ask` gets the parameters that say which page.
pub(crate) async fn all(
    set: &str,
    mut ask: impl AsyncFnMut(Value) -> Result<Value, Error>,
) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    loop {
        let (rows, is_last) = page(set, &mut ask, all.len()).await?;
        all.extend(rows);
        if is_last {
            return Ok(all);
        }
    }
}

/// The first row of a list that is wanted; the pages behind it are not asked for.
pub(crate) async fn find(
    set: &str,
    mut ask: impl AsyncFnMut(Value) -> Result<Value, Error>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Option<Value>, Error> {
    let mut passed = 0;
    loop {
        let (rows, is_last) = page(set, &mut ask, passed).await?;
        passed += rows.len();
        let found = rows.into_iter().find(&wanted);
        if found.is_some() || is_last {
            return Ok(found);
        }
    }
}

/// The rows behind so many, and whether there are no more behind these.
async fn page(
    set: &str,
    ask: &mut impl AsyncFnMut(Value) -> Result<Value, Error>,
    offset: usize,
) -> Result<(Vec<Value>, bool), Error> {
    let mut answer = ask(json!({ "Offset": offset, "Limit": PAGE })).await?;
    let rows = answer[set].as_array_mut().map(std::mem::take).unwrap_or_default();
    let is_last = (rows.len() as u64) < PAGE;
    Ok((rows, is_last))
}

/// The same as an answer with one page.
pub(crate) async fn whole(
    set: &str,
    ask: impl AsyncFnMut(Value) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let rows = all(set, ask).await?;
    Ok(json!({ "TotalCount": rows.len(), set: rows }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many rows there are of a list of so many, and what is found in it with how many pages.
    async fn asked(count: u64, wanted: u64) -> (usize, Option<Value>, u32) {
        let pages = Cell::new(0);
        let list = async |page: Value| {
            pages.set(pages.get() + 1);
            let (offset, limit) = (page["Offset"].as_u64().unwrap_or(0), page["Limit"].as_u64().unwrap_or(0));
            Ok(json!({ "Set": (offset..count.min(offset + limit)).collect::<Vec<_>>() }))
        };
        let all = all("Set", &list).await.expect("answered").len();
        pages.set(0);
        let found = find("Set", &list, |row| *row == wanted).await.expect("answered");
        (all, found, pages.get())
    }

    #[tokio::test]
    async fn no_row_is_left_out_and_no_page_asked_for_in_vain() {
        assert_eq!(asked(0, 0).await, (0, None, 1));
        assert_eq!(asked(PAGE, PAGE).await, (100, None, 2));
        assert_eq!(asked(3 * PAGE + 1, 150).await, (301, Some(json!(150)), 2));
        assert_eq!(asked(3 * PAGE + 1, 300).await, (301, Some(json!(300)), 4));
    }
}
