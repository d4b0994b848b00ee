//! The tags that accounts put on resources, and conditions on them in lists.

use std::collections::HashMap;

use kiln_model::{Tag, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Builder, Row, push_filter, push_list, push_page, uin};

/// That a resource carries a tag with one of these keys and one of these values. An empty list lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub struct TagCondition {
    pub keys: Vec<String>,
    pub values: Vec<String>,
}

/// Adds a condition for each element, on tags of `owner` at the resource whose identifier is in `column`.
pub(crate) fn push_tag_conditions<'q>(
    query: &mut Builder<'q>,
    column: &str,
    owner: Uin,
    conditions: &'q [TagCondition],
) -> Result<()> {
    for condition in conditions {
        query.push(" AND EXISTS (SELECT 1 FROM tags t WHERE t.resource = ").push(column);
        query.push(" AND t.owner = ").push_bind(uin(owner)?);
        push_filter(query, "t.tag_key", condition.keys.iter().map(String::as_str));
        push_filter(query, "t.tag_value", condition.values.iter().map(String::as_str));
        query.push(")");
    }
    Ok(())
}

fn read_tag(row: &Row) -> Result<(String, Tag)> {
    Ok((row.text("resource")?, Tag { key: row.text("tag_key")?, value: row.text("tag_value")? }))
}

impl Tx {
    /// Puts a tag on a resource, in place of one with the same key.
    ///
    /// # Errors
    /// `Missing` where the account does not exist.
    pub async fn put_tag(&mut self, owner: Uin, resource: &str, tag: &Tag) -> Result<()> {
        let sql = "INSERT INTO tags (owner, resource, tag_key, tag_value) VALUES ($1, $2, $3, $4)
            ON CONFLICT (owner, resource, tag_key) DO UPDATE SET tag_value = excluded.tag_value";
        let insert = query(sql).bind(uin(owner)?).bind(resource).bind(&tag.key).bind(&tag.value);
        self.change(insert).await?;
        Ok(())
    }

    /// Takes a tag off a resource; whether there was one of that key.
    pub async fn delete_tag(&mut self, owner: Uin, resource: &str, key: &str) -> Result<bool> {
        let delete = query("DELETE FROM tags WHERE owner = $1 AND resource = $2 AND tag_key = $3")
            .bind(uin(owner)?)
            .bind(resource)
            .bind(key);
        Ok(self.change(delete).await? > 0)
    }

    /// Takes all tags off a resource that is gone.
    pub(crate) async fn delete_tags(&mut self, resource: &str) -> Result<()> {
        self.change(query("DELETE FROM tags WHERE resource = $1").bind(resource)).await?;
        Ok(())
    }

    /// The account's tags on resources, by the resources' identifiers, each list by key.
    pub async fn tags_of<'r>(
        &mut self,
        owner: Uin,
        resources: impl ExactSizeIterator<Item = &'r str>,
    ) -> Result<HashMap<String, Vec<Tag>>> {
        let mut tags: HashMap<String, Vec<Tag>> = HashMap::new();
        if resources.len() == 0 {
            return Ok(tags);
        }
        let mut select = Builder::new("SELECT resource, tag_key, tag_value FROM tags WHERE owner = ");
        select.push_bind(uin(owner)?).push(" AND resource IN ");
        push_list(&mut select, resources);
        select.push(" ORDER BY resource, tag_key");
        for (resource, tag) in self.list(select.build(), read_tag).await? {
            tags.entry(resource).or_default().push(tag);
        }
        Ok(tags)
    }

    /// A page of an account's tags with the resources that they are on, by resource and key, and how many there are.
    /// `resource` names one, `prefix` begins the identifiers of a kind.
    pub async fn tags(
        &mut self,
        owner: Uin,
        resource: Option<&str>,
        prefix: Option<&str>,
        offset: u64,
        limit: u64,
    ) -> Result<(Vec<(String, Tag)>, u64)> {
        let conditions = |query: &mut Builder<'_>| -> Result<()> {
            query.push(" FROM tags WHERE owner = ").push_bind(uin(owner)?);
            if let Some(resource) = resource {
                query.push(" AND resource = ").push_bind(resource.to_owned());
            }
            if let Some(prefix) = prefix {
                query.push(" AND SUBSTR(resource, 1, ").push_bind(prefix.len() as i64).push(") = ");
                query.push_bind(prefix.to_owned());
            }
            Ok(())
        };
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT resource, tag_key, tag_value");
        conditions(&mut select)?;
        select.push(" ORDER BY resource, tag_key");
        push_page(&mut select, offset, limit)?;
        Ok((self.list(select.build(), read_tag).await?, total))
    }
}
