//! The objects of buckets, and the parts that their bytes are in.

use kiln_model::{BucketName, Object, ObjectId, Part, PartId, RegionId};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, integer, json};

fn read_object(row: &Row) -> Result<Object> {
    Ok(Object {
        id: ObjectId::from_trusted(row.text("id")?),
        bucket: BucketName::from_trusted(row.text("bucket")?),
        key: row.text("object_key")?,
        size_bytes: row.number("size_bytes")?,
        etag: row.text("etag")?,
        crc64: row.parsed("crc64")?,
        description: row.json("description")?,
        modified_at: row.time("modified_at")?,
    })
}

pub(crate) fn read_part(row: &Row) -> Result<Part> {
    Ok(Part {
        id: PartId::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        number: row.number("number")?,
        size_bytes: row.number("size_bytes")?,
        etag: row.text("etag")?,
        crc64: row.parsed("crc64")?,
        stored_at: row.time("stored_at")?,
    })
}

/// What a part belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Holder<'a> {
    Object(&'a str),
    Upload(&'a str),
}

impl Tx {
    /// The object of that key.
    pub async fn object(&mut self, bucket: &BucketName, key: &str) -> Result<Option<Object>> {
        let select = query("SELECT * FROM objects WHERE bucket = $1 AND object_key = $2");
        self.find(select.bind(bucket.as_str()).bind(key), read_object).await
    }

    /// Whether an object is still there as it was.
    pub async fn object_exists(&mut self, id: &ObjectId) -> Result<bool> {
        let count = query("SELECT COUNT(*) AS n FROM objects WHERE id = $1").bind(id.as_str());
        Ok(self.count::<u64>(count).await? > 0)
    }

    /// The objects of a bucket from a key on (after it, where `after`), in the order of their keys.
    pub async fn objects_from(
        &mut self,
        bucket: &BucketName,
        key: &str,
        after: bool,
        limit: u64,
    ) -> Result<Vec<Object>> {
        let sql = if after {
            "SELECT * FROM objects WHERE bucket = $1 AND object_key > $2 ORDER BY object_key LIMIT $3"
        } else {
            "SELECT * FROM objects WHERE bucket = $1 AND object_key >= $2 ORDER BY object_key LIMIT $3"
        };
        let select = query(sql).bind(bucket.as_str()).bind(key).bind(integer(limit, "limit")?);
        self.list(select, read_object).await
    }

    /// Adds an object without parts.
    ///
    /// # Errors
    /// `Conflict` where there is one of that key; `Missing` where the bucket does not exist.
    pub async fn insert_object(&mut self, object: &Object) -> Result<()> {
        let sql =
            "INSERT INTO objects (id, bucket, object_key, size_bytes, etag, crc64, description, modified_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let insert = query(sql)
            .bind(object.id.as_str())
            .bind(object.bucket.as_str())
            .bind(&object.key)
            .bind(integer(object.size_bytes, "size_bytes")?)
            .bind(&object.etag)
            .bind(object.crc64.to_string())
            .bind(json(&object.description))
            .bind(object.modified_at.0);
        self.change(insert).await?;
        self.count_in_bucket(&object.bucket, 1, 0, 0).await
    }

    /// Adds a part to an object.
    pub async fn insert_object_part(&mut self, object: &Object, part: &Part) -> Result<()> {
        self.insert_part(&object.bucket, Holder::Object(object.id.as_str()), part).await
    }

    pub(crate) async fn insert_part(
        &mut self,
        bucket: &BucketName,
        holder: Holder<'_>,
        part: &Part,
    ) -> Result<()> {
        let (object, upload) = match holder {
            Holder::Object(id) => (Some(id), None),
            Holder::Upload(id) => (None, Some(id)),
        };
        let sql = "INSERT INTO parts (id, region, object, upload, number, size_bytes, etag, crc64, stored_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let insert = query(sql)
            .bind(part.id.as_str())
            .bind(part.region.as_str())
            .bind(object)
            .bind(upload)
            .bind(i64::from(part.number))
            .bind(integer(part.size_bytes, "size_bytes")?)
            .bind(&part.etag)
            .bind(part.crc64.to_string())
            .bind(part.stored_at.0);
        self.change(insert).await?;
        self.count_in_bucket(bucket, 0, part.size_bytes, 0).await
    }

    /// The parts of an object, in their order.
    pub async fn parts_of_object(&mut self, object: &ObjectId) -> Result<Vec<Part>> {
        let select = query("SELECT * FROM parts WHERE object = $1 ORDER BY number").bind(object.as_str());
        self.list(select, read_part).await
    }

    /// Removes an object and its parts; these are given back.
    pub async fn delete_object(&mut self, object: &Object) -> Result<Vec<Part>> {
        let parts = self.parts_of_object(&object.id).await?;
        self.change(query("DELETE FROM parts WHERE object = $1").bind(object.id.as_str())).await?;
        self.change(query("DELETE FROM objects WHERE id = $1").bind(object.id.as_str())).await?;
        let bytes = parts.iter().map(|part| part.size_bytes).sum();
        self.count_in_bucket(&object.bucket, -1, 0, bytes).await?;
        Ok(parts)
    }

    /// Every part that is kept in a region.
    pub async fn part_ids(&mut self, region: &RegionId) -> Result<Vec<PartId>> {
        let select = query("SELECT id FROM parts WHERE region = $1").bind(region.as_str());
        self.list(select, |row| Ok(PartId::from_trusted(row.text("id")?))).await
    }
}
