//! Telling people: what is said of each event, and sending it.
//!
//! A message is kept in the transaction of what it tells of, so that none is told that did not happen, and none is lost.
//! It is sent in the background, again and again for about a day where that fails. A crash between the sending and the
//! record of it sends twice. Where no way is configured, or an owner wants none, messages are only kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kiln_catalog::{DueDelivery, NewMessage, Tx};
use kiln_model::{
    Channel, DeliveryEvent, DeliveryState, Failure, Image, Listing, ListingState, MessageEvent, Timestamp,
    Uin,
};
use kiln_notify::{EmailSender, Error, SmsSender};

use crate::{NotificationConfig, Service};

/// How often is looked for what is to be sent, where nothing rings.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many messages are read at once; those to different addresses are sent beside each other.
const BATCH: u64 = 20;
/// How long is waited after each attempt that failed, in seconds; after the last, the message is given up.
const RETRY_SECONDS: [i64; 8] = [10, 60, 300, 1800, 7200, 14_400, 28_800, 43_200];
/// How much of the other side's answer is kept.
const MAX_ERROR_CHARS: usize = 300;

/// The ways that are configured.
#[derive(Default)]
pub(crate) struct Senders {
    email: Option<EmailSender>,
    sms: Option<SmsSender>,
}

impl Senders {
    pub(crate) fn new(config: &NotificationConfig) -> Result<Self, Error> {
        Ok(Self {
            email: config.email.as_ref().map(EmailSender::new).transpose()?,
            sms: config.sms.as_ref().map(SmsSender::new).transpose()?,
        })
    }

    fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email.is_some(),
            Channel::Sms => self.sms.is_some(),
        }
    }

    async fn send(&self, due: &DueDelivery) -> Result<(), Error> {
        let Some(address) = due.contact.address(due.channel) else {
            return Err(Error::Refused(
                "the account has turned it off since, or removed the address".to_owned(),
            ));
        };
        let unconfigured = || Error::Temporary("the server is not configured to send these".to_owned());
        match due.channel {
            Channel::Email => {
                let sender = self.email.as_ref().ok_or_else(unconfigured)?;
                sender.send(address, &due.title, &due.text).await
            }
            // A short message has room for a line.
            Channel::Sms => self.sms.as_ref().ok_or_else(unconfigured)?.send(address, &due.title).await,
        }
    }
}

/// Something that an account's owner is told.
pub(crate) struct Notice {
    event: MessageEvent,
    subject: String,
    title: String,
    text: String,
}

impl Notice {
    /// An import has ended.
    pub(crate) fn import_ended(image: &Image, failure: Option<&Failure>) -> Self {
        let (id, name, region) = (&image.id, &image.name, &image.region);
        let (event, title, text) = match failure {
            None => (
                MessageEvent::ImportSucceeded,
                format!("Image {id} was imported"),
                format!(
                    "Your image {name:?} ({id}) in {region} was imported. Instances can be launched from it."
                ),
            ),
            Some(failure) => (
                MessageEvent::ImportFailed,
                format!("The import of image {id} failed"),
                format!(
                    "Your image {name:?} ({id}) in {region} was not imported.\n\n{}: {}",
                    failure.code, failure.message
                ),
            ),
        };
        Self { event, subject: id.to_string(), title, text }
    }

    /// An image can be launched from by another account, or no longer.
    pub(crate) fn share(image: &Image, shared: bool) -> Self {
        let Image { id, name, owner, region, .. } = image;
        let (event, title, text) = if shared {
            (
                MessageEvent::ImageShared,
                format!("Image {id} is shared with you"),
                format!(
                    "Account {owner} shares the image {name:?} ({id}) in {region} with you. It comes from another user \
                     and was not reviewed: look at its report before you launch from it (kiln image report {id})."
                ),
            )
        } else {
            (
                MessageEvent::ShareCancelled,
                format!("Image {id} is no longer shared with you"),
                format!(
                    "Account {owner} no longer shares the image {name:?} ({id}) in {region} with you. Instances that \
                     were launched from it go on; no new ones can be launched."
                ),
            )
        };
        Self { event, subject: id.to_string(), title, text }
    }

    /// An account applies for the permission to import; the operator is told.
    pub(crate) fn application(applicant: Uin, reason: &str) -> Self {
        Self {
            event: MessageEvent::ImportPermissionRequested,
            subject: applicant.to_string(),
            title: format!("Account {applicant} applies for importing images"),
            text: format!(
                "Account {applicant} applies for the permission to import images:\n\n{reason}\n\n\
                 Decide with: kiln account allow-import {applicant} [--revoke] [--answer TEXT]"
            ),
        }
    }

    /// The operator has decided about the permission to import.
    pub(crate) fn decision(applicant: Uin, allowed: bool, answer: &str) -> Self {
        let (event, title) = if allowed {
            (MessageEvent::ImportPermissionGranted, "You may import images now")
        } else {
            (MessageEvent::ImportPermissionRefused, "You may not import images")
        };
        Self {
            event,
            subject: applicant.to_string(),
            title: title.to_owned(),
            text: format!("The operator has decided about account {applicant}. {title}.{}", said(answer)),
        }
    }

    /// An account applies for selling images; the operator is told.
    pub(crate) fn provider_application(applicant: Uin, name: &str, reason: &str) -> Self {
        Self {
            event: MessageEvent::ProviderRequested,
            subject: applicant.to_string(),
            title: format!("Account {applicant} applies for selling images"),
            text: format!(
                "Account {applicant} applies for selling images, as {name}:\n\n{reason}\n\n\
                 Decide with: kiln market accept {applicant} [--refuse] [--answer TEXT]"
            ),
        }
    }

