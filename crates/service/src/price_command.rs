//! Commands on prices and on what is for sale, and what they answer.

use kiln_model::{ImageId, InstanceId, Money, Price, ZoneId};

use crate::Filter;

/// What is asked about prices and offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum PriceCommand {
    RunInstances(InquirePriceRunInstances),
    ResetInstance(InquirePriceResetInstance),
    ModifyImageFee { image: ImageId, fee: Price },
    InstanceTypes { filters: Vec<Filter> },
}

impl PriceCommand {
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::ModifyImageFee { .. })
    }

    /// The action's name, and what it is done to.
    pub(crate) fn name_and_subject(&self) -> (&'static str, String) {
        match self {
            Self::RunInstances(_) => ("InquiryPriceRunInstances", String::new()),
            Self::ResetInstance(_) => ("InquiryPriceResetInstance", String::new()),
            Self::ModifyImageFee { image, .. } => ("ModifyImageFee", image.to_string()),
            Self::InstanceTypes { .. } => ("DescribeInstanceTypeConfigs", String::new()),
        }
    }
}

/// Asks what a launch would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct InquirePriceRunInstances {
    pub image: ImageId,
    pub zone: Option<ZoneId>,
    pub instance_type: Option<String>,
    pub count: u32,
    /// How many months are paid in advance; each hour is paid afterwards where absent.
    pub months: Option<u32>,
}

/// Asks what an instance would cost after its system disk was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct InquirePriceResetInstance {
    pub instance: InstanceId,
    /// The image it would have; its present one where absent.
    pub image: Option<ImageId>,
}

/// What is to be paid, together and for each of the two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// For the machines.
    pub machine: Money,
    /// For the image that they run.
    pub image: Money,
    /// Whether that is for all of the time that was asked about, in advance; for each hour, where not.
    pub in_advance: bool,
}
