//! What the questions about usage take and mean.

use kiln_service::{Command, DescribeUsage, UsageCommand};

use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional};

/// Without `Month`, the present one; without `Uin`, the caller's own, and for the operator everybody's.
pub(super) const REPORT: &[Parameter] = &[
    optional("Month", Kind::Text),
    optional("Uin", Kind::Text),
    optional("Offset", Kind::Integer),
    optional("Limit", Kind::Integer),
];

pub(super) fn usage(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Usage(UsageCommand::DescribeUsage(report(arguments)?)))
}

pub(super) fn earnings(arguments: &Arguments) -> Result<Command, Error> {
    Ok(Command::Usage(UsageCommand::DescribeEarnings(report(arguments)?)))
}

fn report(arguments: &Arguments) -> Result<DescribeUsage, Error> {
    Ok(DescribeUsage {
        month: arguments.id("Month", "InvalidParameterValue")?,
        account: arguments.id("Uin", "InvalidAccountId.NotFound")?,
        offset: arguments.integer("Offset").unwrap_or(0),
        limit: arguments.integer("Limit"),
    })
}
