//! `kiln snapshot`: frozen copies of disks.

use serde_json::json;

use crate::arguments::{OutputForm, SnapshotCommand};
use crate::client::{Client, Error};
use crate::output;
use crate::pages;
use crate::progress::wait_for_what_makes;

const COLUMNS: &[(&str, &str)] = &[
    ("SNAPSHOT", "/SnapshotId"),
    ("NAME", "/SnapshotName"),
    ("STATE", "/SnapshotState"),
    ("USAGE", "/DiskUsage"),
    ("GIB", "/DiskSize"),
    ("DISK", "/DiskId"),
    ("IMAGES", "/ImageCount"),
    ("CREATED", "/CreateTime"),
];

pub(super) async fn run(client: &Client, form: OutputForm, command: SnapshotCommand) -> Result<(), Error> {
    match command {
        SnapshotCommand::Create { disk, name, no_wait } => create(client, form, &disk, name, no_wait).await,
        SnapshotCommand::List => list(client, form).await,
        SnapshotCommand::Delete { snapshots, with_images } => {
            let parameters = json!({ "SnapshotIds": snapshots, "DeleteBindImages": with_images });
            let answer = client.cbs("DeleteSnapshots", &parameters).await?;
            output::done(form, &answer, &format!("deleted {}", snapshots.join(", ")));
            Ok(())
        }
    }
}

async fn create(
    client: &Client,
    form: OutputForm,
    disk: &str,
    name: Option<String>,
    no_wait: bool,
) -> Result<(), Error> {
    let mut parameters = json!({ "DiskId": disk });
    if let Some(name) = name {
        parameters["SnapshotName"] = json!(name);
    }
    let made = client.cbs("CreateSnapshot", &parameters).await?["SnapshotId"].take();
    if !no_wait {
        wait_for_what_makes(client, "SnapshotId", &made).await?;
    }
    let answer = client.cbs("DescribeSnapshots", &json!({ "SnapshotIds": [made] })).await?;
    output::listing(form, &answer, "SnapshotSet", COLUMNS);
    Ok(())
}

async fn list(client: &Client, form: OutputForm) -> Result<(), Error> {
    let answer =
        pages::whole("SnapshotSet", async |page| client.cbs("DescribeSnapshots", &page).await).await?;
    output::listing(form, &answer, "SnapshotSet", COLUMNS);
    Ok(())
}
