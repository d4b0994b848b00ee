//! Where an account's buckets are reached, and how much they hold.

use std::sync::Arc;

use crate::{Answer, Caller, ObjectStorage, Refusal, Service};

pub(super) async fn perform(service: &Arc<Service>, caller: &Caller) -> Result<Answer, Refusal> {
    let used_bytes = service.catalog.read().await?.bucket_bytes(caller.account.uin).await?;
    Ok(Answer::ObjectStorage(ObjectStorage {
        address: service.config.objects.address,
        tls: service.config.objects.tls,
        app_id: caller.account.app_id,
        used_bytes,
        limit_bytes: service.config.objects.account_bytes,
    }))
}
