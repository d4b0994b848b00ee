//! An account's instances in a region, page by page.

use std::net::Ipv4Addr;

use kiln_model::{ImageId, Instance, InstanceId, InstanceState, RegionId, Timestamp, Uin, ZoneId};

use crate::catalog::Tx;
use crate::column::{Builder, push_filter, push_list, push_page, uin};
use crate::instances::read_instance;
use crate::tags::{TagCondition, push_tag_conditions};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// Which instances are asked for. Values of one filter are alternatives, filters are joined; an empty filter lets
/// everything through, except that Terminated instances show only where `states` names that state.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct InstanceQuery {
    pub owner: Uin,
    pub region: RegionId,
    /// Only these, where given.
    pub ids: Option<Vec<InstanceId>>,
    pub images: Vec<ImageId>,
    pub states: Vec<InstanceState>,
    /// Whole names.
    pub names: Vec<String>,
    pub private_addresses: Vec<Ipv4Addr>,
    pub zones: Vec<ZoneId>,
    /// Asked for at this time or later.
    pub created_from: Option<Timestamp>,
    /// Asked for at this time or before.
    pub created_until: Option<Timestamp>,
    /// The owner's tags on them; each condition holds.
    pub tags: Vec<TagCondition>,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl InstanceQuery {
    /// The first page of an account's instances in a region.
    pub fn all(owner: Uin, region: RegionId) -> Self {
        Self {
            owner,
            region,
            ids: None,
            images: Vec::new(),
            states: Vec::new(),
            names: Vec::new(),
            private_addresses: Vec::new(),
            zones: Vec::new(),
            created_from: None,
            created_until: None,
            tags: Vec::new(),
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }

    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>, addresses: &'q [String]) -> Result<()> {
        query.push(" FROM instances WHERE owner = ").push_bind(uin(self.owner)?);
        query.push(" AND region = ").push_bind(self.region.as_str());
        if self.states.is_empty() {
            query.push(" AND state <> 'terminated'");
        }
        push_filter(query, "state", self.states.iter().map(|state| state.word()));
        if let Some(ids) = &self.ids {
            query.push(" AND id IN ");
            push_list(query, ids.iter().map(InstanceId::as_str));
        }
        push_filter(query, "image", self.images.iter().map(ImageId::as_str));
        push_filter(query, "name", self.names.iter().map(String::as_str));
        push_filter(query, "private_address", addresses.iter().map(String::as_str));
        push_filter(query, "zone", self.zones.iter().map(ZoneId::as_str));
        if let Some(from) = self.created_from {
            query.push(" AND created_at >= ").push_bind(from.0);
        }
        if let Some(until) = self.created_until {
            query.push(" AND created_at <= ").push_bind(until.0);
        }
        push_tag_conditions(query, "instances.id", self.owner, &self.tags)
    }
}

impl Tx {
    /// A page of instances, newest first, and how many there are in all.
    pub async fn instances(&mut self, asked: &InstanceQuery) -> Result<(Vec<Instance>, u64)> {
        let addresses: Vec<String> = asked.private_addresses.iter().map(Ipv4Addr::to_string).collect();
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count, &addresses)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT *");
        asked.push_conditions(&mut select, &addresses)?;
        select.push(" ORDER BY created_at DESC, id");
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_instance).await?, total))
    }

    /// All of an account's instances, of every region, that are not Terminated.
    pub async fn instances_of(&mut self, owner: Uin) -> Result<Vec<Instance>> {
        let mut select = Builder::new("SELECT * FROM instances WHERE state <> 'terminated' AND owner = ");
        select.push_bind(uin(owner)?).push(" ORDER BY created_at DESC, id");
        self.list(select.build(), read_instance).await
    }
}
