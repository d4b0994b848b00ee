//! `kiln image`: images, through the public API.

mod export;
pub(super) mod findings;

use std::path::Path;

use serde_json::{Value, json};

use crate::arguments::{Connection, CreateImage, ImageCommand, ImageType, Import, OutputForm};
use crate::client::{Client, Error};
use crate::commands::report;
use crate::objects::{Objects, Place};
use crate::output;
use crate::pages;
use crate::progress::wait_for_what_makes;

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("IMAGE", "/ImageId"),
    ("NAME", "/ImageName"),
    ("STATE", "/ImageState"),
    ("TYPE", "/ImageType"),
    ("OS", "/OsName"),
    ("GIB", "/ImageSize"),
    ("CREATED", "/CreatedTime"),
];

/// Stands for a file's URL before it has one: in a domain that is never there.
const NOT_UPLOADED: &str = "https://not-uploaded.invalid/";

pub(super) async fn run(
    client: &Client,
    connection: &Connection,
    command: ImageCommand,
) -> Result<(), Error> {
    let form = connection.output;
    match command {
        ImageCommand::List { name, types } => list(client, form, name, &types).await,
        ImageCommand::Show { image } => {
            let answer = client.cvm("DescribeImages", &json!({ "ImageIds": [image] })).await?;
            show(form, &answer);
            if form == OutputForm::Table && answer["ImageSet"][0]["ImageType"] == type_name(ImageType::Custom)
            {
                let shares = client.cvm("DescribeImageSharePermission", &json!({ "ImageId": image })).await?;
                let shares = shares["SharePermissionSet"].as_array().into_iter().flatten();
                let accounts: Vec<_> = shares.map(|share| output::text(&share["AccountId"])).collect();
                show_field("SharedWith", &json!(accounts.join(" ")));
            }
            Ok(())
        }
        ImageCommand::Report { image } => {
            let answer = client.kiln("DescribeImageReport", &json!({ "ImageId": image })).await?;
            let none = "There is no report: the image was not inspected, or its import failed before that (kiln image show).";
            report::print(form, &answer["Report"], none);
            Ok(())
        }
        ImageCommand::Import(import) => import_image(client, connection, *import).await,
        ImageCommand::Create(request) => create(client, form, request).await,
        ImageCommand::Copy { image, to, name, no_wait } => copy(client, form, image, to, name, no_wait).await,
        ImageCommand::Share { image, accounts } => share(client, form, "SHARE", &image, &accounts).await,
        ImageCommand::Unshare { image, accounts } => share(client, form, "CANCEL", &image, &accounts).await,
        ImageCommand::Delete { images, with_snapshots } => {
            let parameters = json!({ "ImageIds": images, "DeleteBindedSnap": with_snapshots });
            let answer = client.cvm("DeleteImages", &parameters).await?;
            let sentence = format!(
                "deleted {}; their space comes back when the store is collected (see `kiln store gc --help`)",
                images.join(", ")
            );
            output::done(form, &answer, &sentence);
            Ok(())
        }
        ImageCommand::Export(wanted) => export::run(client, connection, wanted).await,
        ImageCommand::ExportUrl { image, tcp } => {
            let transport = if tcp { "TCP" } else { "UNIX" };
            let answer =
                client.kiln("OpenImageExport", &json!({ "ImageId": image, "Transport": transport })).await?;
            match form {
                OutputForm::Json => output::json(&answer),
                OutputForm::Table => output::line(&output::text(&answer["Url"])),
            }
            Ok(())
        }
    }
}

async fn create(client: &Client, form: OutputForm, request: CreateImage) -> Result<(), Error> {
    let mut parameters = json!({ "ImageName": request.name, "ImageDescription": request.description });
    match request.instance {
        Some(instance) => {
            parameters["InstanceId"] = json!(instance);
            parameters["ForcePoweroff"] = json!(if request.power_off { "TRUE" } else { "FALSE" });
            parameters["DataDiskIds"] = json!(request.data_disks);
        }
        None => parameters["SnapshotIds"] = json!(request.snapshots),
    }
    let answer = client.cvm("CreateImage", &parameters).await?;
    finish(client, client.region(), form, &answer["ImageId"], request.no_wait).await
}

async fn list(
    client: &Client,
    form: OutputForm,
    name: Option<String>,
    types: &[ImageType],
) -> Result<(), Error> {
    let mut filters = Vec::new();
    filters.extend(name.map(|name| json!({ "Name": "image-name", "Values": [name] })));
    if !types.is_empty() {
        let types: Vec<_> = types.iter().map(|one| type_name(*one)).collect();
        filters.push(json!({ "Name": "image-type", "Values": types }));
    }
    let all = pages::whole("ImageSet", async |mut page| {
        page["Filters"] = json!(filters);
        client.cvm("DescribeImages", &page).await
    });
    output::listing(form, &all.await?, "ImageSet", COLUMNS);
    Ok(())
}

fn type_name(image_type: ImageType) -> &'static str {
    match image_type {
        ImageType::Custom => "PRIVATE_IMAGE",
        ImageType::Shared => "SHARED_IMAGE",
        ImageType::Public => "PUBLIC_IMAGE",
        ImageType::Market => "MARKET_IMAGE",
    }
}

fn show(form: OutputForm, answer: &Value) {
    let image = &answer["ImageSet"][0];
    match (form, image.as_object()) {
        (OutputForm::Table, Some(fields)) => {
            for (name, value) in fields {
                show_field(name, value);
            }
        }
        _ => output::json(image),
    }
}

fn show_field(name: &str, value: &Value) {
    output::line(&format!("{name:>20}  {}", output::text(value)));
}

