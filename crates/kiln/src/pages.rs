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
    loop {
        let mut answer = ask(json!({ "Offset": all.len(), "Limit": PAGE })).await?;
        let page = answer[set].as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_last = (page.len() as u64) < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// The same as an answer with one page.
pub(crate) async fn whole(
    set: &str,
    ask: impl AsyncFn(Value) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let rows = all(set, ask).await?;
    Ok(json!({ "TotalCount": rows.len(), set: rows }))
}
