//! DescribeMessages: what an account's owner was told, also where it was sent nowhere.

use std::sync::Arc;

use crate::{Answer, Caller, Messages, Refusal, Service, checks};

pub(super) async fn describe(
    service: &Arc<Service>,
    caller: &Caller,
    offset: u64,
    limit: Option<u64>,
) -> Result<Answer, Refusal> {
    let limit = checks::page_limit(limit)?;
    let (messages, total) = service.catalog.read().await?.messages(caller.account.uin, offset, limit).await?;
    Ok(Answer::Messages(Messages { messages, total }))
}
