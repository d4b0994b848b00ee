//! `kiln disk`: data disks, and which instance has them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::arguments::{CreateDisks, DiskCommand, OutputForm};
use crate::client::{Client, Error};
use crate::output;
use crate::pages::{self, PAGE};

const COLUMNS: &[(&str, &str)] = &[
    ("DISK", "/DiskId"),
    ("NAME", "/DiskName"),
    ("USAGE", "/DiskUsage"),
    ("GIB", "/DiskSize"),
    ("STATE", "/DiskState"),
    ("INSTANCE", "/InstanceId"),
    ("ZONE", "/Placement/Zone"),
    ("CREATED", "/CreateTime"),
];
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(client: &Client, form: OutputForm, command: DiskCommand) -> Result<(), Error> {
    match command {
        DiskCommand::Create(request) => create(client, form, request).await,
        DiskCommand::List => list(client, form).await,
        DiskCommand::Attach { instance, disks, delete_with_instance } => {
            let parameters = json!({ "InstanceId": instance, "DiskIds": disks, "DeleteWithInstance": delete_with_instance });
            client.cbs("AttachDisks", &parameters).await?;
            settled(client, form, &disks, "ATTACHED").await
        }
        DiskCommand::Detach { disks } => {
            client.cbs("DetachDisks", &json!({ "DiskIds": disks })).await?;
            settled(client, form, &disks, "UNATTACHED").await
        }
        DiskCommand::Delete { disks } => {
            let answer = client.cbs("TerminateDisks", &json!({ "DiskIds": disks })).await?;
            output::done(form, &answer, &format!("deleted {}", disks.join(", ")));
            Ok(())
        }
    }
}

async fn create(client: &Client, form: OutputForm, request: CreateDisks) -> Result<(), Error> {
    let zone = match request.zone {
        Some(zone) => json!(zone),
        None => client.cvm("DescribeZones", &json!({})).await?["ZoneSet"][0]["Zone"].take(),
    };
    let mut parameters = json!({
        "Placement": { "Zone": zone }, "DiskChargeType": "POSTPAID_BY_HOUR", "DiskType": "CLOUD_PREMIUM",
        "DiskCount": request.count,
    });
    if let Some(size) = request.size {
        parameters["DiskSize"] = json!(size);
    }
    if let Some(snapshot) = request.snapshot {
        parameters["SnapshotId"] = json!(snapshot);
    }
    if let Some(name) = request.name {
        parameters["DiskName"] = json!(name);
    }
    let answer = client.cbs("CreateDisks", &parameters).await?;
    let made = client.cbs("DescribeDisks", &json!({ "DiskIds": answer["DiskIdSet"], "Limit": PAGE })).await?;
    output::listing(form, &made, "DiskSet", COLUMNS);
    Ok(())
}

async fn list(client: &Client, form: OutputForm) -> Result<(), Error> {
    let all = pages::whole("DiskSet", async |page| client.cbs("DescribeDisks", &page).await).await?;
    output::listing(form, &all, "DiskSet", COLUMNS);
    Ok(())
}

/// Waits until no disk is on its way any more, and shows them; those that are elsewhere say why.
async fn settled(client: &Client, form: OutputForm, disks: &[String], wanted: &str) -> Result<(), Error> {
    loop {
        let answer = client.cbs("DescribeDisks", &json!({ "DiskIds": disks, "Limit": PAGE })).await?;
        let found: Vec<&Value> = answer["DiskSet"].as_array().into_iter().flatten().collect();
        let moving = |disk: &&Value| disk["DiskState"] == "ATTACHING" || disk["DiskState"] == "DETACHING";
        if found.iter().any(moving) {
            tokio::time::sleep(POLL).await;
            continue;
        }
        output::listing(form, &answer, "DiskSet", COLUMNS);
        let failed: Vec<String> = found
            .iter()
            .filter(|disk| disk["DiskState"] != wanted)
            .map(|disk| format!("{}: {}", output::text(&disk["DiskId"]), output::text(&disk["ErrorPrompt"])))
            .collect();
        return if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) };
    }
}
