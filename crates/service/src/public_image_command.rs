//! Commands on images that are for everybody.

use kiln_model::{Components, ImageId, RegionId};

/// What is done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each variant is the action of that name; its fields are documented on its struct"
)]
pub enum PublicImageCommand {
    Publish(PublishImage),
    Withdraw(WithdrawImage),
    ModifyComponents { image: ImageId, components: Components },
    DescribeComponents { image: ImageId },
}

impl PublicImageCommand {
    /// Whether carrying it out can change anything.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::DescribeComponents { .. })
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        match self {
            Self::Publish(request) => ("PublishImage", request.image.to_string()),
            Self::Withdraw(request) => ("WithdrawImage", request.image.to_string()),
            Self::ModifyComponents { image, .. } => ("ModifyImageComponents", image.to_string()),
            Self::DescribeComponents { image } => ("DescribeImageComponents", image.to_string()),
        }
    }
}

/// Makes public images of one of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct PublishImage {
    /// A custom image of the operator's, or one that is public already.
    pub image: ImageId,
    /// Where it is to be public; where it is, if none is named.
    pub destinations: Vec<RegionId>,
    /// What is absent is as the image has it.
    pub name: Option<String>,
    pub description: Option<String>,
    pub family: Option<String>,
    pub dry_run: bool,
}

/// Takes an image back that is for everybody. Instances that were launched from it go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct WithdrawImage {
    pub image: ImageId,
    pub dry_run: bool,
}
