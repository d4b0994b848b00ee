//! What an inspection found, said on standard error before it matters: to an owner who shares an image, and to whoever
//! launches from one that another account shares. What passed is left out; `kiln image report` prints all of it.
//!
//! Nothing here stops what it comes before: where an image cannot be looked at, the action that follows says why.

use serde_json::{Value, json};

use crate::client::{Client, Error};
use crate::commands::report;
use crate::output;

/// Says so where an image comes from another account and was not reviewed, and what was found in it.
pub(crate) async fn warn_if_shared(client: &Client, image: &str) {
    let Ok(answer) = client.cvm("DescribeImages", &json!({ "ImageIds": [image] })).await else { return };
    let seen = &answer["ImageSet"][0];
    if seen["ImageType"] != "SHARED_IMAGE" {
        return;
    }
    let owner = output::text(&seen["ImageCreator"]);
    eprintln!("Image {image} comes from another account, {owner}, and was not reviewed.");
    if let Err(error) = show(client, image).await {
        eprintln!("What is in it cannot be shown: {error}");
    }
}

/// Shows what was found in an image.
///
/// # Errors
/// Where its report cannot be read.
pub(crate) async fn show(client: &Client, image: &str) -> Result<(), Error> {
    let answer = client.kiln("DescribeImageReport", &json!({ "ImageId": image })).await?;
    eprintln!("{}", summary(image, &answer["Report"]));
    Ok(())
}

/// What of a report, in the form that the API has for it, did not pass.
fn summary(image: &str, report: &Value) -> String {
    let Some(findings) = report["FindingSet"].as_array() else {
        return format!("There is no report of image {image}: it was not inspected.");
    };
    let mut against = findings.iter().filter(|finding| finding["Severity"] != "PASS").peekable();
    if against.peek().is_none() {
        return format!("Kiln's inspection of image {image} found nothing against it.");
    }
    let table = output::table(against, report::COLUMNS, &console::Term::stderr());
    format!("Kiln's inspection of image {image} found:\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: &[(&str, &str)]) -> Value {
        let findings: Vec<Value> = findings
            .iter()
            .map(|(code, severity)| json!({ "Code": code, "Severity": severity, "Found": "It.", "Fix": "" }))
            .collect();
        json!({ "FindingSet": findings })
    }

    #[test]
    fn what_passed_is_left_out() {
        let said =
            summary("img-1", &report(&[("Bootable", "PASS"), ("Kernel", "WARN"), ("System", "REFUSE")]));
        assert!(said.contains("Kernel") && said.contains("System") && !said.contains("Bootable"), "{said}");
    }

    #[test]
    fn an_image_without_findings_is_told_from_one_without_a_report() {
        assert!(summary("img-1", &report(&[("Bootable", "PASS")])).contains("nothing against it"));
        assert!(summary("img-1", &Value::Null).contains("no report"));
    }
}
