//! DescribeImages, DescribeImageFromFamily and DescribeImageQuota: the images that the caller sees, and how many may be
//! its own.

use std::sync::Arc;

use kiln_catalog::{ImageQuery, ImageView, ListedImage, Tx};
use kiln_model::{Image, ImageId, ImageState, TaskId};

use super::tags;
use crate::recent::Age;
use crate::{Answer, Caller, DescribeImages, Filter, ImagePage, Refusal, SeenImage, Service, checks};

const MAX_IDS: usize = 100;
const MAX_FILTERS: usize = 10;
const MAX_FILTER_VALUES: usize = 5;
/// More than any name or tag has, in bytes.
const MAX_FILTER_BYTES: usize = 1024;

pub(super) async fn perform(
    service: &Arc<Service>,
    caller: &Caller,
    request: DescribeImages,
) -> Result<Answer, Refusal> {
    let Some(query) = query(caller, &request)? else {
        return Ok(Answer::Images(Arc::default()));
    };
    let now = Age::of(&service.catalog);
    let page = match service.recent_images.get(&query, now) {
        Some(page) => page,
        None => {
            let mut tx = service.catalog.read().await?;
            let (found, total) = tx.images(&query).await?;
            let images = seen(&mut tx, caller, found).await?;
            service.recent_images.keep(query.clone(), now, ImagePage { images, total })
        }
    };
    let images = &page.images;
    // A filter asks for the same page as the same identifiers do, and may find less.
    if let Some(missing) = request.images.iter().find(|id| !images.iter().any(|seen| seen.image.id == **id))
        && (images.len() as u64) < query.limit.min(request.images.len() as u64)
    {
        return Err(Refusal::not_found(
            "InvalidImageId.NotFound",
            format!("There is no image {missing} in {} that you can see.", caller.region),
        ));
    }
    Ok(Answer::Images(page))
}

pub(super) async fn newest(service: &Arc<Service>, caller: &Caller, family: &str) -> Result<Answer, Refusal> {
    checks::image_family(family)?;
    let mut tx = service.catalog.read().await?;
    let newest = tx.newest_of_family(caller.account.uin, &caller.region, family).await?;
    let mut images = seen(&mut tx, caller, newest.into_iter().collect()).await?;
    Ok(Answer::FamilyImage(images.pop().map(Box::new)))
}

/// Images with what their viewer sees beside them.
async fn seen(tx: &mut Tx, caller: &Caller, found: Vec<ListedImage>) -> Result<Vec<SeenImage>, Refusal> {
    let ids = found.iter().map(|listed| listed.image.id.as_str());
    let mut tags = tx.tags_of(caller.account.uin, ids).await?;
    let mut images = Vec::with_capacity(found.len());
    for ListedImage { image, view, being_copied } in found {
        let percent = percent(tx, &image).await?;
        let tags = tags.remove(image.id.as_str()).unwrap_or_default();
        images.push(SeenImage { image, view, percent, being_copied, tags });
    }
    Ok(images)
}

pub(super) async fn quota(service: &Arc<Service>, caller: &Caller) -> Result<Answer, Refusal> {
    let limit = service.limits_of(caller.account.uin).await?.images_per_region;
    let used = service.catalog.read().await?.count_images(caller.account.uin, &caller.region).await?;
    Ok(Answer::ImageQuota { limit, used })
}

/// How far an image has come that is being made.
async fn percent(tx: &mut Tx, image: &Image) -> Result<u8, Refusal> {
    match image.state {
        ImageState::Normal => return Ok(100),
        ImageState::Creating | ImageState::Importing | ImageState::Syncing => {}
        ImageState::CreateFailed | ImageState::ImportFailed | ImageState::Deleted => return Ok(0),
    }
    task_percent(tx, &image.task).await
}

/// How far a task has come that is under way.
pub(super) async fn task_percent(tx: &mut Tx, task: &TaskId) -> Result<u8, Refusal> {
    let progress = tx.task(task).await?.map(|task| task.progress).unwrap_or_default();
    // 100 is what a finished image says; work that is under way stays below.
    let percent = progress.bytes_done.saturating_mul(100).checked_div(progress.bytes_total).unwrap_or(0);
    Ok(percent.min(99) as u8)
}

