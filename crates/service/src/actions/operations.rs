//! DescribeOperations: what the operation log says. The operator reads all of it, an account what was done in its name.

use std::sync::Arc;

use kiln_catalog::OperationQuery;
use kiln_model::Role;

use crate::{Answer, Caller, DescribeOperations, Operations, Refusal, Service, checks};

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeOperations,
) -> Result<Answer, Refusal> {
    let account = match (caller.account.role, request.account) {
        (Role::Operator, None) => None,
        (_, named) => Some(checks::account_meant(caller, named)?),
    };
    let query = OperationQuery {
        account,
        actor: request.actor,
        region: request.region,
        action: request.action,
        subject: request.subject,
        outcome: request.outcome,
        from: request.from,
        until: request.until,
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
    };
    let (operations, total) = service.catalog.read().await?.operations(&query).await?;
    Ok(Answer::Operations(Operations { operations, total }))
}
