//! `kiln bucket` and `kiln object`: what the server's buckets hold.

use serde_json::json;

use crate::arguments::{BucketCommand, ObjectCommand, OutputForm};
use crate::client::Error;
use crate::download::{check_target, download};
use crate::objects::{Objects, Place, crc64_of_answer};
use crate::output;

pub(super) async fn run(objects: &Objects, form: OutputForm, command: BucketCommand) -> Result<(), Error> {
    match command {
        BucketCommand::Create { name } => {
            let name = objects.bucket_name(&name)?;
            objects.create_bucket(&name).await?;
            output::done(form, &json!({ "Bucket": name }), &name);
        }
        BucketCommand::List => {
            let rows = objects.buckets().await?.into_iter().map(|bucket| {
                json!({
                    "Name": bucket.name, "Region": bucket.bucket_region, "CreationDate": bucket.creation_date,
                })
            });
            let answer = json!({ "Buckets": rows.collect::<Vec<_>>() });
            let columns = [("BUCKET", "/Name"), ("REGION", "/Region"), ("CREATED", "/CreationDate")];
            output::listing(form, &answer, "Buckets", &columns);
        }
        BucketCommand::Delete { name } => {
            let name = objects.bucket_name(&name)?;
            objects.delete_bucket(&name).await?;
            output::done(form, &json!({ "Bucket": name }), &format!("deleted {name}"));
        }
    }
    Ok(())
}

pub(super) async fn run_object(
    objects: &Objects,
    form: OutputForm,
    command: ObjectCommand,
) -> Result<(), Error> {
    match command {
        ObjectCommand::Put { file, object } => {
            let mut place = objects.place(&object)?;
            if place.key.ends_with('/') {
                let name = file.file_name().and_then(|name| name.to_str());
                place.key +=
                    name.ok_or_else(|| format!("{}: its name can be no key; give one", file.display()))?;
            }
            objects.put_file(&file, &place).await?;
            done(form, &place, "stored");
        }
        ObjectCommand::Get { object, file } => {
            let place = objects.place(&object)?;
            if file.as_os_str() == "-" {
                return print(objects, &place).await;
            }
            check_target(&file)?;
            download(objects, &place, &file).await?;
            done(form, &place, &format!("written to {}:", file.display()));
        }
        ObjectCommand::List { bucket, prefix } => {
            let rows = objects.objects(&objects.bucket_name(&bucket)?, &prefix).await?.into_iter().map(|object| {
                json!({ "Key": object.key, "Size": object.size, "LastModified": object.last_modified })
            });
            let answer = json!({ "Objects": rows.collect::<Vec<_>>() });
            let columns = [("KEY", "/Key"), ("BYTES", "/Size"), ("MODIFIED", "/LastModified")];
            output::listing(form, &answer, "Objects", &columns);
        }
        ObjectCommand::Delete { objects: named } => {
            for object in named {
                let place = objects.place(&object)?;
                // The server says of what was never there, too, that it is gone.
                objects.head(&place).await?;
                objects.delete(&place).await?;
                done(form, &place, "deleted");
            }
        }
        ObjectCommand::Presign { object, seconds, method } => {
            let url = objects.presign(&objects.place(&object)?, &method, i64::from(seconds));
            output::done(form, &json!({ "Url": url }), &url);
        }
    }
    Ok(())
}

fn done(form: OutputForm, place: &Place, what: &str) {
    let answer = json!({ "Bucket": place.bucket, "Key": place.key });
    output::done(form, &answer, &format!("{what} {place}"));
}

/// Writes an object's bytes to standard output.
///
/// # Errors
/// Also where these were not the bytes that the server has; they are written already then.
async fn print(objects: &Objects, place: &Place) -> Result<(), Error> {
    let mut answer = objects.get(place).await?;
    let expected = crc64_of_answer(&answer);
    let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Xz);
    while let Some(piece) = answer.chunk().await? {
        sum.update(&piece);
        output::raw(&piece);
    }
    match expected {
        Some(expected) if expected != sum.finalize() => Err("what came is not what the server has".into()),
        _ => Ok(()),
    }
}
