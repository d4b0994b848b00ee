//! Lists of the API, which come page by page.

use serde_json::{Value, json};

use crate::client::Error;

/// Rows on a page, the most that the API gives.
pub(crate) const PAGE: u64 = 100;

/// All rows of a list, by the member that has a page of them; `ask` gets the parameters that say which page.
pub(crate) async fn all(
    set: &str,
    ask: impl AsyncFn(Value) -> Result<Value, Error>,
) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    while (all.len() as u64).is_multiple_of(PAGE) {
        let rows = page(set, &ask, all.len()).await?;
        if rows.is_empty() {
            break;
        }
        all.extend(rows);
    }
    Ok(all)
}

/// The first row of a list that is wanted; the pages behind it are not asked for.
pub(crate) async fn find(
    set: &str,
    ask: impl AsyncFn(Value) -> Result<Value, Error>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Option<Value>, Error> {
    let mut passed = 0;
    while (passed as u64).is_multiple_of(PAGE) {
        let rows = page(set, &ask, passed).await?;
        passed += rows.len();
        let is_last = rows.is_empty();
        let found = rows.into_iter().find(&wanted);
        if found.is_some() || is_last {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn page(
    set: &str,
    ask: &impl AsyncFn(Value) -> Result<Value, Error>,
    offset: usize,
) -> Result<Vec<Value>, Error> {
    let mut answer = ask(json!({ "Offset": offset, "Limit": PAGE })).await?;
    Ok(answer[set].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// The same as an answer with one page.
pub(crate) async fn whole(
    set: &str,
    ask: impl AsyncFn(Value) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let rows = all(set, ask).await?;
    Ok(json!({ "TotalCount": rows.len(), set: rows }))
}
