//! Long work: a bar with bytes, rate and time left while it runs, a server's tasks or this program's own.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::client::{Client, Error};
use crate::pages;

const POLL: Duration = Duration::from_millis(250);
/// Answers in a row that may fail while waiting: a server that restarts comes back meanwhile.
const MAX_FAILURES: u32 = 120;

/// A bar for work of this program's own on so many bytes.
pub(crate) fn byte_bar(prefix: &'static str, total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    bar.set_style(style(
        "{prefix:>10} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left",
    ));
    bar.with_prefix(prefix)
}

/// Waits until a task has ended, and answers it.
///
/// # Errors
/// The task's reason, where it has ended without its result.
pub(crate) async fn wait_for_task(client: &Client, task: &str) -> Result<Value, Error> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{spinner} {prefix}"));
    let mut failures = 0;
    loop {
        match client.kiln("DescribeTasks", &json!({ "TaskIds": [task] })).await {
            Ok(mut answer) => {
                failures = 0;
                let task = answer["TaskSet"][0].take();
                show(&bar, &task);
                if let Some(outcome) = ended(&task) {
                    bar.finish_and_clear();
                    return outcome.map(|()| task);
                }
            }
            Err(error) if failures >= MAX_FAILURES || !error.to_string().contains("does not answer") => {
                return Err(error);
            }
            Err(_) => failures += 1,
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the newest task that makes something has ended; `member` is how a task names that.
///
/// # Errors
/// As [`wait_for_task`].
pub(crate) async fn wait_for_what_makes(client: &Client, member: &str, made: &Value) -> Result<(), Error> {
    let ask = async |page| client.kiln("DescribeTasks", &page).await;
    let task = pages::find("TaskSet", ask, |task| task[member] == *made).await?;
    match task.as_ref().and_then(|task| task["TaskId"].as_str()) {
        Some(task) => wait_for_task(client, task).await.map(drop),
        None => Ok(()),
    }
}

fn ended(task: &Value) -> Option<Result<(), Error>> {
    match task["State"].as_str() {
        Some("QUEUED" | "RUNNING") => None,
        Some("SUCCEEDED") => Some(Ok(())),
        _ => Some(Err(format!(
            "task {}: {}: {}",
            task["TaskId"].as_str().unwrap_or_default(),
            task["ErrorCode"].as_str().unwrap_or("failed"),
            task["ErrorMessage"].as_str().unwrap_or_default()
        )
        .into())),
    }
}

fn show(bar: &ProgressBar, task: &Value) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let number = |field: &str| task[field].as_u64().unwrap_or(0);
    bar.set_prefix(task["Stage"].as_str().unwrap_or("waiting").to_owned());
    let total = number("BytesTotal");
    if total > 0 {
        bar.set_style(style("{prefix:>10} [{bar:30}] {binary_bytes}/{binary_total_bytes} {msg}"));
        bar.set_length(total);
        bar.set_position(number("BytesDone"));
        let rate = number("BytesPerSecond");
        let left = total.saturating_sub(number("BytesDone")).checked_div(rate);
        let left = left.map(|seconds| format!(", {seconds} s left")).unwrap_or_default();
        bar.set_message(format!("{}/s{left}", crate::output::bytes(rate)));
    } else {
        bar.set_style(style("{prefix:>10} {spinner}"));
    }
    bar.tick();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
