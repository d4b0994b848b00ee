//! The eight actions of the legacy API, each in terms of the use cases of API 3.0.

use kiln_model::{ImageId, ImageState, RegionId};
use kiln_service::{
    Answer, Command, CreateImage, DeleteImages, DescribeImages, Filter, ImageView, ModifyImageAttribute,
    ModifyImageSharePermission, SeenImage, SyncImages,
};
use serde_json::{Value, json};

use super::envelope::status;
use super::{Session, region};
use crate::envelope::Object;
use crate::error::Error;
use crate::parameter::{Arguments, Kind, Parameter, optional, required};

/// The error codes for identifiers of the wrong form.
const IMAGE_ID: &str = "InvalidImageId.Malformed";
const INSTANCE_ID: &str = "InvalidInstanceId.Malformed";
const MAX_NAME_CHARS: usize = 16;
const MAX_DESCRIPTION_CHARS: usize = 64;
/// The most images that a question names.
const MAX_IDS: usize = 10;

/// An action.
#[derive(Clone, Copy)]
pub(super) enum Action {
    CreateImage,
    DescribeImages,
    SyncCvmImage,
    ShareImage,
    CancelShareImage,
    GetImageShareUinInfo,
    ModifyImageAttributes,
    DeleteImages,
}

/// The table: what each action is called, and what it takes.
pub(super) static ACTIONS: &[(&str, Action, &[Parameter])] = &[
    ("CreateImage", Action::CreateImage, CREATE),
    ("DescribeImages", Action::DescribeImages, DESCRIBE),
    ("SyncCvmImage", Action::SyncCvmImage, SYNC),
    ("ShareImage", Action::ShareImage, SHARE),
    ("CancelShareImage", Action::CancelShareImage, SHARE),
    ("GetImageShareUinInfo", Action::GetImageShareUinInfo, IMAGES),
    ("ModifyImageAttributes", Action::ModifyImageAttributes, MODIFY),
    ("DeleteImages", Action::DeleteImages, IMAGES),
];

const CREATE: &[Parameter] = &[
    required("instanceId", Kind::Text),
    required("imageName", Kind::Text),
    optional("imageDescription", Kind::Text),
];

const DESCRIBE: &[Parameter] = &[
    required("imageType", Kind::Integer),
    optional("imageIds", Kind::Texts),
    optional("status", Kind::Integer),
    optional("offset", Kind::Integer),
    optional("limit", Kind::Integer),
];

const SYNC: &[Parameter] = &[
    required("srcRegion", Kind::Text),
    required("imgIdList", Kind::Texts),
    required("dstRegion", Kind::Texts),
];

const SHARE: &[Parameter] = &[required("imageId", Kind::Text), required("uinList", Kind::Texts)];

const MODIFY: &[Parameter] = &[
    required("imageId", Kind::Text),
    optional("imageName", Kind::Text),
    optional("imageDescription", Kind::Text),
];

const IMAGES: &[Parameter] = &[required("imageIds", Kind::Texts)];

pub(super) async fn perform(
    session: &Session<'_>,
    action: Action,
    arguments: &Arguments,
) -> Result<Object, Error> {
    match action {
        Action::CreateImage => create(session, arguments).await,
        Action::DescribeImages => describe(session, arguments).await,
        Action::SyncCvmImage => sync(session, arguments).await,
        Action::ShareImage => share(session, arguments, true).await,
        Action::CancelShareImage => share(session, arguments, false).await,
        Action::GetImageShareUinInfo => shares(session, arguments).await,
        Action::ModifyImageAttributes => modify(session, arguments).await,
        Action::DeleteImages => delete(session, arguments).await,
    }
}

async fn create(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let (name, description) = (name(arguments)?, description(arguments)?);
    let command = Command::CreateImage(CreateImage {
        name: name.ok_or_else(|| Error::MissingParameter("imageName".to_owned()))?,
        description: description.unwrap_or_default(),
        instance: arguments.id("instanceId", INSTANCE_ID)?,
        snapshots: Vec::new(),
        data_disks: Vec::new(),
        power_off: false,
        family: String::new(),
        tags: Vec::new(),
        dry_run: false,
    });
    match session.perform(command).await? {
        Answer::ImageAccepted { task, .. } => Ok(object([("requestId", json!(task))])),
        _ => Err(Error::UnexpectedAnswer),
    }
}

