//! ModifyImageAttribute: an image's name, description, family, and whether it is deprecated. Public ones are the
//! operator's to change.

use std::sync::Arc;

use kiln_catalog::{ImageView, Tx};
use kiln_model::{Image, ImageId, ImageKind};

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
    let mut image = changeable_image(&mut tx, caller, &request.image).await?;
    if let Some(name) = request.name.filter(|name| *name != image.name) {
        match image.kind {
            ImageKind::Public => checks::public_name_is_free(&mut tx, &caller.region, &name).await?,
            ImageKind::Custom | ImageKind::Market => {
                checks::image_name_is_free(&mut tx, &caller.account, &caller.region, &name).await?;
            }
        }
        image.name = name;
    }
    image.description = request.description.unwrap_or(image.description);
    image.family = request.family.unwrap_or(image.family);
    image.deprecated = request.deprecated.unwrap_or(image.deprecated);
    tx.set_image_attributes(&image).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// A custom image of the caller's, or, for the operator, a public one.
async fn changeable_image(tx: &mut Tx, caller: &Caller, id: &ImageId) -> Result<Image, Refusal> {
    match checks::visible_image(tx, caller, id).await? {
        (image, ImageView::Public) if image.owner == caller.account.uin => {
            checks::require_main(caller)?;
            Ok(image)
        }
        (_, ImageView::Shared) => Err(Refusal::denied(
            "UnsupportedOperation.SharedImageModifyUnsupported",
            format!("Image {id} is shared with you; only its owner may change it."),
        )),
        _ => checks::own_image(tx, caller, id).await,
    }
}