/// The query that a request asks for; `None` where no image can fulfil its filters.
fn query(caller: &Caller, request: &DescribeImages) -> Result<Option<ImageQuery>, Refusal> {
    if !request.images.is_empty() && !request.filters.is_empty() {
        return Err(Refusal::invalid(
            "InvalidParameter.InvalidParameterCoexistImageIdsFilters",
            "ImageIds and Filters exclude each other. Give one of them.",
        ));
    }
    if request.images.len() > MAX_IDS {
        return Err(Refusal::invalid(
            "InvalidParameterValue.LimitExceeded",
            format!("ImageIds has {} entries; at most {MAX_IDS} are allowed.", request.images.len()),
        ));
    }
    if request.filters.len() > MAX_FILTERS {
        return Err(Refusal::invalid(
            "InvalidFilter",
            format!("There are {} filters; at most {MAX_FILTERS} are allowed.", request.filters.len()),
        ));
    }
    let texts = request.filters.iter().flat_map(|filter| filter.values.iter().chain([&filter.name]));
    if let Some(long) = texts.map(|text| text.len()).find(|length| *length > MAX_FILTER_BYTES) {
        return Err(Refusal::invalid(
            "InvalidFilterValue.LimitExceeded",
            format!("A filter has a text of {long} bytes; at most {MAX_FILTER_BYTES} are allowed."),
        ));
    }
    let mut query = ImageQuery {
        offset: request.offset,
        limit: checks::page_limit(request.limit)?,
        states: request.states.clone(),
        being_copied: request.being_copied,
        ..ImageQuery::all(caller.account.uin, caller.region.clone())
    };
    if !request.images.is_empty() {
        query.ids = Some(request.images.clone());
    }
    for filter in &request.filters {
        if !apply(&mut query, filter)? {
            return Ok(None);
        }
    }
    Ok(Some(query))
}

/// Narrows a query by a filter. Answers false where nothing can be left.
fn apply(query: &mut ImageQuery, filter: &Filter) -> Result<bool, Refusal> {
    if filter.values.is_empty() || filter.values.len() > MAX_FILTER_VALUES {
        return Err(Refusal::invalid(
            "InvalidFilterValue.LimitExceeded",
            format!(
                "Filter {} has {} values; 1 to {MAX_FILTER_VALUES} are allowed.",
                filter.name,
                filter.values.len()
            ),
        ));
    }
    if let Some(condition) = tags::condition(filter) {
        query.tags.push(condition);
        return Ok(true);
    }
    match filter.name.as_str() {
        "image-id" => {
            let ids: Vec<ImageId> = filter.values.iter().filter_map(|text| text.parse().ok()).collect();
            match &mut query.ids {
                Some(present) => present.retain(|id| ids.contains(id)),
                none => *none = Some(ids),
            }
            Ok(query.ids.as_ref().is_some_and(|ids| !ids.is_empty()))
        }
        "image-type" => {
            let views: Vec<_> =
                filter.values.iter().map(|text| image_view(text)).collect::<Result<_, _>>()?;
            query.views.retain(|view| views.contains(view));
            Ok(!query.views.is_empty())
        }
        "image-name" => narrow(&mut query.names_contain, filter),
        "platform" => narrow(&mut query.platforms_contain, filter),
        other => Err(Refusal::invalid(
            "InvalidFilter",
            format!(
                "There is no filter {other:?}. Use image-id, image-type, image-name, platform, tag-key, tag-value or tag:KEY."
            ),
        )),
    }
}

/// Sets the alternatives of a text filter. A filter that is given twice would need both, which no client asks for.
fn narrow(values: &mut Vec<String>, filter: &Filter) -> Result<bool, Refusal> {
    if !values.is_empty() {
        return Err(Refusal::invalid("InvalidFilter", format!("Filter {} is given twice.", filter.name)));
    }
    values.clone_from(&filter.values);
    Ok(true)
}

fn image_view(text: &str) -> Result<ImageView, Refusal> {
    match text {
        "PRIVATE_IMAGE" => Ok(ImageView::Own),
        "SHARED_IMAGE" => Ok(ImageView::Shared),
        "PUBLIC_IMAGE" => Ok(ImageView::Public),
        "MARKET_IMAGE" => Ok(ImageView::Market),
        other => Err(Refusal::invalid(
            "InvalidFilter",
            format!(
                "There is no image type {other:?}. Use PRIVATE_IMAGE, SHARED_IMAGE, PUBLIC_IMAGE or MARKET_IMAGE."
            ),
        )),
    }
}