/// This API's names are shorter than those of API 3.0.
fn name(arguments: &Arguments) -> Result<Option<String>, Error> {
    let Some(name) = arguments.text("imageName") else { return Ok(None) };
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain && (1..=MAX_NAME_CHARS).contains(&name.len()) {
        return Ok(Some(name));
    }
    let reason = format!("it must be 1 to {MAX_NAME_CHARS} letters, digits and hyphens");
    Err(arguments.invalid("imageName", reason))
}

fn description(arguments: &Arguments) -> Result<Option<String>, Error> {
    let description = arguments.text("imageDescription");
    let chars = description.as_ref().map_or(0, |text| text.chars().count());
    if chars <= MAX_DESCRIPTION_CHARS {
        return Ok(description);
    }
    let reason = format!("it has {chars} characters, at most {MAX_DESCRIPTION_CHARS} are possible");
    Err(arguments.invalid("imageDescription", reason))
}

/// The kinds of images: their number here, how their viewer sees them, and how API 3.0 calls them.
const TYPES: [(u64, ImageView, &str); 4] = [
    (1, ImageView::Own, "PRIVATE_IMAGE"),
    (2, ImageView::Public, "PUBLIC_IMAGE"),
    (3, ImageView::Market, "MARKET_IMAGE"),
    (4, ImageView::Shared, "SHARED_IMAGE"),
];

/// The states of images, by their number here: those of API 3.0, and whether a copy of the image is being made.
const CREATING: u64 = 1;
const NORMAL: u64 = 2;
const FAILED: u64 = 3;
const BEING_MADE_AS_A_COPY: u64 = 4;
const BEING_COPIED: u64 = 5;

async fn describe(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let wanted = arguments.integer("imageType");
    let Some((number, view, type_name)) = TYPES.iter().find(|(number, ..)| Some(*number) == wanted) else {
        let reason = "it must be 1 (custom), 2 (public), 3 (marketplace) or 4 (shared)";
        return Err(arguments.invalid("imageType", reason.to_owned()));
    };
    let images = ids(arguments)?;
    let (states, being_copied) = states(arguments)?;
    let of_type = Filter { name: "image-type".to_owned(), values: vec![(*type_name).to_owned()] };
    let command = Command::DescribeImages(DescribeImages {
        // Named images are looked at here, since API 3.0 takes either names or conditions.
        filters: if images.is_empty() { vec![of_type] } else { Vec::new() },
        images,
        states,
        being_copied,
        offset: arguments.integer("offset").unwrap_or(0),
        limit: arguments.integer("limit"),
    });
    let Answer::Images(page) = session.perform(command).await? else {
        return Err(Error::UnexpectedAnswer);
    };
    let of_type = page.images.iter().filter(|seen| seen.view == *view);
    let shapes: Vec<Value> = of_type.map(|seen| image(seen, *number)).collect();
    let total = page.total - (page.images.len() - shapes.len()) as u64;
    Ok(object([("totalCount", json!(total)), ("imageSet", json!(shapes))]))
}

fn ids(arguments: &Arguments) -> Result<Vec<ImageId>, Error> {
    let ids = arguments.ids("imageIds", IMAGE_ID)?;
    if ids.len() > MAX_IDS {
        let reason = format!("it has {} items, at most {MAX_IDS} are possible", ids.len());
        return Err(arguments.invalid("imageIds", reason));
    }
    Ok(ids)
}

fn states(arguments: &Arguments) -> Result<(Vec<ImageState>, Option<bool>), Error> {
    match arguments.integer("status") {
        None => Ok((Vec::new(), None)),
        Some(CREATING) => Ok((vec![ImageState::Creating, ImageState::Importing], None)),
        Some(NORMAL) => Ok((vec![ImageState::Normal], Some(false))),
        Some(FAILED) => Ok((vec![ImageState::CreateFailed, ImageState::ImportFailed], None)),
        Some(BEING_MADE_AS_A_COPY) => Ok((vec![ImageState::Syncing], None)),
        Some(BEING_COPIED) => Ok((vec![ImageState::Normal], Some(true))),
        Some(_) => Err(arguments.invalid("status", "it must be 1, 2, 3, 4 or 5".to_owned())),
    }
}

