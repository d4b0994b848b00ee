//! Commands on tags, and what they answer.

use kiln_model::{RegionId, Resource, Tag, Uin};

use crate::Refusal;

/// What is asked about tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the action of that name")]
pub enum TagCommand {
    Describe(DescribeResourceTags),
    Modify(ModifyResourceTags),
    Tag { targets: Vec<TagTarget>, tags: Vec<Tag> },
    Untag { targets: Vec<TagTarget>, keys: Vec<String> },
}

impl TagCommand {
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Describe(_))
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        let names = |targets: &[TagTarget]| {
            targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Describe(_) => ("DescribeResourceTags", String::new()),
            Self::Modify(request) => ("ModifyResourceTags", request.target.name.clone()),
            Self::Tag { targets, .. } => ("TagResources", names(targets)),
            Self::Untag { targets, .. } => ("UnTagResources", names(targets)),
        }
    }
}

/// A resource as the tag service names it: where it is, whose, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct TagTarget {
    pub region: RegionId,
    /// The caller's own where absent.
    pub account: Option<Uin>,
    pub resource: Resource,
    /// The name in full, as it came.
    pub name: String,
}

/// Lists the caller's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DescribeResourceTags {
    /// The identifier of the one resource that is meant, if one is.
    pub resource: Option<String>,
    /// What the identifiers begin with of the kind that is meant, if one is.
    pub prefix: Option<&'static str>,
    pub offset: u64,
    pub limit: u64,
}

/// Changes the tags of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct ModifyResourceTags {
    pub target: TagTarget,
    /// Added, or given this value.
    pub replace: Vec<Tag>,
    /// The keys of those that go.
    pub delete: Vec<String>,
}

/// A resource that kept its tags as they were, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct TagFailure {
    pub name: String,
    pub refusal: Refusal,
}
