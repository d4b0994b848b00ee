//! ModifyImageAttribute: an image's name, description, family, and whether it is deprecated.

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
    request.family.as_deref().map_or(Ok(()), checks::image_family)?;
    let mut tx = service.catalog.write().await?;
    if let (_, ImageView::Shared) = checks::visible_image(&mut tx, caller, &request.image).await? {
        return Err(Refusal::denied(
            "UnsupportedOperation.SharedImageModifyUnsupported",
            format!("Image {} is shared with you; only its owner may change it.", request.image),
        ));
    }
    let mut image = checks::own_image(&mut tx, caller, &request.image).await?;
    if let Some(name) = request.name.filter(|name| *name != image.name) {
        checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &name).await?;
        image.name = name;
    }
    image.description = request.description.unwrap_or(image.description);
    image.family = request.family.unwrap_or(image.family);
    image.deprecated = request.deprecated.unwrap_or(image.deprecated);
    tx.set_image_attributes(&image).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}
