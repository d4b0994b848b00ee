//! The images that an account sees in a region, page by page.
//!
//! Each view (own, shared, public, market) is one arm of the query with an index of its own, so that a page costs
//! what the viewer sees and not what exists. The arms do not overlap. Deleted images are in none of them.

use sqlx::query;

use kiln_model::{Image, ImageId, ImageState, RegionId, Uin};

use crate::catalog::Tx;
use crate::column::{Builder, Row, push_filter, push_list, push_page, uin};
use crate::images::read_image;
use crate::tags::{TagCondition, push_tag_conditions};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// How an account comes to see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageView {
    /// It is the account's own custom image, in whatever state.
    Own,
    /// Another account shares it. Ready ones only.
    Shared,
    /// It is the operator's, for everybody. Ready ones only, but for its owner.
    Public,
    /// It is a provider's, for everybody. Ready ones only, but for its owner.
    Market,
}

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// The image.
    pub image: Image,
    /// How the viewer sees it.
    pub view: ImageView,
    /// Whether an unfinished copy of it is being made.
    pub being_copied: bool,
}

/// Which images are asked for. Values of one filter are alternatives, filters are joined; an empty filter lets
/// everything through (but no `views` show nothing).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageQuery {
    /// Who looks.
    pub viewer: Uin,
    /// Where.
    pub region: RegionId,
    /// Which ways of seeing an image.
    pub views: Vec<ImageView>,
    /// Only these, where given.
    pub ids: Option<Vec<ImageId>>,
    /// Parts of names, case-sensitive. Images whose name is exactly one of them come first.
    pub names_contain: Vec<String>,
    /// Parts of platforms, case-sensitive.
    pub platforms_contain: Vec<String>,
    /// States.
    pub states: Vec<ImageState>,
    /// Whether an unfinished copy of it is being made; either, where absent.
    pub being_copied: Option<bool>,
    /// The viewer's own tags on them; each condition holds.
    pub tags: Vec<TagCondition>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

/// Whether a copy of image `i` is being made, in whatever region.
const BEING_COPIED: &str =
    "EXISTS (SELECT 1 FROM images c WHERE c.origin_image = i.id AND c.state = 'syncing')";

impl ImageQuery {
    /// The first page of everything that an account sees in a region.
    pub fn all(viewer: Uin, region: RegionId) -> Self {
        Self {
            viewer,
            region,
            views: ImageView::WORDS.iter().map(|(view, _)| *view).collect(),
            ids: None,
            names_contain: Vec::new(),
            platforms_contain: Vec::new(),
            states: Vec::new(),
            being_copied: None,
            tags: Vec::new(),
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }

    fn push_arm<'q>(&'q self, query: &mut Builder<'q>, view: ImageView) -> Result<()> {
        query.push("SELECT i.id, i.created_at, '").push(view.word()).push("' AS seen_as");
        if !self.names_contain.is_empty() {
            query.push(", CASE WHEN i.name IN ");
            push_list(query, self.names_contain.iter().map(String::as_str));
            query.push(" THEN 0 ELSE 1 END AS rank");
        }
        let viewer = uin(self.viewer)?;
        match view {
            ImageView::Own => {
                query.push(" FROM images i WHERE i.kind = 'custom' AND i.owner = ").push_bind(viewer);
            }
            ImageView::Shared => {
                query.push(" FROM image_shares s JOIN images i ON i.id = s.image WHERE i.kind = 'custom'");
                query.push(" AND i.state = 'normal' AND s.account = ").push_bind(viewer);
                query.push(" AND i.owner <> ").push_bind(viewer);
            }
            ImageView::Public | ImageView::Market => {
                query.push(" FROM images i WHERE i.kind = '").push(view.word()).push("'");
                query.push(" AND i.kind <> 'custom' AND (i.state = 'normal' OR i.owner = ");
                query.push_bind(viewer).push(")");
            }
        }
        query.push(" AND i.state <> 'deleted' AND i.region = ").push_bind(self.region.as_str());
        self.push_filters(query)
    }

