//! `kiln messages`: what an account's owner was told.

use serde_json::Value;

use crate::arguments::OutputForm;
use crate::client::{Client, Error};
use crate::output;
use crate::pages;

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "/CreatedTime"),
    ("MESSAGE", "/Title"),
    ("ABOUT", "/Subject"),
    ("SENT", "/Sent"),
    ("TEXT", "/Text"),
];

pub(super) async fn run(client: &Client, form: OutputForm) -> Result<(), Error> {
    let ask = async |page| client.kiln("DescribeMessages", &page).await;
    let mut answer = pages::whole("MessageSet", ask).await?;
    if form == OutputForm::Table {
        for message in answer["MessageSet"].as_array_mut().into_iter().flatten() {
            message["Sent"] = ways(&message["DeliverySet"]).into();
        }
    }
    output::listing(form, &answer, "MessageSet", COLUMNS);
    Ok(())
}

/// Such as `EMAIL:SENT SMS:PENDING`.
fn ways(deliveries: &Value) -> String {
    let way = |d: &Value| format!("{}:{}", output::text(&d["Channel"]), output::text(&d["State"]));
    deliveries.as_array().into_iter().flatten().map(way).collect::<Vec<_>>().join(" ")
}
