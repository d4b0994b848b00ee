//! How many operations that make a custom image an account has asked for, per region and UTC day.

use kiln_model::{RegionId, Uin};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::uin;

impl Tx {
    /// The operations counted on a day ([`kiln_model::Timestamp::day`]).
    pub async fn image_operations(&mut self, owner: Uin, region: &RegionId, day: i64) -> Result<u32> {
        let sql = "SELECT COALESCE(SUM(operations), 0) AS n FROM image_operations
            WHERE owner = $1 AND region = $2 AND day = $3";
        self.count(query(sql).bind(uin(owner)?).bind(region.as_str()).bind(day)).await
    }

    /// Counts one more operation on a day.
    pub async fn record_image_operation(&mut self, owner: Uin, region: &RegionId, day: i64) -> Result<()> {
        let sql = "INSERT INTO image_operations (owner, region, day, operations) VALUES ($1, $2, $3, 1)
            ON CONFLICT (owner, region, day) DO UPDATE SET operations = image_operations.operations + 1";
        self.change(query(sql).bind(uin(owner)?).bind(region.as_str()).bind(day)).await?;
        Ok(())
    }
}