async fn import_image(client: &Client, connection: &Connection, import: Import) -> Result<(), Error> {
    let mut parameters = json!({
        "ImageUrl": import.source, "ImageName": import.name, "ImageDescription": import.description,
        "OsType": import.claim.os_type, "OsVersion": import.claim.os_version,
        "Architecture": import.claim.architecture, "BootMode": import.claim.boot_mode,
        "LicenseType": import.claim.license, "Force": import.claim.force,
    });
    for (name, text) in [("ImageFamily", &import.family), ("ImageSha256", &import.sha256)] {
        if let Some(text) = text {
            parameters[name] = json!(text);
        }
    }
    if import.public {
        parameters["ImageType"] = json!("PUBLIC_IMAGE");
    }
    let uploaded = match import.source.contains("://") {
        true => None,
        false => Some(upload(client, connection, &import, &parameters).await?),
    };
    if let Some((_, place)) = &uploaded {
        parameters["ImageUrl"] = json!(place.import_url());
    }
    let imported = async {
        let image = client.cvm("ImportImage", &parameters).await?;
        finish(client, client.region(), connection.output, &image["ImageId"], import.no_wait).await
    };
    match (imported.await, uploaded) {
        (Ok(()), Some((objects, place))) if !import.keep_object && !import.no_wait => {
            objects.delete(&place).await
        }
        (Ok(()), Some((_, place))) => {
            eprintln!("The uploaded file is kept as {place}; when the import has ended, `kiln object delete {place}` removes it.");
            Ok(())
        }
        (Err(error), Some((_, place))) => Err(format!(
            "{error}\nThe uploaded file is kept as {place}: the same command imports it from there, with other options if need be; \
             `kiln object delete {place}` removes it."
        )
        .into()),
        (imported, _) => imported,
    }
}

/// Uploads a file of this machine, for an import that nothing speaks against so far. Its key says which file it is, so that
/// the same one goes on where it stopped, and whether it is to stay.
async fn upload(
    client: &Client,
    connection: &Connection,
    import: &Import,
    parameters: &Value,
) -> Result<(Objects, Place), Error> {
    let file = Path::new(&import.source);
    let about = file.metadata().map_err(|error| format!("{}: {error}", file.display()))?;
    if !about.is_file() {
        return Err(format!("{}: it is not a file", file.display()).into());
    }
    let mut tried = parameters.clone();
    tried["ImageUrl"] = json!(NOT_UPLOADED);
    tried["DryRun"] = json!(true);
    client.cvm("ImportImage", &tried).await?;
    let changed = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let objects = Objects::find(client, connection.objects_endpoint.as_deref()).await?;
    let bucket = objects.bucket_name(&import.bucket)?;
    if !objects.buckets().await?.iter().any(|found| found.name == bucket) {
        objects.create_bucket(&bucket).await?;
    }
    let kept = if import.keep_object { "kept/" } else { "" };
    let place = Place { bucket, key: format!("{kept}{changed}-{}/{name}", about.len()) };
    if !objects.has_file(file, &place).await? {
        objects.put_file(file, &place).await?;
    }
    Ok((objects, place))
}

async fn copy(
    client: &Client,
    form: OutputForm,
    image: String,
    to: Vec<String>,
    name: Option<String>,
    no_wait: bool,
) -> Result<(), Error> {
    let mut parameters = json!({ "ImageIds": [image], "DestinationRegions": to, "ImageSetRequired": true });
    if let Some(name) = name {
        parameters["ImageName"] = json!(name);
    }
    let answer = client.cvm("SyncImages", &parameters).await?;
    for copy in answer["ImageSet"].as_array().into_iter().flatten() {
        let region = copy["Region"].as_str().unwrap_or_default();
        if form == OutputForm::Table {
            output::line(&format!("in {region}:"));
        }
        finish(client, region, form, &copy["ImageId"], no_wait).await?;
    }
    Ok(())
}

/// Waits for an image that is being made, unless told not to, and prints it.
pub(super) async fn finish(
    client: &Client,
    region: &str,
    form: OutputForm,
    image: &Value,
    no_wait: bool,
) -> Result<(), Error> {
    let answer = match no_wait {
        true => client.cvm_in(region, "DescribeImages", &json!({ "ImageIds": [image] })).await?,
        false => json!({ "TotalCount": 1, "ImageSet": [wait_for_image(client, region, image).await?] }),
    };
    output::listing(form, &answer, "ImageSet", COLUMNS);
    Ok(())
}

/// Waits until an image is made, and gives it.
///
/// # Errors
/// The reason of its task, where that has ended without its result.
pub(super) async fn wait_for_image(client: &Client, region: &str, image: &Value) -> Result<Value, Error> {
    wait_for_what_makes(client, "ImageId", image).await?;
    let mut answer = client.cvm_in(region, "DescribeImages", &json!({ "ImageIds": [image] })).await?;
    Ok(answer["ImageSet"][0].take())
}

async fn share(
    client: &Client,
    form: OutputForm,
    permission: &str,
    image: &str,
    accounts: &[String],
) -> Result<(), Error> {
    // An owner sees what is in an image before others do.
    let shares = permission == "SHARE";
    let shown = if shares { findings::show(client, image).await } else { Ok(()) };
    let parameters = json!({ "ImageId": image, "AccountIds": accounts, "Permission": permission });
    let answer = client.cvm("ModifyImageSharePermission", &parameters).await?;
    if let Err(error) = shown {
        eprintln!("What is in image {image} could not be shown before: {error}");
    }
    let verb = if shares { "is shared" } else { "is no longer shared" };
    output::done(form, &answer, &format!("image {image} {verb} with {}", accounts.join(", ")));
    Ok(())
}
