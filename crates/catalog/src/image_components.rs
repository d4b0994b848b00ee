//! What guests of an image get at their first boot.

use kiln_model::{Components, Image, ImageId};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::json;

impl Tx {
    /// Names what guests of an image get; nothing any more, where that is empty.
    ///
    /// # Errors
    /// `Missing` where there is no such image.
    pub async fn set_image_components(&mut self, image: &ImageId, components: &Components) -> Result<()> {
        if components.is_empty() {
            let delete = query("DELETE FROM image_components WHERE image = $1").bind(image.as_str());
            self.change(delete).await?;
            return Ok(());
        }
        let sql = "INSERT INTO image_components (image, packages, script) VALUES ($1, $2, $3)
            ON CONFLICT (image) DO UPDATE SET packages = excluded.packages, script = excluded.script";
        let insert = query(sql)
            .bind(image.as_str())
            .bind(json(&components.packages))
            .bind(components.script.as_deref());
        self.change(insert).await?;
        Ok(())
    }

    /// Names for a new version of a public family what the newest version in its region has, if it has anything.
    ///
    /// # Errors
    /// `Missing` where there is no such image and something is to be named for it.
    pub async fn carry_image_components(&mut self, image: &Image) -> Result<()> {
        let sql = "INSERT INTO image_components (image, packages, script)
            SELECT $1, packages, script FROM image_components WHERE image =
                (SELECT id FROM images
                WHERE family = $2 AND family <> '' AND region = $3 AND kind = 'public' AND state = 'normal'
                ORDER BY created_at DESC, id LIMIT 1)";
        let insert = query(sql).bind(image.id.as_str()).bind(&image.family).bind(image.region.as_str());
        self.change(insert).await?;
        Ok(())
    }

    /// What guests of an image get: what is named for it, or else for the image that it was made from.
    pub async fn image_components(&mut self, image: &Image) -> Result<Components> {
        let sql = "SELECT packages, script FROM image_components WHERE image = $1";
        for id in [Some(&image.id), image.fee_of.as_ref()].into_iter().flatten() {
            let read = |row: &crate::column::Row| {
                Ok(Components { packages: row.json("packages")?, script: row.optional_text("script")? })
            };
            if let Some(components) = self.find(query(sql).bind(id.as_str()), read).await? {
                return Ok(components);
            }
        }
        Ok(Components::default())
    }
}
