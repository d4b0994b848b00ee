//! Messages: what an account's owner is told, and how far each has got on each way to him.

use crate::{Timestamp, Uin};

/// What happened that somebody is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub enum MessageEvent {
    ImportSucceeded,
    ImportFailed,
    ImageShared,
    ShareCancelled,
    ImportPermissionRequested,
    ImportPermissionGranted,
    ImportPermissionRefused,
    ProviderRequested,
    ProviderAccepted,
    ProviderRefused,
    ListingSubmitted,
    ListingPublished,
    ListingReturned,
    ListingWithdrawn,
}

/// A way to an account's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// E-mail.
    Email,
    /// A short message to a telephone.
    Sms,
}

/// How far a message has got on one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is to be sent, perhaps again.
    Pending,
    /// The other side has taken it.
    Sent,
    /// It will not be sent any more.
    GivenUp,
}

/// What an attempt to send came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// The other side took it.
    Taken,
    /// It may be taken later.
    Failed,
    /// It never will be, or was tried often enough.
    Abandoned,
}

impl DeliveryState {
    /// The state after an event; `None` where it cannot happen in this one.
    pub fn transition(self, event: DeliveryEvent) -> Option<Self> {
        match (self, event) {
            (Self::Pending, DeliveryEvent::Taken) => Some(Self::Sent),
            (Self::Pending, DeliveryEvent::Failed) => Some(Self::Pending),
            (Self::Pending, DeliveryEvent::Abandoned) => Some(Self::GivenUp),
            (Self::Sent | Self::GivenUp, _) => None,
        }
    }
}

/// A message on one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The way.
    pub channel: Channel,
    /// How far it has got.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt did not succeed; empty where it did, or there was none.
    pub error: String,
}

/// A message. It is kept whether or not there is a way to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number, which grows.
    pub number: u64,
    /// Whom it is for.
    pub account: Uin,
    /// What happened.
    pub event: MessageEvent,
    /// What it happened to: an identifier.
    pub subject: String,
    /// In a line.
    pub title: String,
    /// In full.
    pub text: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// The ways that it is or was sent by; none where it is only kept.
    pub deliveries: Vec<Delivery>,
}

#[cfg(test)]
mod tests {
    use super::{DeliveryEvent::*, DeliveryState as State};

    #[test]
    fn what_has_ended_is_not_sent_again() {
        assert_eq!(State::Pending.transition(Failed), Some(State::Pending));
        assert_eq!(State::Pending.transition(Taken), Some(State::Sent));
        assert_eq!(State::Pending.transition(Abandoned), Some(State::GivenUp));
        for event in [Taken, Failed, Abandoned] {
            assert_eq!(State::Sent.transition(event), None);
            assert_eq!(State::GivenUp.transition(event), None);
        }
    }
}
