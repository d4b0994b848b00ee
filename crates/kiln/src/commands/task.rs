//! `kiln task`: long work.

use serde_json::json;

use crate::arguments::{OutputForm, TaskCommand};
use crate::client::{Client, Error};
use crate::output;
use crate::pages;
use crate::progress::wait_for_task;

const COLUMNS: &[(&str, &str)] = &[
    ("TASK", "/TaskId"),
    ("KIND", "/Kind"),
    ("STATE", "/State"),
    ("REGION", "/Region"),
    ("IMAGE", "/ImageId /Export/ImageIds"),
    ("INSTANCE", "/InstanceId"),
    ("STAGE", "/Stage"),
    ("CREATED", "/CreatedTime"),
    ("REASON", "/ErrorMessage"),
];

pub(super) async fn run(client: &Client, form: OutputForm, command: TaskCommand) -> Result<(), Error> {
    match command {
        TaskCommand::List => {
            let answer =
                pages::whole("TaskSet", async |page| client.kiln("DescribeTasks", &page).await).await?;
            output::listing(form, &answer, "TaskSet", COLUMNS);
        }
        TaskCommand::Watch { task } => {
            let ended = wait_for_task(client, &task).await?;
            output::listing(form, &json!({ "TaskSet": [ended] }), "TaskSet", COLUMNS);
        }
        TaskCommand::Cancel { task } => {
            let answer = client.kiln("CancelTask", &json!({ "TaskId": task })).await?;
            output::done(
                form,
                &answer,
                &format!("task {task} is asked to stop; `kiln task watch {task}` shows its end"),
            );
        }
    }
    Ok(())
}
