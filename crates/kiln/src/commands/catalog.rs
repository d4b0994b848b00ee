//! `kiln catalog`: images of a simplestreams catalogue become public ones, each version once.
//!
//! The catalogue is read here; its files are fetched by the server, which checks them against the catalogue's SHA-256.

use std::time::Duration;

use serde_json::{Value, json};

use super::image::{COLUMNS, wait_for_image};
use crate::arguments::{CatalogCommand, CatalogSource, Connection, OutputForm, Pull};
use crate::client::{Client, Error};
use crate::output;
use crate::pages;
use crate::simplestreams::{self, Offer};

pub(super) async fn run(connection: &Connection, command: CatalogCommand) -> Result<(), Error> {
    match command {
        CatalogCommand::List { source, releases } => list(connection.output, &source, &releases).await,
        CatalogCommand::Pull(wanted) => {
            let client = Client::new(connection)?;
            let Some(hours) = wanted.every else { return pull(&client, connection.output, &wanted).await };
            loop {
                if let Err(error) = pull(&client, connection.output, &wanted).await {
                    eprintln!("kiln: {error}; looking again in {hours} hours");
                }
                tokio::time::sleep(Duration::from_secs(u64::from(hours.max(1)) * 3600)).await;
            }
        }
    }
}

/// What the catalogue offers of what is wanted, in a stable order.
async fn offers(source: &CatalogSource, releases: &[String]) -> Result<Vec<Offer>, Error> {
    let mut offers = simplestreams::read(&source.url, source.insecure).await?;
    offers.retain(|offer| {
        offer.arch == source.arch
            && source.variant.as_ref().is_none_or(|variant| *variant == offer.variant)
            && (releases.is_empty() || releases.iter().any(|release| offer.is_of_release(release)))
    });
    offers.sort_by_key(Offer::name);
    Ok(offers)
}

async fn list(form: OutputForm, source: &CatalogSource, releases: &[String]) -> Result<(), Error> {
    let offers = offers(source, releases).await?;
    let rows: Vec<Value> = offers.iter().map(offer_row).collect();
    let columns = [
        ("FAMILY", "/Family"),
        ("RELEASE", "/Release"),
        ("VARIANT", "/Variant"),
        ("ARCH", "/Arch"),
        ("NEWEST", "/Serial"),
        ("SIZE", "/Size"),
    ];
    output::listing(form, &json!({ "OfferSet": rows }), "OfferSet", &columns);
    Ok(())
}

fn offer_row(offer: &Offer) -> Value {
    json!({
        "Family": offer.family(), "Release": offer.release, "Variant": offer.variant, "Arch": offer.arch,
        "Serial": offer.serial, "Size": offer.size_bytes.map(output::bytes), "Url": offer.url.as_str(),
        "Sha256": offer.sha256,
    })
}

async fn pull(client: &Client, form: OutputForm, wanted: &Pull) -> Result<(), Error> {
    let offers = offers(&wanted.source, &wanted.releases).await?;
    for release in &wanted.releases {
        let found = offers.iter().filter(|offer| offer.is_of_release(release)).collect::<Vec<_>>();
        match found.as_slice() {
            [] => {
                let sentence = format!(
                    "the catalogue offers no {release} for {}; `kiln catalog list {}` shows what it offers",
                    wanted.source.arch, wanted.source.url
                );
                return Err(sentence.into());
            }
            [_] => {}
            several => {
                let variants: Vec<_> = several.iter().map(|offer| offer.variant.as_str()).collect();
                let sentence = format!(
                    "{release} has several variants; say which with --variant: {}",
                    variants.join(", ")
                );
                return Err(sentence.into());
            }
        }
    }
    let mut images = Vec::new();
    for offer in &offers {
        let image = pull_one(client, wanted, offer).await?;
        publish_elsewhere(client, &image, offer, &wanted.to).await?;
        images.push(image);
        if let Some(keep) = wanted.keep {
            for region in std::iter::once(client.region()).chain(wanted.to.iter().map(String::as_str)) {
                withdraw_older(client, region, &offer.family(), keep.max(1)).await?;
            }
        }
    }
    output::listing(form, &json!({ "TotalCount": images.len(), "ImageSet": images }), "ImageSet", COLUMNS);
    Ok(())
}

/// The public image of an offer, which is imported where it is not there yet.
async fn pull_one(client: &Client, wanted: &Pull, offer: &Offer) -> Result<Value, Error> {
    if let Some(image) = public_image_named(client, client.region(), &offer.name()).await? {
        return wait_for_image(client, client.region(), &image["ImageId"]).await;
    }
    let architecture = match offer.arch.as_str() {
        "amd64" => "x86_64",
        other => other,
    };
    let number = offer.number.clone().filter(|number| number.starts_with(|c: char| c.is_ascii_digit()));
    let parameters = json!({
        "ImageUrl": offer.url.as_str(), "ImageSha256": offer.sha256, "ImageName": offer.name(),
        "ImageDescription": format!("{} {} {}", offer.os, offer.release, offer.serial),
        "ImageFamily": offer.family(), "ImageType": "PUBLIC_IMAGE", "BootMode": wanted.boot_mode,
        "OsType": wanted.os_type.as_ref().unwrap_or(&offer.os),
        "OsVersion": wanted.os_version.clone().or(number).unwrap_or_else(|| "-".to_owned()),
        "Architecture": architecture, "Force": wanted.force,
    });
    let answer = client.cvm("ImportImage", &parameters).await?;
    wait_for_image(client, client.region(), &answer["ImageId"]).await
}

async fn publish_elsewhere(
    client: &Client,
    image: &Value,
    offer: &Offer,
    regions: &[String],
) -> Result<(), Error> {
    for region in regions {
        if region == client.region() || public_image_named(client, region, &offer.name()).await?.is_some() {
            continue;
        }
        let parameters = json!({ "ImageId": image["ImageId"], "DestinationRegions": [region] });
        let answer = client.kiln("PublishImage", &parameters).await?;
        wait_for_image(client, region, &answer["ImageSet"][0]["ImageId"]).await?;
    }
    Ok(())
}

/// The public image of a name that is there or will be.
async fn public_image_named(client: &Client, region: &str, name: &str) -> Result<Option<Value>, Error> {
    let images = public_images(client, region, Some(name)).await?;
    let is_meant = |image: &Value| {
        let failed = image["ImageState"].as_str().is_some_and(|state| state.ends_with("FAILED"));
        image["ImageName"] == name && !failed
    };
    Ok(images.into_iter().find(is_meant))
}

/// The public images of a region, newest first.
async fn public_images(client: &Client, region: &str, name: Option<&str>) -> Result<Vec<Value>, Error> {
    let mut filters = vec![json!({ "Name": "image-type", "Values": ["PUBLIC_IMAGE"] })];
    filters.extend(name.map(|name| json!({ "Name": "image-name", "Values": [name] })));
    pages::all("ImageSet", async |mut page| {
        page["Filters"] = json!(filters);
        client.cvm_in(region, "DescribeImages", &page).await
    })
    .await
}

async fn withdraw_older(client: &Client, region: &str, family: &str, keep: usize) -> Result<(), Error> {
    let images = public_images(client, region, None).await?.into_iter();
    let versions = images.filter(|image| image["ImageFamily"] == family && image["ImageState"] == "NORMAL");
    for version in versions.skip(keep) {
        client.kiln_in(region, "WithdrawImage", &json!({ "ImageId": version["ImageId"] })).await?;
    }
    Ok(())
}
