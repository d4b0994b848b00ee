//! What an account's owner was told.

use kiln_model::{Channel, Delivery, DeliveryState, Message, MessageEvent};
use kiln_service::Answer;
use serde_json::{Value, json};

use super::members;
use crate::actions::Rendering;
use crate::envelope::Object;
use crate::error::Error;

/// A page of messages.
pub(crate) fn list(rendering: Rendering<'_>) -> Result<Object, Error> {
    let Answer::Messages(page) = rendering.answer else { return Err(Error::UnexpectedAnswer) };
    let messages: Vec<Value> = page.messages.iter().map(message).collect();
    members(json!({"TotalCount": page.total, "MessageSet": messages}))
}

fn message(message: &Message) -> Value {
    json!({
        "MessageNumber": message.number,
        "Event": match message.event {
            MessageEvent::ImportSucceeded => "IMPORT_SUCCEEDED",
            MessageEvent::ImportFailed => "IMPORT_FAILED",
            MessageEvent::ImageShared => "IMAGE_SHARED",
            MessageEvent::ShareCancelled => "SHARE_CANCELLED",
            MessageEvent::ImportPermissionRequested => "IMPORT_PERMISSION_REQUESTED",
            MessageEvent::ImportPermissionGranted => "IMPORT_PERMISSION_GRANTED",
            MessageEvent::ImportPermissionRefused => "IMPORT_PERMISSION_REFUSED",
            MessageEvent::ProviderRequested => "PROVIDER_REQUESTED",
            MessageEvent::ProviderAccepted => "PROVIDER_ACCEPTED",
            MessageEvent::ProviderRefused => "PROVIDER_REFUSED",
            MessageEvent::ListingSubmitted => "LISTING_SUBMITTED",
            MessageEvent::ListingPublished => "LISTING_PUBLISHED",
            MessageEvent::ListingReturned => "LISTING_RETURNED",
            MessageEvent::ListingWithdrawn => "LISTING_WITHDRAWN",
        },
        "Subject": message.subject,
        "Title": message.title,
        "Text": message.text,
        "CreatedTime": message.created_at.to_string(),
        "DeliverySet": message.deliveries.iter().map(delivery).collect::<Vec<_>>(),
    })
}

fn delivery(delivery: &Delivery) -> Value {
    json!({
        "Channel": match delivery.channel {
            Channel::Email => "EMAIL",
            Channel::Sms => "SMS",
        },
        "State": match delivery.state {
            DeliveryState::Pending => "PENDING",
            DeliveryState::Sent => "SENT",
            DeliveryState::GivenUp => "GIVEN_UP",
        },
        "Attempts": delivery.attempts,
        "ErrorMessage": delivery.error,
    })
}
