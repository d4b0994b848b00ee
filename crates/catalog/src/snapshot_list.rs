//! An account's snapshots in a region, page by page, those of its images included.

use kiln_model::{DiskId, DiskUsage, RegionId, Snapshot, SnapshotId, SnapshotState, Uin};

use crate::catalog::Tx;
use crate::column::{Builder, push_filter, push_list, push_page, uin};
use crate::snapshots::read_snapshot;
use crate::tags::{TagCondition, push_tag_conditions};
use crate::words::Word;
use crate::{DEFAULT_LIST_LIMIT, Result};

/// Which snapshots are asked for. Values of one filter are alternatives, filters are joined; an empty filter lets
/// everything through. Deleted snapshots never show.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say all")]
pub struct SnapshotQuery {
    pub owner: Uin,
    pub region: RegionId,
    /// Only these, where given.
    pub ids: Option<Vec<SnapshotId>>,
    /// Whole names.
    pub names: Vec<String>,
    pub states: Vec<SnapshotState>,
    pub usages: Vec<DiskUsage>,
    pub disks: Vec<DiskId>,
    /// The owner's tags on them; each condition holds.
    pub tags: Vec<TagCondition>,
    /// Whether the oldest come first, and not the newest.
    pub oldest_first: bool,
    /// How many are skipped.
    pub offset: u64,
    /// How many are given at most.
    pub limit: u64,
}

impl SnapshotQuery {
    /// The first page of an account's snapshots in a region.
    pub fn all(owner: Uin, region: RegionId) -> Self {
        Self {
            owner,
            region,
            ids: None,
            names: Vec::new(),
            states: Vec::new(),
            usages: Vec::new(),
            disks: Vec::new(),
            tags: Vec::new(),
            oldest_first: false,
            offset: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }

    fn push_conditions<'q>(&'q self, query: &mut Builder<'q>) -> Result<()> {
        query.push(" FROM snapshots s WHERE s.owner = ").push_bind(uin(self.owner)?);
        query.push(" AND s.region = ").push_bind(self.region.as_str());
        query.push(" AND s.state <> 'deleted'");
        if let Some(ids) = &self.ids {
            query.push(" AND s.id IN ");
            push_list(query, ids.iter().map(SnapshotId::as_str));
        }
        push_filter(query, "s.name", self.names.iter().map(String::as_str));
        push_filter(query, "s.state", self.states.iter().map(|state| state.word()));
        push_filter(query, "s.disk_usage", self.usages.iter().map(|usage| usage.word()));
        push_filter(query, "s.disk", self.disks.iter().map(DiskId::as_str));
        push_tag_conditions(query, "s.id", self.owner, &self.tags)
    }
}

impl Tx {
    /// A page of snapshots, newest first unless asked otherwise, and how many there are in all.
    pub async fn snapshots(&mut self, asked: &SnapshotQuery) -> Result<(Vec<Snapshot>, u64)> {
        let mut count = Builder::new("SELECT COUNT(*) AS n");
        asked.push_conditions(&mut count)?;
        let total = self.count(count.build()).await?;
        let mut select = Builder::new("SELECT s.*");
        asked.push_conditions(&mut select)?;
        let order = if asked.oldest_first { "s.created_at, s.id DESC" } else { "s.created_at DESC, s.id" };
        select.push(" ORDER BY ").push(order);
        push_page(&mut select, asked.offset, asked.limit)?;
        Ok((self.list(select.build(), read_snapshot).await?, total))
    }
}
