//! The marketplace: providers, and the images that they have listed.
//!
//! ```text
//! Submitted ──published──► Published ──withdrawn──► Withdrawn
//!    │  └──returned──► Returned ◄──failed──┘ └──replaced──► Replaced
//!    └─────withdrawn──────────────────────────► Withdrawn
//! ```

use crate::{ApplicationState, IllegalTransition, ImageId, ListingId, Price, RegionId, Timestamp, Uin};

/// An account that sells images, or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The account.
    pub account: Uin,
    /// The name that it sells under.
    pub name: String,
    /// What it wants to sell, in its own words.
    pub reason: String,
    /// Whether the operator has accepted it.
    pub state: ApplicationState,
    /// When it applied.
    pub applied_at: Timestamp,
    /// When the operator decided.
    pub decided_at: Option<Timestamp>,
    /// What the operator said with the decision.
    pub answer: String,
}

/// How far an image has come that a provider wants to sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListingState {
    /// It waits for the operator's review.
    Submitted,
    /// It is sold.
    Published,
    /// It was sent back with reasons.
    Returned,
    /// It is not sold any more, or was taken back before it was.
    Withdrawn,
    /// A later listing of the same image has taken its place.
    Replaced,
}

/// What can happen to a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all")]
pub enum ListingEvent {
    Published,
    Returned,
    /// The image for everybody could not be made.
    Failed,
    Withdrawn,
    Replaced,
}

impl ListingState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: ListingEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Submitted, ListingEvent::Published) => Ok(Self::Published),
            (Self::Submitted, ListingEvent::Returned) | (Self::Published, ListingEvent::Failed) => {
                Ok(Self::Returned)
            }
            (Self::Submitted | Self::Published, ListingEvent::Withdrawn) => Ok(Self::Withdrawn),
            (Self::Published, ListingEvent::Replaced) => Ok(Self::Replaced),
            (Self::Submitted, ListingEvent::Failed | ListingEvent::Replaced)
            | (Self::Published, ListingEvent::Published | ListingEvent::Returned)
            | (Self::Returned | Self::Withdrawn | Self::Replaced, _) => {
                Err(IllegalTransition::new(self, event))
            }
        }
    }
}

/// An image that a provider sells, or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its identifier, never used again.
    pub id: ListingId,
    /// Who sells it.
    pub provider: Uin,
    /// Where.
    pub region: RegionId,
    /// What was submitted: a custom image of the provider's, or an image that is sold already.
    pub image: ImageId,
    /// The image for everybody, once there is one.
    pub market_image: Option<ImageId>,
    /// What that one is called.
    pub name: String,
    /// What the provider says about it.
    pub description: String,
    /// What it adds to the price of an instance.
    pub price: Price,
    /// How far it has come.
    pub state: ListingState,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When the operator decided.
    pub decided_at: Option<Timestamp>,
    /// What the operator said with the decision: the reasons, where it was sent back.
    pub answer: String,
}

#[cfg(test)]
mod tests {
    use super::{ListingEvent as E, ListingState as S};

    #[test]
    fn what_is_decided_is_not_decided_again() {
        assert_eq!(S::Submitted.transition(E::Published), Ok(S::Published));
        assert_eq!(S::Submitted.transition(E::Returned), Ok(S::Returned));
        assert_eq!(S::Published.transition(E::Failed), Ok(S::Returned));
        for state in [S::Published, S::Returned, S::Withdrawn, S::Replaced] {
            assert!(state.transition(E::Published).is_err() && state.transition(E::Returned).is_err());
        }
        for state in [S::Returned, S::Withdrawn, S::Replaced] {
            assert!(state.transition(E::Withdrawn).is_err() && state.transition(E::Replaced).is_err());
        }
    }
}
