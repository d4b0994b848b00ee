//! Usage: what instances do is recorded with the change of their state, so that nothing runs unrecorded.
//!
//! A machine is paid for from the moment when it is seen running until it has stopped or is told to end for good;
//! restarts go on. One that ended while Kiln did not run counts until Kiln runs again.

use kiln_catalog::{Result, Tx};
use kiln_model::{
    EarningsLine, InstanceEvent, InstanceId, InstanceState, Money, Month, Timestamp, Uin, UsageLine,
    UsageRecord,
};

/// What is asked about usage. Without an account, the caller's own is meant, or for the operator everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum UsageCommand {
    DescribeUsage(DescribeUsage),
    DescribeEarnings(DescribeUsage),
}

/// Asks what was used or earned in a month.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeUsage {
    /// The present one where absent.
    pub month: Option<Month>,
    pub account: Option<Uin>,
    pub offset: u64,
    pub limit: Option<u64>,
}

/// A page of a report, and what all of its lines come to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct UsageReport<Line> {
    pub month: Month,
    pub lines: Vec<Line>,
    pub total: u64,
    /// For machines; nothing in a report of earnings.
    pub machine_amount: Money,
    /// For images.
    pub image_amount: Money,
}

/// What an account pays for.
pub type Usage = UsageReport<UsageLine>;
/// What a provider earns.
pub type Earnings = UsageReport<EarningsLine>;

/// Lets something happen to an instance, and records that its machine runs or no longer does; the new state.
pub(crate) async fn transition(
    tx: &mut Tx,
    id: &InstanceId,
    event: InstanceEvent,
    now: Timestamp,
) -> Result<InstanceState> {
    let next = tx.transition_instance(id, event, now).await?;
    match next {
        InstanceState::Running => begin(tx, id, now).await?,
        InstanceState::Stopping | InstanceState::Rebooting => {}
        InstanceState::Pending
        | InstanceState::LaunchFailed
        | InstanceState::Stopped
        | InstanceState::Starting
        | InstanceState::Terminating
        | InstanceState::Terminated => tx.end_usage(id, now).await?,
    }
    Ok(next)
}

/// Records that an instance's machine runs, where that is not recorded already.
pub(crate) async fn begin(tx: &mut Tx, id: &InstanceId, now: Timestamp) -> Result<()> {
    let Some(instance) = tx.instance(id).await? else { return Ok(()) };
    let Some(image) = tx.image(&instance.image).await? else { return Ok(()) };
    let (fee_image, fee) = tx.image_fee_and_source(&image).await?;
    let provider = match fee_image == image.id {
        true => image.owner,
        false => tx.image(&fee_image).await?.map_or(image.owner, |ancestor| ancestor.owner),
    };
    let record = UsageRecord {
        instance: instance.id,
        owner: instance.owner,
        region: instance.region,
        instance_type: instance.instance_type.name,
        image: image.id,
        fee_image,
        provider,
        machine_per_hour: instance.instance_type.price.per_hour,
        image_per_hour: fee.per_hour,
        started_at: now,
        ended_at: None,
    };
    tx.begin_usage(&record).await
}
