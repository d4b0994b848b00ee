//! Prices. The public shape has one amount for an instance; what of it is for the image stands beside it, in a member
//! that the official SDKs pass over, where the image costs anything.

use kiln_model::{Money, Price};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// No discounts are given: the whole price, in percent.
const WHOLE: f64 = 100.0;

/// What a launch or a reinstalled system would cost.
pub(crate) fn quote(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Quote(quote) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let item = |amount| if quote.in_advance { in_advance(amount) } else { hourly(amount) };
    let mut price = json!({
        "InstancePrice": item(quote.machine.plus(quote.image)),
        "BandwidthPrice": hourly(Money::default()),
    });
    if quote.image > Money::default() {
        price["ImagePrice"] = item(quote.image);
    }
    members(json!({"Price": price}))
}

/// What an hour and a month of a type of instance cost.
pub(crate) fn of_type(price: Price) -> Value {
    let mut shape = hourly(price.per_hour);
    if let (Value::Object(shape), Value::Object(month)) = (&mut shape, in_advance(price.per_month)) {
        shape.extend(month);
    }
    shape
}

fn hourly(amount: Money) -> Value {
    json!({
        "UnitPrice": amount.units(),
        "UnitPriceDiscount": amount.units(),
        "ChargeUnit": "HOUR",
        "Discount": WHOLE,
    })
}

fn in_advance(amount: Money) -> Value {
    json!({"OriginalPrice": amount.units(), "DiscountPrice": amount.units(), "Discount": WHOLE})
}
