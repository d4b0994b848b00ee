//! `kiln image publish|withdraw|components|fee`: images for everybody, which are the operator's.

use std::path::Path;

use serde_json::{Value, json};

use super::image::finish;
use crate::arguments::{OutputForm, PublicImageCommand};
use crate::client::{Client, Error};
use crate::output;

pub(super) async fn run(client: &Client, form: OutputForm, command: PublicImageCommand) -> Result<(), Error> {
    match command {
        PublicImageCommand::Publish { image, to, name, description, family, no_wait } => {
            let texts = [("ImageName", name), ("ImageDescription", description), ("ImageFamily", family)];
            publish(client, form, &image, &to, texts, no_wait).await?;
        }
        PublicImageCommand::Withdraw { images } => {
            let mut answer = Value::Null;
            for image in &images {
                answer = client.kiln("WithdrawImage", &json!({ "ImageId": image })).await?;
            }
            output::done(form, &answer, &format!("withdrew {}", images.join(", ")));
        }
        PublicImageCommand::Components { image, packages, script, none } => {
            components(client, form, &image, &packages, script.as_deref(), none).await?;
        }
        PublicImageCommand::Fee { image, per_hour, per_month } => {
            let parameters = json!({ "ImageId": image, "PerHour": per_hour, "PerMonth": per_month });
            let answer = client.kiln("ModifyImageFee", &parameters).await?;
            output::done(
                form,
                &answer,
                &format!("image {image} adds {per_hour} an hour, {per_month} a month"),
            );
        }
    }
    Ok(())
}

async fn components(
    client: &Client,
    form: OutputForm,
    image: &str,
    packages: &[String],
    script: Option<&Path>,
    none: bool,
) -> Result<(), Error> {
    if packages.is_empty() && script.is_none() && !none {
        let named = client.kiln("DescribeImageComponents", &json!({ "ImageId": image })).await?;
        match form {
            OutputForm::Json => output::json(&named),
            OutputForm::Table => {
                output::line(&format!("packages: {}", output::text(&named["Packages"])));
                output::line(&format!("script:\n{}", named["Script"].as_str().unwrap_or("-")));
            }
        }
        return Ok(());
    }
    let mut parameters = json!({ "ImageId": image, "Packages": packages });
    if let Some(file) = script {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        parameters["Script"] = json!(text);
    }
    let answer = client.kiln("ModifyImageComponents", &parameters).await?;
    let what = if none { "nothing besides what is in it" } else { "them" };
    output::done(form, &answer, &format!("guests that are launched from {image} from now on get {what}"));
    Ok(())
}

async fn publish<const N: usize>(
    client: &Client,
    form: OutputForm,
    image: &str,
    to: &[String],
    texts: [(&str, Option<String>); N],
    no_wait: bool,
) -> Result<(), Error> {
    let mut parameters = json!({ "ImageId": image, "DestinationRegions": to });
    for (name, text) in texts {
        if let Some(text) = text {
            parameters[name] = json!(text);
        }
    }
    let answer = client.kiln("PublishImage", &parameters).await?;
    for published in answer["ImageSet"].as_array().into_iter().flatten() {
        let region = published["Region"].as_str().unwrap_or_default();
        finish(client, region, form, &published["ImageId"], no_wait).await?;
    }
    Ok(())
}
