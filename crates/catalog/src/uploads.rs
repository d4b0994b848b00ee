//! Uploads in parts that have not ended.

use kiln_model::{BucketName, Object, Part, Timestamp, Upload, UploadId};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, integer, json};
use crate::objects::{Holder, read_part};

fn read_upload(row: &Row) -> Result<Upload> {
    Ok(Upload {
        id: UploadId::from_trusted(row.text("id")?),
        bucket: BucketName::from_trusted(row.text("bucket")?),
        key: row.text("object_key")?,
        description: row.json("description")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    /// Adds an upload.
    pub async fn insert_upload(&mut self, upload: &Upload) -> Result<()> {
        let sql = "INSERT INTO uploads (id, bucket, object_key, description, created_at) VALUES ($1, $2, $3, $4, $5)";
        let insert = query(sql)
            .bind(upload.id.as_str())
            .bind(upload.bucket.as_str())
            .bind(&upload.key)
            .bind(json(&upload.description))
            .bind(upload.created_at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// The upload of that identifier.
    pub async fn upload(&mut self, id: &UploadId) -> Result<Option<Upload>> {
        self.find(query("SELECT * FROM uploads WHERE id = $1").bind(id.as_str()), read_upload).await
    }

    /// A bucket's uploads after one (a key and an identifier), in the order of their keys.
    pub async fn uploads_of_bucket(
        &mut self,
        bucket: &BucketName,
        after: (&str, &str),
        limit: u64,
    ) -> Result<Vec<Upload>> {
        let sql =
            "SELECT * FROM uploads WHERE bucket = $1 AND (object_key > $2 OR (object_key = $2 AND id > $3))
            ORDER BY object_key, id LIMIT $4";
        let select =
            query(sql).bind(bucket.as_str()).bind(after.0).bind(after.1).bind(integer(limit, "limit")?);
        self.list(select, read_upload).await
    }

    /// How many uploads a bucket has.
    pub async fn count_uploads(&mut self, bucket: &BucketName) -> Result<u64> {
        self.count(query("SELECT COUNT(*) AS n FROM uploads WHERE bucket = $1").bind(bucket.as_str())).await
    }

    /// Uploads that began before a time, the oldest first.
    pub async fn uploads_before(&mut self, time: Timestamp, limit: u64) -> Result<Vec<Upload>> {
        let select = query("SELECT * FROM uploads WHERE created_at < $1 ORDER BY created_at LIMIT $2");
        self.list(select.bind(time.0).bind(integer(limit, "limit")?), read_upload).await
    }

    /// The parts of an upload, in their order.
    pub async fn parts_of_upload(&mut self, upload: &UploadId) -> Result<Vec<Part>> {
        let select = query("SELECT * FROM parts WHERE upload = $1 ORDER BY number").bind(upload.as_str());
        self.list(select, read_part).await
    }

    /// Adds a part to an upload; the part of that number that it replaces is given back.
    pub async fn put_upload_part(&mut self, upload: &Upload, part: &Part) -> Result<Option<Part>> {
        let select = query("SELECT * FROM parts WHERE upload = $1 AND number = $2");
        let replaced =
            self.find(select.bind(upload.id.as_str()).bind(i64::from(part.number)), read_part).await?;
        if let Some(replaced) = &replaced {
            self.delete_upload_part(upload, replaced).await?;
        }
        self.insert_part(&upload.bucket, Holder::Upload(upload.id.as_str()), part).await?;
        Ok(replaced)
    }

    async fn delete_upload_part(&mut self, upload: &Upload, part: &Part) -> Result<()> {
        let delete = query("DELETE FROM parts WHERE id = $1 AND upload = $2");
        self.change_some(
            delete.bind(part.id.as_str()).bind(upload.id.as_str()),
            "the part is not this upload's",
        )
        .await?;
        self.count_in_bucket(&upload.bucket, 0, 0, part.size_bytes).await
    }

    /// Ends an upload: its parts become the object's, but for those that it leaves out.
    pub async fn complete_upload(
        &mut self,
        upload: &Upload,
        object: &Object,
        left_out: &[Part],
    ) -> Result<()> {
        for part in left_out {
            self.delete_upload_part(upload, part).await?;
        }
        let sql = "UPDATE parts SET object = $1, upload = NULL WHERE upload = $2";
        self.change(query(sql).bind(object.id.as_str()).bind(upload.id.as_str())).await?;
        self.delete_upload_row(upload).await
    }

    /// Removes an upload and its parts; these are given back.
    pub async fn delete_upload(&mut self, upload: &Upload) -> Result<Vec<Part>> {
        let parts = self.parts_of_upload(&upload.id).await?;
        self.change(query("DELETE FROM parts WHERE upload = $1").bind(upload.id.as_str())).await?;
        let bytes = parts.iter().map(|part| part.size_bytes).sum();
        self.count_in_bucket(&upload.bucket, 0, 0, bytes).await?;
        self.delete_upload_row(upload).await?;
        Ok(parts)
    }

    async fn delete_upload_row(&mut self, upload: &Upload) -> Result<()> {
        let delete = query("DELETE FROM uploads WHERE id = $1").bind(upload.id.as_str());
        self.change_some(delete, "the upload has ended").await
    }
}
