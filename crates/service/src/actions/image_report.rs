//! DescribeImageReport: what an inspection found in an image, for whoever sees the image.

use std::sync::Arc;

use kiln_model::ImageId;

use crate::{Answer, Caller, Refusal, Service, checks};

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    image: ImageId,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    checks::visible_image(&mut tx, caller, &image).await?;
    let text = tx.image_report(&image).await?;
    let report = text.map(|text| serde_json::from_str(&text)).transpose().map_err(Refusal::internal)?;
    Ok(Answer::ImageReport { image, report })
}
