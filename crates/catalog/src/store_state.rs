//! The life of what a region's store holds, packs and manifests alike.
//!
//! ```text
//! Pending ──completed──► Live ──condemned──► Condemned ──► (object deleted, row forgotten)
//!    └──────condemned──────────────────────────▲
//! ```
//!
//! Nothing leads back: a condemned pack is never relied on again, so that it stays safe to delete.

use kiln_model::IllegalTransition;

/// Where a pack or a manifest is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreState {
    /// Its key is taken; its object may exist, in part or whole.
    Pending,
    /// Its object is whole and durable, and may be relied on.
    Live,
    /// Nothing refers to it any more, nor will; its object is deleted after a while.
    Condemned,
}

/// What can happen to a pack or a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreEvent {
    /// Its object is whole and durable.
    Completed,
    /// It was found without a reference for long enough.
    Condemned,
}

impl StoreState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] where the event cannot happen in this state.
    pub fn transition(self, event: StoreEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Pending, StoreEvent::Completed) => Ok(Self::Live),
            (Self::Pending | Self::Live, StoreEvent::Condemned) => Ok(Self::Condemned),
            (Self::Live | Self::Condemned, StoreEvent::Completed)
            | (Self::Condemned, StoreEvent::Condemned) => {
                Err(IllegalTransition { state: format!("{self:?}"), event: format!("{event:?}") })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back_from_being_condemned() {
        let condemned = StoreState::Live.transition(StoreEvent::Condemned).expect("a step of its life");
        for event in [StoreEvent::Completed, StoreEvent::Condemned] {
            assert!(condemned.transition(event).is_err());
        }
    }
}