fn image(seen: &SeenImage, type_number: u64) -> Value {
    let image = &seen.image;
    json!({
        "unImgId": image.id,
        "imageName": image.name,
        "imageDescription": image.description,
        "imageType": type_number,
        "osName": image.facts.os_name,
        "createTime": image.created_at.plain(),
        "creator": image.owner.to_string(),
        "status": match image.state {
            ImageState::Creating | ImageState::Importing => CREATING,
            ImageState::Normal if seen.being_copied => BEING_COPIED,
            ImageState::Normal => NORMAL,
            ImageState::Syncing => BEING_MADE_AS_A_COPY,
            ImageState::CreateFailed | ImageState::ImportFailed | ImageState::Deleted => FAILED,
        },
    })
}

/// Each image is copied by a use case of its own, so all of them are tried first: none is copied where one cannot be.
async fn sync(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let images: Vec<ImageId> = arguments.ids("imgIdList", IMAGE_ID)?;
    let named = arguments.texts("dstRegion").iter();
    let destinations: Vec<RegionId> =
        named.map(|name| region(session.shared, Some(name))).collect::<Result<_, _>>()?;
    for dry_run in [true, false] {
        for image in &images {
            let command = SyncImages {
                images: vec![image.clone()],
                destinations: destinations.clone(),
                name: None,
                dry_run,
            };
            session.perform(Command::SyncImages(command)).await?;
        }
    }
    Ok(Object::new())
}

async fn share(session: &Session<'_>, arguments: &Arguments, share: bool) -> Result<Object, Error> {
    let command = Command::ModifyImageSharePermission(ModifyImageSharePermission {
        image: arguments.required_id("imageId", IMAGE_ID)?,
        accounts: arguments.texts("uinList").to_vec(),
        share,
    });
    session.perform(command).await.map(|_| Object::new())
}

async fn shares(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let mut most = 0;
    let mut list = Vec::new();
    for image in ids(arguments)? {
        let command = Command::DescribeImageSharePermission { image: image.clone() };
        let Answer::Shares { shares, limit } = session.perform(command).await? else {
            return Err(Error::UnexpectedAnswer);
        };
        let shares: Vec<Value> = shares
            .iter()
            .map(|share| json!({"uin": share.account.to_string(), "shareTimeStamp": share.shared_at.plain()}))
            .collect();
        most = limit;
        list.push(json!({"imageId": image, "shareUinInfo": shares}));
    }
    let data = json!({"imageNum": list.len(), "maxImgShareNum": most, "imageList": list});
    Ok(object([("data", data)]))
}

async fn modify(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let command = Command::ModifyImageAttribute(ModifyImageAttribute {
        image: arguments.required_id("imageId", IMAGE_ID)?,
        name: name(arguments)?,
        description: description(arguments)?,
        family: None,
        deprecated: None,
    });
    session.perform(command).await.map(|_| Object::new())
}

/// Each image has its own outcome; the answer as a whole tells the first that was not deleted.
async fn delete(session: &Session<'_>, arguments: &Arguments) -> Result<Object, Error> {
    let (mut detail, mut first) = (Object::new(), None);
    for image in ids(arguments)? {
        let command = DeleteImages { images: vec![image.clone()], with_snapshots: false, dry_run: false };
        let error = session.perform(Command::DeleteImages(command)).await.err();
        let mut outcome = status(error.as_ref());
        outcome.remove("codeDesc");
        outcome.insert("requestId".to_owned(), session.caller.request_id.as_str().into());
        detail.insert(image.to_string(), outcome.into());
        first = first.or(error);
    }
    let mut answer = status(first.as_ref());
    answer.insert("detail".to_owned(), detail.into());
    Ok(answer)
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
