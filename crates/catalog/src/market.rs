//! Providers and listings. Who sees which, and what a decision brings about, is the service's.

use kiln_model::{
    ApplicationState, ImageId, Listing, ListingEvent, ListingId, ListingState, Money, Price, Provider,
    RegionId, Timestamp, Uin,
};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, push_filter, push_page, uin};
use crate::words::Word;
use crate::{Error, Result};

/// Which listings are asked for; conditions are joined.
#[derive(Debug, Clone)]
pub struct ListingQuery {
    /// In this region.
    pub region: RegionId,
    /// Who looks, where that one sees only its own and what is published; everything is seen where absent.
    pub viewer: Option<Uin>,
    /// Only these, where any is named.
    pub ids: Vec<ListingId>,
    /// Only those in this state.
    pub state: Option<ListingState>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl ListingQuery {
    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        query.push(" FROM listings WHERE region = ").push_bind(self.region.as_str());
        if let Some(viewer) = self.viewer {
            query.push(" AND (state = 'published' OR provider = ").push_bind(uin(viewer)?).push(")");
        }
        push_filter(query, "id", self.ids.iter().map(ListingId::as_str));
        push_filter(query, "state", self.state.map(Word::word).as_slice().iter().copied());
        Ok(())
    }
}

fn read_provider(row: &Row) -> Result<Provider> {
    Ok(Provider {
        account: row.uin("account")?,
        name: row.text("name")?,
        reason: row.text("reason")?,
        state: row.word("state")?,
        applied_at: row.time("applied_at")?,
        decided_at: row.optional_time("decided_at")?,
        answer: row.text("answer")?,
    })
}

fn read_listing(row: &Row) -> Result<Listing> {
    Ok(Listing {
        id: ListingId::from_trusted(row.text("id")?),
        provider: row.uin("provider")?,
        region: RegionId::from_trusted(row.text("region")?),
        image: ImageId::from_trusted(row.text("image")?),
        market_image: row.optional_text("market_image")?.map(ImageId::from_trusted),
        name: row.text("name")?,
        description: row.text("description")?,
        price: Price { per_hour: Money(row.number("per_hour")?), per_month: Money(row.number("per_month")?) },
        state: row.word("state")?,
        submitted_at: row.time("submitted_at")?,
        decided_at: row.optional_time("decided_at")?,
        answer: row.text("answer")?,
    })
}

impl Tx {
    /// Keeps an account's application for selling images in the place of its earlier one.
    ///
    /// # Errors
    /// `Missing` where the account does not exist.
    pub async fn put_provider(&mut self, provider: &Provider) -> Result<()> {
        let sql = "INSERT INTO providers (account, name, reason, state, applied_at, decided_at, answer)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (account) DO UPDATE SET name = excluded.name, reason = excluded.reason,
                state = excluded.state, applied_at = excluded.applied_at, decided_at = excluded.decided_at,
                answer = excluded.answer";
        let insert = query(sql)
            .bind(uin(provider.account)?)
            .bind(&provider.name)
            .bind(&provider.reason)
            .bind(provider.state.word())
            .bind(provider.applied_at.0)
            .bind(provider.decided_at.map(|at| at.0))
            .bind(&provider.answer);
        self.change(insert).await?;
        Ok(())
    }

    /// What is known of an account as a provider.
    pub async fn provider(&mut self, account: Uin) -> Result<Option<Provider>> {
        let select = query("SELECT * FROM providers WHERE account = $1").bind(uin(account)?);
        self.find(select, read_provider).await
    }

    /// Providers, and who wants to be one: of one account, or of all; in one state, or in any.
    pub async fn providers(
        &mut self,
        account: Option<Uin>,
        state: Option<ApplicationState>,
    ) -> Result<Vec<Provider>> {
        let mut select = Builder::new("SELECT * FROM providers WHERE 1 = 1");
        if let Some(account) = account {
            select.push(" AND account = ").push_bind(uin(account)?);
        }
        push_filter(&mut select, "state", state.map(Word::word).as_slice().iter().copied());
        select.push(" ORDER BY applied_at, account");
        self.list(select.build(), read_provider).await
    }

    /// Adds a listing.
    ///
    /// # Errors
    /// `Conflict` where the image has a listing that waits already; `Missing` where what it names does not exist.
    pub async fn insert_listing(&mut self, listing: &Listing) -> Result<()> {
        let sql =
            "INSERT INTO listings (id, provider, region, image, market_image, name, description, per_hour,
                per_month, state, submitted_at, decided_at, answer)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let insert = query(sql)
            .bind(listing.id.as_str())
            .bind(uin(listing.provider)?)
            .bind(listing.region.as_str())
            .bind(listing.image.as_str())
            .bind(listing.market_image.as_ref().map(ImageId::as_str))
            .bind(&listing.name)
            .bind(&listing.description)
            .bind(integer(listing.price.per_hour.0, "per_hour")?)
            .bind(integer(listing.price.per_month.0, "per_month")?)
            .bind(listing.state.word())
            .bind(listing.submitted_at.0)
            .bind(listing.decided_at.map(|at| at.0))
            .bind(&listing.answer);
        self.change(insert).await?;
        Ok(())
    }

    /// The listing of that identifier, whosever it is.
    pub async fn listing(&mut self, id: &ListingId) -> Result<Option<Listing>> {
        self.find(query("SELECT * FROM listings WHERE id = $1").bind(id.as_str()), read_listing).await
    }

    /// The listing that an image waits under for its review.
    pub async fn submitted_listing(&mut self, image: &ImageId) -> Result<Option<Listing>> {
        let sql = "SELECT * FROM listings WHERE image = $1 AND state = 'submitted'";
        self.find(query(sql).bind(image.as_str()), read_listing).await
    }

    /// The listing under which an image is sold.
    pub async fn published_listing(&mut self, market_image: &ImageId) -> Result<Option<Listing>> {
        let sql = "SELECT * FROM listings WHERE market_image = $1 AND state = 'published'";
        self.find(query(sql).bind(market_image.as_str()), read_listing).await
    }

    /// A page of listings, newest first, and how many there are in all.
    pub async fn listings(&mut self, asked: &ListingQuery) -> Result<(Vec<Listing>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT *");
        asked.push_conditions(&mut select)?;
        select.push(" ORDER BY submitted_at DESC, id");
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_listing).await?, total))
    }

    /// Lets something happen to a listing, and records what was decided with it: price, image for everybody, answer.
    ///
    /// # Errors
    /// `Illegal` where it cannot happen in the listing's state; `Stale` where there is no such listing.
    pub async fn transition_listing(
        &mut self,
        listing: &Listing,
        event: ListingEvent,
        now: Timestamp,
    ) -> Result<ListingState> {
        const GONE: &str = "no such listing, or its state changed";
        let present = self.listing(&listing.id).await?.ok_or(Error::Stale(GONE))?;
        let next = present.state.transition(event)?;
        let sql = "UPDATE listings SET state = $1, market_image = $2, per_hour = $3, per_month = $4,
                decided_at = $5, answer = $6
            WHERE id = $7 AND state = $8";
        let update = query(sql)
            .bind(next.word())
            .bind(listing.market_image.as_ref().map(ImageId::as_str))
            .bind(integer(listing.price.per_hour.0, "per_hour")?)
            .bind(integer(listing.price.per_month.0, "per_month")?)
            .bind(now.0)
            .bind(&listing.answer)
            .bind(listing.id.as_str())
            .bind(present.state.word());
        self.change_some(update, GONE).await?;
        Ok(next)
    }
}
