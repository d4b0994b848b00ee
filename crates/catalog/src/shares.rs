//! Which images are shared with which accounts.

use kiln_model::{ImageId, ImageShare, RegionId, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Row, uin};

fn read_share(row: &Row) -> Result<ImageShare> {
    Ok(ImageShare {
        image: ImageId::from_trusted(row.text("image")?),
        account: row.uin("account")?,
        shared_at: row.time("shared_at")?,
    })
}

impl Tx {
    /// Shares an image with an account.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::Share`]; `Missing` where image or account do not exist.
    pub async fn insert_share(&mut self, share: &ImageShare) -> Result<()> {
        let insert = query("INSERT INTO image_shares (image, account, shared_at) VALUES ($1, $2, $3)")
            .bind(share.image.as_str())
            .bind(uin(share.account)?)
            .bind(share.shared_at.0);
        self.change(insert).await?;
        Ok(())
    }

    /// Ends a share; whether there was one.
    pub async fn delete_share(&mut self, image: &ImageId, account: Uin) -> Result<bool> {
        let delete = query("DELETE FROM image_shares WHERE image = $1 AND account = $2")
            .bind(image.as_str())
            .bind(uin(account)?);
        Ok(self.change(delete).await? > 0)
    }

    /// The accounts that an image is shared with, since the longest first.
    pub async fn shares_of(&mut self, image: &ImageId) -> Result<Vec<ImageShare>> {
        let sql = "SELECT * FROM image_shares WHERE image = $1 ORDER BY shared_at, account";
        self.list(query(sql).bind(image.as_str()), read_share).await
    }

    /// With how many accounts the image of an owner's in a region is shared that is shared with most.
    pub async fn most_shares(&mut self, owner: Uin, region: &RegionId) -> Result<u32> {
        let sql = "SELECT COALESCE(MAX(shares), 0) AS n FROM (
            SELECT COUNT(*) AS shares FROM image_shares s JOIN images i ON i.id = s.image
            WHERE i.owner = $1 AND i.region = $2 AND i.kind = 'custom' AND i.state <> 'deleted'
            GROUP BY s.image) AS counted";
        self.count(query(sql).bind(uin(owner)?).bind(region.as_str())).await
    }

    /// Whether an image is shared with an account.
    pub async fn is_shared_with(&mut self, image: &ImageId, account: Uin) -> Result<bool> {
        let count = query("SELECT COUNT(*) AS n FROM image_shares WHERE image = $1 AND account = $2")
            .bind(image.as_str())
            .bind(uin(account)?);
        Ok(self.count::<u64>(count).await? > 0)
    }
}
