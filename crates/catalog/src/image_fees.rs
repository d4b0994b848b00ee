//! What instances of images cost besides the instance itself.

use kiln_model::{Image, ImageId, ImageKind, Money, Price};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::integer;

impl Tx {
    /// Sets the fee of an image.
    ///
    /// # Errors
    /// `Missing` where there is no such image; `TooLarge` for amounts that no column holds.
    pub async fn set_image_fee(&mut self, image: &ImageId, fee: Price) -> Result<()> {
        let sql = "INSERT INTO image_fees (image, per_hour, per_month) VALUES ($1, $2, $3)
            ON CONFLICT (image) DO UPDATE SET per_hour = excluded.per_hour, per_month = excluded.per_month";
        let insert = query(sql)
            .bind(image.as_str())
            .bind(integer(fee.per_hour.0, "per_hour")?)
            .bind(integer(fee.per_month.0, "per_month")?);
        self.change(insert).await?;
        Ok(())
    }

    /// The fee of an image: its own, or else that of the image which it was made from, or else nothing.
    pub async fn image_fee(&mut self, image: &Image) -> Result<Price> {
        Ok(self.image_fee_and_source(image).await?.1)
    }

    /// The image whose fee an image carries that is made of this one: of a custom image the nearest that has one.
    pub async fn fee_of_descendants(&mut self, image: &Image) -> Result<ImageId> {
        match image.kind {
            ImageKind::Custom => Ok(self.image_fee_and_source(image).await?.0),
            ImageKind::Public | ImageKind::Market => Ok(image.id.clone()),
        }
    }

    /// The fee of an image, and the image that it is the fee of.
    pub async fn image_fee_and_source(&mut self, image: &Image) -> Result<(ImageId, Price)> {
        let sql = "SELECT per_hour, per_month FROM image_fees WHERE image = $1";
        for id in [Some(&image.id), image.fee_of.as_ref()].into_iter().flatten() {
            let read = |row: &crate::column::Row| {
                Ok(Price {
                    per_hour: Money(row.number("per_hour")?),
                    per_month: Money(row.number("per_month")?),
                })
            };
            if let Some(fee) = self.find(query(sql).bind(id.as_str()), read).await? {
                return Ok((id.clone(), fee));
            }
        }
        Ok((image.fee_of.as_ref().unwrap_or(&image.id).clone(), Price::default()))
    }
}
