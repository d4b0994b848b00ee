//! Reading typed values out of rows, and turning values into what columns hold.
//!
//! A stored value that does not fit its type is [`Error::Corrupt`], naming the column: never a panic, never a guess.

use std::str::FromStr;

use kiln_model::{AppId, Failure, Timestamp, Uin};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Database, QueryBuilder, Row as _};

use crate::words::Word;
use crate::{Error, Result};

/// The database that is spoken to.
pub(crate) type Db = sqlx::Sqlite;
/// A statement with its values.
pub(crate) type Query<'q> = sqlx::query::Query<'q, Db, <Db as Database>::Arguments<'q>>;
/// A statement that is put together.
pub(crate) type Builder<'q> = QueryBuilder<'q, Db>;

/// A row of an answer.
pub(crate) struct Row(pub(crate) <Db as Database>::Row);

fn corrupt(column: &'static str, reason: impl ToString) -> Error {
    Error::Corrupt { column, reason: reason.to_string() }
}

impl Row {
    fn get<'r, T>(&'r self, column: &'static str) -> Result<T>
    where
        T: sqlx::Decode<'r, Db> + sqlx::Type<Db>,
    {
        self.0.try_get(column).map_err(|error| corrupt(column, error))
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        self.get(column)
    }

    pub(crate) fn optional_text(&self, column: &'static str) -> Result<Option<String>> {
        self.get(column)
    }

    pub(crate) fn signed(&self, column: &'static str) -> Result<i64> {
        self.get(column)
    }

    /// An unsigned number of any width.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value = self.signed(column)?;
        T::try_from(value).map_err(|_| corrupt(column, format_args!("{value} is out of range")))
    }

    pub(crate) fn optional_number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        self.get::<Option<i64>>(column)?.map(|_| self.number(column)).transpose()
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool> {
        Ok(self.signed(column)? != 0)
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.signed(column).map(Timestamp)
    }

    pub(crate) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp))
    }

    pub(crate) fn uin(&self, column: &'static str) -> Result<Uin> {
        self.number(column).map(Uin)
    }

    pub(crate) fn app_id(&self, column: &'static str) -> Result<AppId> {
        self.number(column).map(AppId)
    }

    pub(crate) fn word<T: Word>(&self, column: &'static str) -> Result<T> {
        let word: &str = self.get(column)?;
        T::of_word(word).ok_or_else(|| corrupt(column, format_args!("{word:?} is not a known word")))
    }

    pub(crate) fn parsed<T: FromStr<Err: ToString>>(&self, column: &'static str) -> Result<T> {
        self.get::<&str>(column)?.parse().map_err(|error: T::Err| corrupt(column, error.to_string()))
    }

    pub(crate) fn optional_parsed<T: FromStr<Err: ToString>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>> {
        self.get::<Option<&str>>(column)?.map(|_| self.parsed(column)).transpose()
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.get::<Option<&str>>(column)?.map(|_| self.json(column)).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(self.get(column)?).map_err(|error| corrupt(column, error))
    }

    pub(crate) fn failure(&self, code: &'static str, message: &'static str) -> Result<Option<Failure>> {
        let Some(code) = self.optional_text(code)? else { return Ok(None) };
        Ok(Some(Failure { code, message: self.text(message)? }))
    }
}

/// A number as a column holds it.
pub(crate) fn integer(value: u64, what: &'static str) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::TooLarge(what))
}

/// An account's number as a column holds it.
pub(crate) fn uin(value: Uin) -> Result<i64> {
    integer(value.0, "uin")
}

/// A document as a column holds it.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the model's documents have text keys and cannot fail to serialise")
}

/// The two columns of a failure.
pub(crate) fn failure_columns(failure: Option<&Failure>) -> (Option<&str>, Option<&str>) {
    (failure.map(|failure| failure.code.as_str()), failure.map(|failure| failure.message.as_str()))
}

/// Adds `(value, value, …)`; with no value, a list that nothing is in.
pub(crate) fn push_list<'q>(query: &mut Builder<'q>, values: impl IntoIterator<Item = &'q str>) {
    query.push("(");
    let mut list = query.separated(", ");
    let mut none = true;
    for value in values {
        list.push_bind(value);
        none = false;
    }
    if none {
        list.push("NULL");
    }
    query.push(")");
}

/// Adds `AND column IN (…)`, or nothing where there are no values to filter by.
pub(crate) fn push_filter<'q>(
    query: &mut Builder<'q>,
    column: &str,
    values: impl IntoIterator<Item = &'q str, IntoIter: ExactSizeIterator>,
) {
    let values = values.into_iter();
    if values.len() > 0 {
        query.push(" AND ").push(column).push(" IN ");
        push_list(query, values);
    }
}

/// Adds `LIMIT … OFFSET …`.
pub(crate) fn push_page(query: &mut Builder<'_>, offset: u64, limit: u64) -> Result<()> {
    query.push(" LIMIT ").push_bind(integer(limit, "limit")?);
    // No table has more rows than that.
    query.push(" OFFSET ").push_bind(i64::try_from(offset).unwrap_or(i64::MAX));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_still_sql() {
        let mut query = Builder::new("SELECT 1 WHERE 1 IN ");
        push_list(&mut query, []);
        assert_eq!(query.into_sql(), "SELECT 1 WHERE 1 IN (NULL)");
    }

    #[test]
    fn no_values_filter_nothing() {
        let mut query = Builder::new("SELECT 1");
        push_filter(&mut query, "a", Vec::<&str>::new());
        push_filter(&mut query, "b", vec!["x", "y"]);
        assert_eq!(query.into_sql(), "SELECT 1 AND b IN (?, ?)");
    }
}
