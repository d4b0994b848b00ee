//! Listing objects: in the order of their keys, by prefix, with what has a delimiter folded into common prefixes.

use kiln_model::Object;

use super::bucket_to_read;
use crate::{Caller, Refusal, Service};

/// The most that a page holds.
const MAX_PAGE: usize = 1_000;

/// Which objects are asked for.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ListObjects {
    pub bucket: String,
    pub prefix: String,
    /// Keys that have it after the prefix are folded.
    pub delimiter: Option<String>,
    /// Only what comes after this key or common prefix.
    pub after: Option<String>,
    /// The most that is given, objects and common prefixes together.
    pub limit: Option<usize>,
}

/// A page of a listing.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ObjectPage {
    pub objects: Vec<Object>,
    pub common_prefixes: Vec<String>,
    /// Where the next page begins, if there is more: what `after` is to say.
    pub next: Option<String>,
    pub limit: usize,
}

impl Service {
    /// A page of a bucket's objects.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn list_objects(&self, caller: &Caller, request: &ListObjects) -> Result<ObjectPage, Refusal> {
        let limit = request.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut tx = self.catalog.read().await?;
        let bucket = bucket_to_read(&mut tx, caller, &request.bucket).await?;
        let mut page = ObjectPage { limit, ..ObjectPage::default() };
        if limit == 0 {
            return Ok(page);
        }
        let mut listing = Listing::begin(request);
        loop {
            let (key, after) = listing.cursor.clone();
            let batch = tx.objects_from(&bucket.name, &key, after, limit as u64 + 1).await?;
            let exhausted = batch.len() <= limit;
            for object in batch {
                if !listing.take(object, &mut page) {
                    return Ok(page);
                }
            }
            if exhausted {
                return Ok(page);
            }
        }
    }
}

/// Where a listing has come to.
struct Listing<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    /// The key to go on from, and whether it was had already.
    cursor: (String, bool),
    /// The common prefix that was met last.
    folded: Option<String>,
    last: Option<String>,
}

impl<'a> Listing<'a> {
    fn begin(request: &'a ListObjects) -> Self {
        let mut listing = Self {
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            cursor: (request.prefix.clone(), false),
            folded: None,
            last: None,
        };
        if let Some(after) = request.after.as_deref().filter(|after| *after >= request.prefix.as_str()) {
            match listing.common_prefix(after).filter(|common| common == after) {
                Some(common) => listing.skip(common),
                None => listing.cursor = (after.to_owned(), true),
            }
        }
        listing
    }

    fn common_prefix(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(self.prefix)?;
        let end = rest.find(self.delimiter?)? + self.delimiter?.len();
        Some(format!("{}{}", self.prefix, &rest[..end]))
    }

    /// Goes on behind everything that has a common prefix; the few keys that come after the greatest character are
    /// told by `folded`.
    fn skip(&mut self, common: String) {
        self.cursor = (format!("{common}\u{10ffff}"), false);
        self.folded = Some(common);
    }

    /// Puts an object onto the page; whether there may be more.
    fn take(&mut self, object: Object, page: &mut ObjectPage) -> bool {
        if !object.key.starts_with(self.prefix) {
            return false;
        }
        let common = self.common_prefix(&object.key);
        if common.is_some() && common == self.folded {
            return true;
        }
        if page.objects.len() + page.common_prefixes.len() == page.limit {
            page.next = self.last.take();
            return false;
        }
        match common {
            Some(common) => {
                self.last = Some(common.clone());
                page.common_prefixes.push(common.clone());
                self.skip(common);
            }
            None => {
                self.last = Some(object.key.clone());
                self.cursor = (object.key.clone(), true);
                page.objects.push(object);
            }
        }
        true
    }
}