    fn push_filters<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        if let Some(ids) = &self.ids {
            query.push(" AND i.id IN ");
            push_list(query, ids.iter().map(ImageId::as_str));
        }
        push_filter(query, "i.state", self.states.iter().map(|state| state.word()));
        push_parts(query, "i.name", &self.names_contain);
        push_parts(query, "i.platform", &self.platforms_contain);
        if let Some(copied) = self.being_copied {
            query.push(if copied { " AND " } else { " AND NOT " }).push(BEING_COPIED);
        }
        push_tag_conditions(query, "i.id", self.viewer, &self.tags)
    }

    /// The arms, joined. There is at least one view.
    fn push_arms<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        let views = ImageView::WORDS.iter().map(|(view, _)| *view).filter(|view| self.views.contains(view));
        for (index, view) in views.enumerate() {
            if index > 0 {
                query.push(" UNION ALL ");
            }
            self.push_arm(query, view)?;
        }
        Ok(())
    }
}

/// Adds the condition that a column contains one of the parts. `replace` takes a part out of a text in both
/// dialects, telling upper from lower case, where `LIKE` and `instr` differ; only an empty part is in every text.
fn push_parts<'q>(query: &mut Builder<'q>, column: &str, parts: &'q [String]) {
    if parts.is_empty() || parts.iter().any(String::is_empty) {
        return;
    }
    for (index, part) in parts.iter().enumerate() {
        query.push(if index == 0 { " AND (" } else { " OR " });
        query.push("REPLACE(").push(column).push(", ").push_bind(part).push(", '') <> ").push(column);
    }
    query.push(")");
}

impl Tx {
    /// A page of images, newest first (exact matches of a name before others), and how many there are in all.
    pub async fn images(&mut self, asked: &ImageQuery) -> Result<(Vec<ListedImage>, u64)> {
        if asked.views.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let mut count = Builder::new("SELECT COUNT(*) AS n FROM (");
        asked.push_arms(&mut count)?;
        count.push(") v");
        let total = self.count(count.build()).await?;

        let rank = if asked.names_contain.is_empty() { "" } else { "rank, " };
        let order = |table: &str| format!(" ORDER BY {rank}{table}.created_at DESC, {table}.id");
        let mut select = Builder::new("SELECT i.*, p.seen_as, ");
        select.push(BEING_COPIED).push(" AS being_copied FROM (SELECT * FROM (");
        asked.push_arms(&mut select)?;
        select.push(") v").push(order("v"));
        push_page(&mut select, asked.offset, asked.limit)?;
        select.push(") p JOIN images i ON i.id = p.id").push(order("p"));
        let read = |row: &Row| {
            let (view, being_copied) = (row.word("seen_as")?, row.flag("being_copied")?);
            Ok(ListedImage { image: read_image(row)?, view, being_copied })
        };
        let mut images = self.list(select.build(), read).await?;
        self.add_disks(images.iter_mut().map(|listed| &mut listed.image)).await?;
        Ok((images, total))
    }

    /// An image, if the account sees it in the region, and how.
    pub async fn visible_image(
        &mut self,
        viewer: Uin,
        region: &RegionId,
        id: &ImageId,
    ) -> Result<Option<(Image, ImageView)>> {
        let query = ImageQuery { ids: Some(vec![id.clone()]), ..ImageQuery::all(viewer, region.clone()) };
        Ok(self.images(&query).await?.0.pop().map(|listed| (listed.image, listed.view)))
    }

    /// The newest ready image of a family in a region that is not deprecated: of the account's own custom images, or
    /// else of the public ones. What other accounts share or sell does not count, or they could choose what the account
    /// launches.
    pub async fn newest_of_family(
        &mut self,
        viewer: Uin,
        region: &RegionId,
        family: &str,
    ) -> Result<Option<ListedImage>> {
        let sql = "SELECT id FROM images
            WHERE family = $1 AND family <> '' AND state = 'normal' AND region = $2 AND deprecated = 0
                AND (kind = 'public' OR (kind = 'custom' AND owner = $3))
            ORDER BY CASE WHEN kind = 'custom' THEN 0 ELSE 1 END, created_at DESC, id LIMIT 1";
        let select = query(sql).bind(family).bind(region.as_str()).bind(uin(viewer)?);
        let Some(id) = self.find(select, |row| row.text("id").map(ImageId::from_trusted)).await? else {
            return Ok(None);
        };
        let query = ImageQuery { ids: Some(vec![id]), ..ImageQuery::all(viewer, region.clone()) };
        Ok(self.images(&query).await?.0.pop())
    }

    /// The identifiers of all ready images, of every account and region, oldest first.
    pub async fn ready_image_ids(&mut self) -> Result<Vec<ImageId>> {
        let sql = "SELECT id FROM images WHERE state = $1 ORDER BY created_at, id";
        self.list(query(sql).bind(ImageState::Normal.word()), |row| row.text("id").map(ImageId::from_trusted))
            .await
    }
}