    /// The operator has decided about a provider.
    pub(crate) fn provider_decision(applicant: Uin, accepted: bool, answer: &str) -> Self {
        let (event, title) = if accepted {
            (MessageEvent::ProviderAccepted, "You may sell images now")
        } else {
            (MessageEvent::ProviderRefused, "You may not sell images")
        };
        Self {
            event,
            subject: applicant.to_string(),
            title: title.to_owned(),
            text: format!("The operator has decided about account {applicant}. {title}.{}", said(answer)),
        }
    }

    /// An image waits for the operator's review.
    pub(crate) fn listing_submitted(listing: &Listing) -> Self {
        let Listing { id, provider, image, name, region, price, .. } = listing;
        Self {
            event: MessageEvent::ListingSubmitted,
            subject: id.to_string(),
            title: format!("Image {image} waits for its review"),
            text: format!(
                "Account {provider} wants to sell the image {name:?} ({image}) in {region} at {} an hour and {} a month. \
                 You see it until it is decided: kiln image report {image}, kiln instance run {image}.\n\n\
                 Decide with: kiln market publish {id}, or kiln market return {id} --reasons TEXT",
                price.per_hour, price.per_month
            ),
        }
    }

    /// The operator, or what became of the decision, has changed how a listing stands; its provider is told.
    pub(crate) fn listing_decided(listing: &Listing) -> Self {
        let Listing { id, name, answer, .. } = listing;
        let (event, title) = match listing.state {
            ListingState::Published => {
                (MessageEvent::ListingPublished, format!("Your image {name:?} is sold now"))
            }
            ListingState::Withdrawn => {
                (MessageEvent::ListingWithdrawn, format!("Your image {name:?} is not sold any more"))
            }
            ListingState::Returned | ListingState::Submitted | ListingState::Replaced => {
                (MessageEvent::ListingReturned, format!("Your image {name:?} was sent back"))
            }
        };
        Self {
            event,
            subject: id.to_string(),
            text: format!("{title} (listing {id}).{}", said(answer)),
            title,
        }
    }
}

/// What the operator says with a decision, where anything.
fn said(answer: &str) -> String {
    if answer.is_empty() { String::new() } else { format!("\n\nThe operator says: {answer}") }
}

/// Keeps a notice for an account, in the transaction of what it tells of, for the ways that there are to its owner.
pub(crate) async fn tell(
    service: &Service,
    tx: &mut Tx,
    account: Uin,
    notice: Notice,
) -> kiln_catalog::Result<()> {
    let Some(found) = tx.account(account).await? else { return Ok(()) };
    let reached =
        |channel: &Channel| service.senders.has(*channel) && found.contact.address(*channel).is_some();
    let channels = [Channel::Email, Channel::Sms].into_iter().filter(reached).collect();
    let Notice { event, subject, title, text } = notice;
    let message = NewMessage { account, event, subject, title, text, at: Timestamp::now(), channels };
    tx.insert_message(&message).await
}

/// Sends in the background until the service stops.
pub(crate) fn spawn(service: &Arc<Service>) {
    let service = Arc::clone(service);
    service.background.clone().spawn(async move {
        loop {
            tokio::select! {
                () = service.shutdown.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if let Err(error) = send_due(&service).await {
                tracing::error!(%error, "messages could not be read or recorded");
            }
        }
    });
}

async fn send_due(service: &Service) -> kiln_catalog::Result<()> {
    let due = service.catalog.read().await?.due_deliveries(Timestamp::now(), BATCH).await?;
    if due.is_empty() {
        return Ok(());
    }
    let mut by_address: HashMap<_, Vec<_>> = HashMap::new();
    for due in &due {
        by_address.entry((due.channel, due.contact.address(due.channel))).or_default().push(due);
    }
    let sent = join_all(by_address.into_values().map(|due| send_in_order(service, due))).await;
    let mut tx = service.catalog.write().await?;
    for (due, outcome) in sent.into_iter().flatten() {
        record(&mut tx, due, outcome).await?;
    }
    tx.commit().await
}

/// Sends messages to one address one after the other, so that nobody is told of a share's end before the share. Each is
/// tried, whatever became of those before it.
async fn send_in_order<'a>(
    service: &Service,
    due: Vec<&'a DueDelivery>,
) -> Vec<(&'a DueDelivery, Result<(), Error>)> {
    let mut sent = Vec::with_capacity(due.len());
    for due in due {
        // What was not tried stays due, for whoever sends after this process.
        if service.shutdown.is_cancelled() {
            break;
        }
        sent.push((due, service.senders.send(due).await));
    }
    sent
}

async fn record(tx: &mut Tx, due: &DueDelivery, outcome: Result<(), Error>) -> kiln_catalog::Result<()> {
    let retry_seconds = usize::try_from(due.attempts).ok().and_then(|attempts| RETRY_SECONDS.get(attempts));
    let event = match (&outcome, retry_seconds) {
        (Ok(()), _) => DeliveryEvent::Taken,
        (Err(Error::Temporary(_)), Some(_)) => DeliveryEvent::Failed,
        (Err(_), _) => DeliveryEvent::Abandoned,
    };
    let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    if !error.is_empty() {
        tracing::warn!(message = due.message, channel = ?due.channel, ?event, %error, "a message was not sent");
    }
    let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
    let state = DeliveryState::Pending.transition(event).unwrap_or(DeliveryState::GivenUp);
    let due_at = Timestamp::now().plus_millis(retry_seconds.copied().unwrap_or(0) * 1000);
    tx.record_delivery(due, state, &error, due_at).await
}
