//! `kiln market`: providers, and the images that they sell.

use serde_json::json;

use super::report;
use crate::arguments::{ListingState, MarketCommand, OutputForm, Submit};
use crate::client::{Client, Error};
use crate::output;
use crate::pages;

const COLUMNS: &[(&str, &str)] = &[
    ("LISTING", "/ListingId"),
    ("SOLD IMAGE", "/ImageId"),
    ("NAME", "/ImageName"),
    ("PROVIDER", "/ProviderName"),
    ("PER HOUR", "/PerHour"),
    ("PER MONTH", "/PerMonth"),
    ("STATE", "/State"),
    ("SUBMITTED IMAGE", "/SubmittedImageId"),
    ("ANSWER", "/Answer"),
];

pub(super) async fn run(client: &Client, form: OutputForm, command: MarketCommand) -> Result<(), Error> {
    match command {
        MarketCommand::Apply { name, reason } => {
            let answer = client.kiln("ApplyForProvider", &json!({ "Name": name, "Reason": reason })).await?;
            output::done(form, &answer, "applied; `kiln market providers` shows the operator's answer");
        }
        MarketCommand::Providers { pending } => {
            let parameters = if pending { json!({ "State": "PENDING" }) } else { json!({}) };
            let answer = client.kiln("DescribeProviders", &parameters).await?;
            let columns = [
                ("UIN", "/Uin"),
                ("NAME", "/Name"),
                ("STATE", "/State"),
                ("APPLIED", "/AppliedTime"),
                ("REASON", "/Reason"),
                ("ANSWER", "/Answer"),
            ];
            output::listing(form, &answer, "ProviderSet", &columns);
        }
        MarketCommand::Accept { uin, refuse, answer } => {
            let parameters = json!({ "Uin": uin, "Accepted": !refuse, "Answer": answer });
            let answer = client.kiln("ModifyProvider", &parameters).await?;
            let sentence =
                format!("account {uin} may {}", if refuse { "not sell images" } else { "sell images" });
            output::done(form, &answer, &sentence);
        }
        MarketCommand::Submit(wanted) => submit(client, form, wanted).await?,
        MarketCommand::List { state } => list(client, form, state).await?,
        MarketCommand::Show { listing } => show(client, form, &listing).await?,
        MarketCommand::Publish { listing, reasons } => {
            review(client, form, &listing, "PUBLISH", &reasons).await?;
        }
        MarketCommand::Return { listing, reasons } => {
            review(client, form, &listing, "RETURN", &reasons).await?
        }
        MarketCommand::Withdraw { listing, reason } => {
            let parameters = json!({ "ListingId": listing, "Reason": reason });
            let answer = client.kiln("WithdrawListing", &parameters).await?;
            output::done(form, &answer, &format!("withdrew {listing}"));
        }
    }
    Ok(())
}

async fn submit(client: &Client, form: OutputForm, wanted: Submit) -> Result<(), Error> {
    let mut parameters = json!({
        "ImageId": wanted.image, "PerHour": wanted.per_hour, "PerMonth": wanted.per_month,
    });
    for (name, text) in [("ImageName", wanted.name), ("ImageDescription", wanted.description)] {
        if let Some(text) = text {
            parameters[name] = json!(text);
        }
    }
    let answer = client.kiln("SubmitListing", &parameters).await?;
    let id = output::text(&answer["ListingId"]);
    output::done(
        form,
        &answer,
        &format!("submitted as {id}; `kiln market show {id}` shows the operator's answer"),
    );
    Ok(())
}

async fn list(client: &Client, form: OutputForm, state: Option<ListingState>) -> Result<(), Error> {
    let all = pages::whole("ListingSet", async |mut page| {
        if let Some(state) = state {
            page["State"] = json!(state_name(state));
        }
        client.kiln("DescribeListings", &page).await
    });
    output::listing(form, &all.await?, "ListingSet", COLUMNS);
    Ok(())
}

fn state_name(state: ListingState) -> &'static str {
    match state {
        ListingState::Submitted => "SUBMITTED",
        ListingState::Published => "PUBLISHED",
        ListingState::Returned => "RETURNED",
        ListingState::Withdrawn => "WITHDRAWN",
        ListingState::Replaced => "REPLACED",
    }
}

async fn show(client: &Client, form: OutputForm, id: &str) -> Result<(), Error> {
    let answer = client.kiln("DescribeListings", &json!({ "ListingIds": [id] })).await?;
    let listing = &answer["ListingSet"][0];
    if listing.is_null() {
        return Err(format!("there is no listing {id} that you can see in {}", client.region()).into());
    }
    if form == OutputForm::Json {
        output::json(listing);
        return Ok(());
    }
    output::listing(form, &answer, "ListingSet", COLUMNS);
    report::print(form, &listing["Report"], "There is no report.");
    Ok(())
}

async fn review(
    client: &Client,
    form: OutputForm,
    listing: &str,
    decision: &str,
    reasons: &str,
) -> Result<(), Error> {
    let parameters = json!({ "ListingId": listing, "Decision": decision, "Reasons": reasons });
    let answer = client.kiln("ReviewListing", &parameters).await?;
    let sentence = if decision == "PUBLISH" { "is published" } else { "was sent back" };
    output::done(form, &answer, &format!("{listing} {sentence}"));
    Ok(())
}
