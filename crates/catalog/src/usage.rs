//! Usage records: when machines ran, and at which price. An instance has one open record at most.

use kiln_model::{
    ImageId, InstanceId, Money, Month, Price, RegionId, Timestamp, Uin, UsageLine, UsageRecord,
};
use sqlx::query;

use crate::Result;
use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, uin};

/// Which usage is asked for; conditions are joined.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// In which month.
    pub month: Month,
    /// Paid by this account.
    pub owner: Option<Uin>,
    /// With a fee that this account earns.
    pub provider: Option<Uin>,
    /// Until when machines that still run are reckoned.
    pub now: Timestamp,
}

fn read_line(row: &Row) -> Result<UsageLine> {
    Ok(UsageLine {
        owner: row.uin("owner")?,
        region: RegionId::from_trusted(row.text("region")?),
        instance: InstanceId::from_trusted(row.text("instance")?),
        instance_type: row.text("instance_type")?,
        image: ImageId::from_trusted(row.text("image")?),
        fee_image: ImageId::from_trusted(row.text("fee_image")?),
        provider: row.uin("provider")?,
        machine_per_hour: Money(row.number("machine_per_hour")?),
        image_per_hour: Money(row.number("image_per_hour")?),
        millis: row.number("millis")?,
    })
}

impl Tx {
    /// Opens a record, where the instance has no open one.
    ///
    /// # Errors
    /// `Missing` where there is no such instance, image or account; `TooLarge` for prices that no column holds.
    pub async fn begin_usage(&mut self, record: &UsageRecord) -> Result<()> {
        let sql =
            "INSERT INTO usage_records (instance, owner, region, instance_type, image, fee_image, provider,
                machine_per_hour, image_per_hour, started_at, ended_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
            WHERE NOT EXISTS (SELECT 1 FROM usage_records WHERE instance = $1 AND ended_at IS NULL)";
        let insert = query(sql)
            .bind(record.instance.as_str())
            .bind(uin(record.owner)?)
            .bind(record.region.as_str())
            .bind(&record.instance_type)
            .bind(record.image.as_str())
            .bind(record.fee_image.as_str())
            .bind(uin(record.provider)?)
            .bind(integer(record.machine_per_hour.0, "machine_per_hour")?)
            .bind(integer(record.image_per_hour.0, "image_per_hour")?)
            .bind(record.started_at.0)
            .bind(record.ended_at.map(|at| at.0));
        self.change(insert).await?;
        Ok(())
    }

    /// Closes an instance's open record, where there is one.
    pub async fn end_usage(&mut self, instance: &InstanceId, now: Timestamp) -> Result<()> {
        let sql = "UPDATE usage_records SET ended_at = $1 WHERE instance = $2 AND ended_at IS NULL";
        self.change(query(sql).bind(now.0).bind(instance.as_str())).await?;
        Ok(())
    }

    /// Lets the fee of an image hold from now on for whatever runs at it: open records end, and go on at the new price.
    pub async fn reprice_usage(&mut self, fee_image: &ImageId, fee: Price, now: Timestamp) -> Result<()> {
        let close = "UPDATE usage_records SET ended_at = $1
            WHERE (fee_image = $2 OR image = $2) AND ended_at IS NULL AND image_per_hour <> $3
            RETURNING instance, owner, region, instance_type, image, machine_per_hour";
        let per_hour = integer(fee.per_hour.0, "per_hour")?;
        let closed = query(close).bind(now.0).bind(fee_image.as_str()).bind(per_hour);
        let provider = self.image(fee_image).await?.map(|image| image.owner);
        let reopened = self
            .list(closed, |row| {
                Ok(UsageRecord {
                    instance: InstanceId::from_trusted(row.text("instance")?),
                    owner: row.uin("owner")?,
                    region: RegionId::from_trusted(row.text("region")?),
                    instance_type: row.text("instance_type")?,
                    image: ImageId::from_trusted(row.text("image")?),
                    fee_image: fee_image.clone(),
                    provider: provider.unwrap_or(row.uin("owner")?),
                    machine_per_hour: Money(row.number("machine_per_hour")?),
                    image_per_hour: fee.per_hour,
                    started_at: now,
                    ended_at: None,
                })
            })
            .await?;
        for record in &reopened {
            self.begin_usage(record).await?;
        }
        Ok(())
    }

    /// What was used in a month: a line for each instance, image and price, in a stable order.
    pub async fn usage(&mut self, asked: &UsageQuery) -> Result<Vec<UsageLine>> {
        let (start, end) = (asked.month.start().0, asked.month.end().0.min(asked.now.0));
        if end <= start {
            return Ok(Vec::new());
        }
        let mut select = Builder::new(
            "SELECT owner, region, instance, instance_type, image, fee_image, provider, machine_per_hour,
                image_per_hour, SUM(until - since) AS millis
            FROM (SELECT u.*, CASE WHEN started_at > ",
        );
        select.push_bind(start).push(" THEN started_at ELSE ").push_bind(start).push(" END AS since,");
        select.push(" CASE WHEN COALESCE(ended_at, ").push_bind(end).push(") < ").push_bind(end);
        select.push(" THEN ended_at ELSE ").push_bind(end).push(" END AS until FROM usage_records u");
        select.push(" WHERE started_at < ").push_bind(end);
        select.push(" AND (ended_at IS NULL OR ended_at > ").push_bind(start).push(")");
        if let Some(owner) = asked.owner {
            select.push(" AND owner = ").push_bind(uin(owner)?);
        }
        if let Some(provider) = asked.provider {
            select.push(" AND image_per_hour > 0 AND provider = ").push_bind(uin(provider)?);
        }
        select.push(
            ") r GROUP BY owner, region, instance, instance_type, image, fee_image, provider, machine_per_hour,
                image_per_hour
            ORDER BY owner, region, instance, MIN(number)",
        );
        self.list(select.build(), read_line).await
    }
}
