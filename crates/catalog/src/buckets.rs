//! Buckets, and how much is in them.

use kiln_model::{Bucket, BucketName, CorsRule, RegionId, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, integer, json, uin};

fn read_bucket(row: &Row) -> Result<Bucket> {
    Ok(Bucket {
        name: BucketName::from_trusted(row.text("name")?),
        owner: row.uin("owner")?,
        region: RegionId::from_trusted(row.text("region")?),
        objects: row.number("objects")?,
        stored_bytes: row.number("stored_bytes")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds a bucket, which is empty.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::BucketName`]; `Missing` where the account does not exist.
    pub async fn insert_bucket(&mut self, bucket: &Bucket) -> Result<()> {
        let sql = "INSERT INTO buckets (name, owner, region, objects, stored_bytes, created_at)
            VALUES ($1, $2, $3, 0, 0, $4)";
        let insert = query(sql)
            .bind(bucket.name.as_str())
            .bind(uin(bucket.owner)?)
            .bind(bucket.region.as_str())
            .bind(bucket.created_at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// The bucket of that name, whoever owns it.
    pub async fn bucket(&mut self, name: &BucketName) -> Result<Option<Bucket>> {
        self.find(query("SELECT * FROM buckets WHERE name = $1").bind(name.as_str()), read_bucket).await
    }

    /// An account's buckets, in the order of their names.
    pub async fn buckets(&mut self, owner: Uin) -> Result<Vec<Bucket>> {
        let select = query("SELECT * FROM buckets WHERE owner = $1 ORDER BY name").bind(uin(owner)?);
        self.list(select, read_bucket).await
    }

    /// The CORS rules of a bucket, whoever owns it; none where there is no such bucket.
    pub async fn bucket_cors(&mut self, name: &BucketName) -> Result<Vec<CorsRule>> {
        let select = query("SELECT cors FROM buckets WHERE name = $1").bind(name.as_str());
        Ok(self.find(select, |row| row.json("cors")).await?.unwrap_or_default())
    }

    /// Sets the CORS rules of a bucket.
    ///
    /// # Errors
    /// `Stale` where there is no such bucket.
    pub async fn set_bucket_cors(&mut self, name: &BucketName, rules: &[CorsRule]) -> Result<()> {
        let update = query("UPDATE buckets SET cors = $1 WHERE name = $2").bind(json(&rules));
        self.change_some(update.bind(name.as_str()), "there is no such bucket").await
    }

    /// Removes a bucket that holds nothing.
    ///
    /// # Errors
    /// `Missing` where something refers to it still.
    pub async fn delete_bucket(&mut self, name: &BucketName) -> Result<()> {
        self.change(query("DELETE FROM buckets WHERE name = $1").bind(name.as_str())).await?;
        Ok(())
    }

    /// The bytes of all that an account's buckets hold, unfinished uploads included.
    pub async fn bucket_bytes(&mut self, owner: Uin) -> Result<u64> {
        let sum = "SELECT COALESCE(SUM(stored_bytes), 0) AS n FROM buckets WHERE owner = $1";
        self.count(query(sum).bind(uin(owner)?)).await
    }

    /// Keeps the numbers of a bucket up with its rows.
    pub(crate) async fn count_in_bucket(
        &mut self,
        name: &BucketName,
        objects: i64,
        added_bytes: u64,
        removed_bytes: u64,
    ) -> Result<()> {
        let sql =
            "UPDATE buckets SET objects = objects + $1, stored_bytes = stored_bytes + $2 WHERE name = $3";
        let bytes = integer(added_bytes, "size_bytes")? - integer(removed_bytes, "size_bytes")?;
        self.change_some(query(sql).bind(objects).bind(bytes).bind(name.as_str()), "there is no such bucket")
            .await
    }
}
