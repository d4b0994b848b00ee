//! InquiryPriceRunInstances, InquiryPriceResetInstance, and the fees of images: what a machine and its image cost.

use std::sync::Arc;

use kiln_catalog::Tx;
use kiln_model::{Image, ImageId, ImageKind, Money, Price, Timestamp};

use super::instance_types;
use super::run_instances::{instance_type, zone};
use crate::{
    Answer, Caller, InquirePriceResetInstance, InquirePriceRunInstances, PriceCommand, Quote, Refusal,
    Service, checks,
};

const MAX_COUNT: u32 = 100;
/// The longest time that is paid in advance, in months.
const MAX_MONTHS: u32 = 60;

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    command: PriceCommand,
) -> Result<Answer, Refusal> {
    match command {
        PriceCommand::RunInstances(request) => run_instances(service, caller, request).await,
        PriceCommand::ResetInstance(request) => reset_instance(service, caller, request).await,
        PriceCommand::ModifyImageFee { image, fee } => modify_image_fee(service, caller, &image, fee).await,
        PriceCommand::InstanceTypes { filters } => instance_types::perform(service, caller, &filters),
    }
}

async fn run_instances(
    service: &Arc<Service>,
    caller: &Caller,
    request: InquirePriceRunInstances,
) -> Result<Answer, Refusal> {
    if !(1..=MAX_COUNT).contains(&request.count) {
        return Err(Refusal::invalid(
            "InvalidParameterValue.Range",
            format!("InstanceCount is {}; it must be between 1 and {MAX_COUNT}.", request.count),
        ));
    }
    if let Some(months) = request.months.filter(|months| !(1..=MAX_MONTHS).contains(months)) {
        return Err(Refusal::invalid(
            "InvalidPeriod",
            format!(
                "InstanceChargePrepaid.Period is {months} months; it must be between 1 and {MAX_MONTHS}."
            ),
        ));
    }
    let machine = instance_type(service, request.instance_type.as_deref())?.price;
    zone(service, caller, request.zone.as_ref())?;
    let mut tx = service.catalog.read().await?;
    let (image, _) = checks::visible_image(&mut tx, caller, &request.image).await?;
    checks::image_is_normal(&image)?;
    let fee = tx.image_fee(&image).await?;
    let amount = |price: Price| -> Money {
        let each = request.months.map_or(price.per_hour, |months| price.per_month.times(months.into()));
        each.times(request.count.into())
    };
    Ok(Answer::Quote(Quote {
        machine: amount(machine),
        image: amount(fee),
        in_advance: request.months.is_some(),
    }))
}

/// An instance pays by the hour, before and after.
async fn reset_instance(
    service: &Arc<Service>,
    caller: &Caller,
    request: InquirePriceResetInstance,
) -> Result<Answer, Refusal> {
    let mut tx = service.catalog.read().await?;
    let instance = checks::own_instance(&mut tx, caller, &request.instance).await?;
    let image: Option<Image> = match &request.image {
        Some(id) => Some(checks::visible_image(&mut tx, caller, id).await?.0),
        // The present one may be deleted or no longer shared by now; its fee goes on.
        None => tx.image(&instance.image).await?,
    };
    let image = image.ok_or_else(|| Refusal::internal(format!("image {} has no row", instance.image)))?;
    if request.image.is_some() {
        checks::image_is_normal(&image)?;
    }
    let fee = tx.image_fee(&image).await?;
    Ok(Answer::Quote(Quote {
        machine: instance.instance_type.price.per_hour,
        image: fee.per_hour,
        in_advance: false,
    }))
}

/// Sets what an image costs, and each image made of it that has no fee of its own; also what runs pays it from now on.
async fn modify_image_fee(
    service: &Arc<Service>,
    caller: &Caller,
    image: &ImageId,
    fee: Price,
) -> Result<Answer, Refusal> {
    checks::require_operator_itself(caller)?;
    let mut tx = service.catalog.write().await?;
    let (image, _) = checks::visible_image(&mut tx, caller, image).await?;
    fee_is_the_operators(&mut tx, &image).await?;
    tx.set_image_fee(&image.id, fee).await?;
    tx.reprice_usage(&image.id, fee, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(Answer::Done)
}

/// That the fee is the operator's to set: no image that is sold, and none that was made from one, nor one that carries
/// another's fee.
async fn fee_is_the_operators(tx: &mut Tx, image: &Image) -> Result<(), Refusal> {
    let ancestor = match &image.fee_of {
        Some(ancestor) => tx.image(ancestor).await?,
        None => None,
    };
    let refused = |why: String| Err(Refusal::conflict("UnsupportedOperation.ImageCarriesFee", why));
    let is_sold = |image: &Image| image.kind == ImageKind::Market;
    if is_sold(image) || ancestor.as_ref().is_some_and(is_sold) {
        return refused(format!(
            "Image {} has a provider's price, which is changed by SubmitListing and a review.",
            image.id
        ));
    }
    let (source, fee) = tx.image_fee_and_source(image).await?;
    let is_anothers = ancestor.is_some_and(|ancestor| ancestor.owner != image.owner);
    if source != image.id && is_anothers && fee != Price::default() {
        return refused(format!("Image {} carries the fee of {source}. Change that one.", image.id));
    }
    Ok(())
}
