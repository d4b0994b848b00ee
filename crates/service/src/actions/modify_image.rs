//! ModifyImageAttribute: an image's name and description.

use std::sync::Arc;

use kiln_catalog::ImageView;

use crate::{Answer, Caller, ModifyImageAttribute, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: ModifyImageAttribute,
) -> Result<Answer, Refusal> {
    let limits = service.limits_of(caller.account.uin).await?;
    if let Some(name) = &request.name {
        checks::image_name(name, &limits)?;
    }
    if let Some(description) = &request.description {
        checks::image_description(description, &limits)?;
    }
    let mut tx = service.catalog.write().await?;
    if let (_, ImageView::Shared) = checks::visible_image(&mut tx, caller, &request.image).await? {
        return Err(Refusal::denied(
            "UnsupportedOperation.SharedImageModifyUnsupported",
            format!("Image {} is shared with you; only its owner may change it.", request.image),
        ));
    }
    let image = checks::own_image(&mut tx, caller, &request.image).await?;
    let name = request.name.unwrap_or_else(|| image.name.clone());
    if name != image.name {
        checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &name).await?;
    }
    tx.rename_image(&image.id, &name, &request.description.unwrap_or(image.description)).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}
