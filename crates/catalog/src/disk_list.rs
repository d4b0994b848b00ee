//! An account's disks in a region, page by page: data disks, and the system disks of its instances.

use kiln_model::{Disk, DiskId, DiskState, DiskUsage, InstanceId, RegionId, Uin, ZoneId};

use crate::catalog::Tx;
use crate::column::{Builder, push_filter, push_list, push_page, uin};
use crate::disks::{ALL, read_disk};
use crate::tags::{TagCondition, push_tag_conditions};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// Which disks are asked for. Values of one filter are alternatives, filters are joined; an empty filter lets everything
/// through. Terminated disks never show.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DiskQuery {
    pub owner: Uin,
    pub region: RegionId,
    /// Only these, where given.
    pub ids: Option<Vec<DiskId>>,
    /// Whole names.
    pub names: Vec<String>,
    pub usages: Vec<DiskUsage>,
    pub states: Vec<DiskState>,
    pub instances: Vec<InstanceId>,
    pub zones: Vec<ZoneId>,
    /// The owner's tags on them; each condition holds.
    pub tags: Vec<TagCondition>,
    /// Whether the oldest come first, and not the newest.
    pub oldest_first: bool,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl DiskQuery {
    /// The first page of an account's disks in a region.
    pub fn all(owner: Uin, region: RegionId) -> Self {
        Self {
            owner,
            region,
            ids: None,
            names: Vec::new(),
            usages: Vec::new(),
            states: Vec::new(),
            instances: Vec::new(),
            zones: Vec::new(),
            tags: Vec::new(),
            oldest_first: false,
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }

    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        query.push(" FROM ").push(ALL).push(" d WHERE d.owner = ").push_bind(uin(self.owner)?);
        query.push(" AND d.region = ").push_bind(self.region.as_str());
        query.push(" AND d.state <> 'terminated'");
        if let Some(ids) = &self.ids {
            query.push(" AND d.id IN ");
            push_list(query, ids.iter().map(DiskId::as_str));
        }
        push_filter(query, "d.name", self.names.iter().map(String::as_str));
        push_filter(query, "d.disk_usage", self.usages.iter().map(|usage| usage.word()));
        push_filter(query, "d.state", self.states.iter().map(|state| state.word()));
        push_filter(query, "d.instance", self.instances.iter().map(InstanceId::as_str));
        push_filter(query, "d.zone", self.zones.iter().map(ZoneId::as_str));
        push_tag_conditions(query, "d.id", self.owner, &self.tags)
    }
}

impl Tx {
    /// A page of disks, newest first unless asked otherwise, and how many there are in all.
    pub async fn disks(&mut self, asked: &DiskQuery) -> Result<(Vec<Disk>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT d.*");
        asked.push_conditions(&mut select)?;
        let order = if asked.oldest_first { "d.created_at, d.id DESC" } else { "d.created_at DESC, d.id" };
        select.push(" ORDER BY ").push(order);
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_disk).await?, total))
    }
}
