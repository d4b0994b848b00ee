//! Making, finding and removing buckets.

use kiln_model::{AppId, Bucket, BucketName, Timestamp};

use super::{MAX_BUCKETS, MAX_UPLOADS, bucket_to_change, bucket_to_read};
use crate::{Caller, Refusal, Service, actions};

impl Service {
    /// Makes a bucket in the region of the request.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn create_bucket(&self, caller: &Caller, name: &str) -> Result<Bucket, Refusal> {
        let name: BucketName =
            name.parse().map_err(|error| Refusal::invalid("InvalidBucketName", format!("{error}.")))?;
        super::may_change(caller)?;
        own_number(&name, caller.account.app_id)?;
        self.object_files(&caller.region)?;
        let mut tx = self.catalog.write().await?;
        if let Some(found) = tx.bucket(&name).await? {
            return Err(Refusal::conflict(
                "BucketAlreadyOwnedByYou",
                format!("You have bucket {name} already, in {}.", found.region),
            ));
        }
        let buckets = tx.buckets(caller.account.uin).await?.len();
        if buckets >= MAX_BUCKETS {
            return Err(Refusal::quota(
                "TooManyBuckets",
                format!("You have {buckets} buckets, which is the limit. Delete one that is not needed."),
            ));
        }
        let bucket = Bucket {
            name,
            owner: caller.account.uin,
            region: caller.region.clone(),
            objects: 0,
            stored_bytes: 0,
            created_at: Timestamp::now(),
        };
        tx.insert_bucket(&bucket).await?;
        tx.append_operation(&actions::operation(caller, "PutBucket", bucket.name.to_string())).await?;
        tx.commit().await?;
        Ok(bucket)
    }

    /// The caller's buckets, in all regions.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn buckets(&self, caller: &Caller) -> Result<Vec<Bucket>, Refusal> {
        Ok(self.catalog.read().await?.buckets(caller.account.uin).await?)
    }

    /// One of the caller's buckets.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn bucket(&self, caller: &Caller, name: &str) -> Result<Bucket, Refusal> {
        bucket_to_read(&mut self.catalog.read().await?, caller, name).await
    }

    /// Removes a bucket that holds no object. Its unfinished uploads are aborted: nobody could complete them any more.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was changed.
    pub async fn delete_bucket(&self, caller: &Caller, name: &str) -> Result<(), Refusal> {
        let mut tx = self.catalog.write().await?;
        let bucket = bucket_to_change(&mut tx, caller, name).await?;
        if bucket.objects > 0 {
            return Err(Refusal::conflict(
                "BucketNotEmpty",
                format!("Bucket {name} holds {} objects. Delete them first.", bucket.objects),
            ));
        }
        let mut parts = Vec::new();
        for upload in tx.uploads_of_bucket(&bucket.name, ("", ""), MAX_UPLOADS).await? {
            parts.extend(tx.delete_upload(&upload).await?);
        }
        tx.delete_bucket(&bucket.name).await?;
        tx.append_operation(&actions::operation(caller, "DeleteBucket", bucket.name.to_string())).await?;
        tx.commit().await?;
        // A region that is no longer configured has nobody who could remove its files.
        if let Ok(files) = self.object_files(&bucket.region) {
            files.discard(parts);
        }
        Ok(())
    }
}

/// That a bucket's name carries the account's number: names belong to accounts before anybody uses them.
fn own_number(name: &BucketName, app_id: AppId) -> Result<(), Refusal> {
    if name.app_id() == Some(app_id) {
        return Ok(());
    }
    Err(Refusal::denied(
        "AccessDenied",
        format!(
            "Bucket names end with their account's AppId: yours is {app_id}, so use a name like images-{app_id}."
        ),
    ))
}
