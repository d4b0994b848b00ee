//! DescribeUsage and DescribeEarnings: what a month cost an account, and what it brought a provider.

use std::sync::Arc;

use kiln_catalog::UsageQuery;
use kiln_model::{Money, Month, Role, Timestamp, earnings};

use crate::{Answer, Caller, DescribeUsage, Refusal, Service, UsageCommand, UsageReport, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: UsageCommand,
) -> Result<Answer, Refusal> {
    match command {
        UsageCommand::DescribeUsage(request) => describe(service, caller, request).await,
        UsageCommand::DescribeEarnings(request) => describe_earnings(service, caller, request).await,
    }
}

async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeUsage,
) -> Result<Answer, Refusal> {
    let limit = checks::page_limit(request.limit)?;
    let mut query = query(caller, &request)?;
    query.provider = None;
    let lines = service.catalog.read().await?.usage(&query).await?;
    let sum = |amounts: &mut dyn Iterator<Item = Money>| amounts.fold(Money::default(), Money::plus);
    Ok(Answer::Usage(UsageReport {
        month: query.month,
        total: lines.len() as u64,
        machine_amount: sum(&mut lines.iter().map(|line| line.machine_amount())),
        image_amount: sum(&mut lines.iter().map(|line| line.image_amount())),
        lines: page(lines, request.offset, limit),
    }))
}

async fn describe_earnings(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeUsage,
) -> Result<Answer, Refusal> {
    let limit = checks::page_limit(request.limit)?;
    let mut query = query(caller, &request)?;
    query.provider = query.owner.take();
    let lines = earnings(&service.catalog.read().await?.usage(&query).await?);
    Ok(Answer::Earnings(UsageReport {
        month: query.month,
        total: lines.len() as u64,
        machine_amount: Money::default(),
        image_amount: lines.iter().map(|line| line.amount).fold(Money::default(), Money::plus),
        lines: page(lines, request.offset, limit),
    }))
}

/// The month and the account that are meant: for the operator every account, where none is named.
fn query(caller: &Caller, request: &DescribeUsage) -> Result<UsageQuery, Refusal> {
    let account = match (caller.account.role, request.account) {
        (Role::Operator, None) => None,
        (_, named) => Some(checks::account_meant(caller, named)?),
    };
    let now = Timestamp::now();
    let month = request.month.unwrap_or_else(|| Month::of(now));
    Ok(UsageQuery { month, owner: account, provider: account, now })
}

fn page<T>(lines: Vec<T>, offset: u64, limit: u64) -> Vec<T> {
    let (offset, limit) = (usize::try_from(offset).unwrap_or(usize::MAX), limit as usize);
    lines.into_iter().skip(offset).take(limit).collect()
}
