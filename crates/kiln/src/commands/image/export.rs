//! `kiln image export`: an image as a file, through a bucket: what was written there is downloaded, then deleted there.

use std::path::Path;

use serde_json::{Value, json};

use crate::arguments::{Connection, Export, ExportFormat, OutputForm};
use crate::client::{Client, Error};
use crate::download::{check_target, download, has_begun};
use crate::objects::{Objects, Place};
use crate::output;
use crate::progress::wait_for_task;

/// The bucket of exports to this machine.
const BUCKET: &str = "exports";

pub(super) async fn run(client: &Client, connection: &Connection, wanted: Export) -> Result<(), Error> {
    match wanted.file.clone() {
        Some(file) => to_file(client, connection, &wanted, &file).await,
        None => to_bucket(client, connection.output, &wanted).await,
    }
}

async fn to_bucket(client: &Client, form: OutputForm, wanted: &Export) -> Result<(), Error> {
    let bucket = wanted.bucket.as_deref().ok_or("name the file to make, or the bucket with --bucket")?;
    let format = wanted.format.unwrap_or(ExportFormat::Raw);
    let answer = ask(client, wanted, bucket, format, wanted.only_system_disk).await?;
    let task = answer["TaskId"].to_string();
    let files: Vec<_> = paths(&answer).iter().map(|path| format!("{bucket}{path}")).collect();
    if wanted.no_wait {
        output::done(form, &answer, &format!("task {task} writes {}", files.join(", ")));
        return Ok(());
    }
    wait_for_task(client, &task).await?;
    output::done(form, &answer, &format!("written to {}", files.join(", ")));
    Ok(())
}

async fn to_file(
    client: &Client,
    connection: &Connection,
    wanted: &Export,
    file: &Path,
) -> Result<(), Error> {
    check_target(file)?;
    let format = match wanted.format {
        Some(format) => format,
        None => format_of(file)?,
    };
    let objects = Objects::find(client, connection.objects_endpoint.as_deref()).await?;
    let bucket = objects.bucket_name(wanted.bucket.as_deref().unwrap_or(BUCKET))?;
    if !objects.buckets().await?.iter().any(|found| found.name == bucket) {
        objects.create_bucket(&bucket).await?;
    }
    // What an interrupted download left in the bucket is what an export would write again: an image never changes.
    let place = match begun(client, &objects, wanted, &bucket, format, file).await? {
        Some(place) => place,
        None => {
            let answer = ask(client, wanted, &bucket, format, true).await?;
            wait_for_task(client, &answer["TaskId"].to_string()).await?;
            let [path] = paths(&answer)[..] else { return Err("the export has not one file".into()) };
            Place { bucket, key: path.trim_start_matches('/').to_owned() }
        }
    };
    let size = download(&objects, &place, file).await?;
    if !wanted.keep_object {
        objects.delete(&place).await?;
    }
    let answer = json!({ "ImageId": wanted.image, "File": file, "FileBytes": size });
    let sentence =
        format!("image {} is in {}: {} as a file", wanted.image, file.display(), output::bytes(size));
    output::done(connection.output, &answer, &sentence);
    Ok(())
}

async fn ask(
    client: &Client,
    wanted: &Export,
    bucket: &str,
    format: ExportFormat,
    only_system_disk: bool,
) -> Result<Value, Error> {
    let mut parameters = json!({
        "ImageIds": [wanted.image], "BucketName": bucket, "ExportFormat": word(format).to_uppercase(),
        "OnlyExportRootDisk": only_system_disk,
    });
    if let Some(prefix) = &wanted.prefix {
        parameters["FileNamePrefixList"] = json!([prefix]);
    }
    client.cvm("ExportImages", &parameters).await
}

fn paths(answer: &Value) -> Vec<&str> {
    answer["CosPaths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The object of an earlier export of the same image to the same file, if its download has begun.
async fn begun(
    client: &Client,
    objects: &Objects,
    wanted: &Export,
    bucket: &str,
    format: ExportFormat,
    file: &Path,
) -> Result<Option<Place>, Error> {
    if !has_begun(file) {
        return Ok(None);
    }
    let answer = client.cvm("DescribeImages", &json!({ "ImageIds": [wanted.image] })).await?;
    let snapshots = answer["ImageSet"][0]["SnapshotSet"].as_array();
    let system = snapshots.into_iter().flatten().find(|snapshot| snapshot["DiskUsage"] == "SYSTEM_DISK");
    let Some(snapshot) = system.and_then(|snapshot| snapshot["SnapshotId"].as_str()) else { return Ok(None) };
    let prefix = wanted.prefix.as_deref().filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map_or_else(String::new, |prefix| format!("{prefix}_"));
    let key = format!("{prefix}{}_system_{snapshot}.{}", wanted.image, word(format));
    let there = objects.objects(bucket, &key).await?.iter().any(|object| object.key == key);
    Ok(there.then(|| Place { bucket: bucket.to_owned(), key }))
}

fn word(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Raw => "raw",
        ExportFormat::Qcow2 => "qcow2",
        ExportFormat::Vhd => "vhd",
        ExportFormat::Vmdk => "vmdk",
    }
}

/// The format that a file's name says.
fn format_of(file: &Path) -> Result<ExportFormat, Error> {
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "raw" | "img" => Ok(ExportFormat::Raw),
        "qcow2" => Ok(ExportFormat::Qcow2),
        "vhd" => Ok(ExportFormat::Vhd),
        "vmdk" => Ok(ExportFormat::Vmdk),
        _ => Err(format!("{}: the name says no format; give one by --format", file.display()).into()),
    }
}
