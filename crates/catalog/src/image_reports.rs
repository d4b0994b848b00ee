//! What inspections found in images: a document for each image, which only the service reads.

use kiln_model::ImageId;
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;

impl Tx {
    /// Keeps an image's report in the place of an earlier one.
    ///
    /// # Errors
    /// `Missing` where the image does not exist.
    pub async fn put_image_report(&mut self, image: &ImageId, report: &str) -> Result<()> {
        let put = query(
            "INSERT INTO image_reports (image, report) VALUES ($1, $2) \
             ON CONFLICT (image) DO UPDATE SET report = excluded.report",
        )
        .bind(image.as_str())
        .bind(report);
        self.change(put).await?;
        Ok(())
    }

    /// An image's report, where there is one.
    pub async fn image_report(&mut self, image: &ImageId) -> Result<Option<String>> {
        let sql = "SELECT report FROM image_reports WHERE image = $1";
        let found = self.list(query(sql).bind(image.as_str()), |row| row.text("report")).await?;
        Ok(found.into_iter().next())
    }
}
