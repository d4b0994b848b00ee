//! Regions and zones. Which there are is configured; nothing in the code names one.

use crate::{RegionId, ZoneId};

/// A region: a store of its own, and the images and instances in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Such as `ap-guangzhou`.
    pub id: RegionId,
    /// The two letters that the legacy API calls it by, such as `gz`.
    pub short: String,
    /// What people call it.
    pub name: String,
    /// Whether images may be copied into and out of it.
    pub copying: bool,
    /// Its zones, the first being the default.
    pub zones: Vec<Zone>,
}

/// A zone of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Such as `ap-guangzhou-3`.
    pub id: ZoneId,
    /// What people call it.
    pub name: String,
    /// The numeric identifier that older clients use.
    pub number: u32,
}
