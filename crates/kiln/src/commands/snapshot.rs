//! `kiln snapshot`: frozen copies of disks.

use serde_json::{Value, json};

use crate::arguments::{OutputForm, SnapshotCommand};
use crate::client::{Client, Error};
use crate::output;
use crate::progress::wait_for_task;

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
const PAGE: u64 = 100;

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
        let tasks = client.kiln("DescribeTasks", &json!({ "Limit": PAGE })).await?;
        let task = tasks["TaskSet"].as_array().into_iter().flatten().find(|task| task["SnapshotId"] == made);
        if let Some(task) = task.and_then(|task| task["TaskId"].as_str()) {
            wait_for_task(client, task).await?;
        }
    }
    let answer = client.cbs("DescribeSnapshots", &json!({ "SnapshotIds": [made] })).await?;
    output::listing(form, &answer, "SnapshotSet", COLUMNS);
    Ok(())
}

async fn list(client: &Client, form: OutputForm) -> Result<(), Error> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let mut answer =
            client.cbs("DescribeSnapshots", &json!({ "Offset": all.len(), "Limit": PAGE })).await?;
        let total = answer["TotalCount"].as_u64().unwrap_or(0);
        let page = answer["SnapshotSet"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let last = page.is_empty();
        all.extend(page);
        if last || all.len() as u64 >= total {
            break;
        }
    }
    let answer = json!({ "TotalCount": all.len(), "SnapshotSet": all });
    output::listing(form, &answer, "SnapshotSet", COLUMNS);
    Ok(())
}
