//! The operation log, client tokens and messages.

use kiln_catalog::{
    Catalog, ClientTokenUse, Error, NewMessage, OperationEntry, OperationOutcome, OperationQuery, Unique,
};
use kiln_model::{Channel, Contact, DeliveryState, MessageEvent, SecretId, Uin};
use serde_json::json;

use crate::sample::{ALICE, BOB, CAROL, at, beijing, guangzhou, insert_accounts};

crate::on_every_database!(
    an_operation_is_told_once_how_it_ended,
    operations_are_kept_newest_first,
    a_client_token_is_used_once,
    messages_wait_until_they_are_sent,
);

fn entry(account: Uin, action: &str, millis: i64) -> OperationEntry {
    OperationEntry {
        at: at(millis),
        account,
        sub_account: (millis > 1 && account == BOB).then_some(CAROL),
        secret_id: (millis > 1).then(SecretId::random),
        action: action.to_owned(),
        subject: "img-00000001".to_owned(),
        region: (millis > 1).then(guangzhou),
        request_id: format!("request {millis}"),
        code: String::new(),
        message: String::new(),
    }
}

async fn an_operation_is_told_once_how_it_ended(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    let begun =
        OperationEntry { code: OperationEntry::UNFINISHED.to_owned(), ..entry(ALICE, "CreateImage", 1) };
    let number = tx.append_operation(&begun).await.expect("runs");
    let outcomes =
        [(OperationOutcome::Unfinished, 1), (OperationOutcome::Refused, 0), (OperationOutcome::Succeeded, 0)];
    for (outcome, expected) in outcomes {
        let query = OperationQuery { outcome: Some(outcome), ..OperationQuery::default() };
        assert_eq!(tx.operations(&query).await.expect("readable").1, expected, "{outcome:?}");
    }
    tx.end_operation(number, "", "done").await.expect("runs");
    let (entries, _) = tx.operations(&OperationQuery::default()).await.expect("readable");
    assert_eq!((entries[0].outcome(), entries[0].message.as_str()), (OperationOutcome::Succeeded, "done"));
    assert!(matches!(tx.end_operation(number, "Again", "").await, Err(Error::Stale(_))));
}

async fn operations_are_kept_newest_first(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    let mut entries =
        vec![entry(ALICE, "CreateImage", 1), entry(BOB, "CreateImage", 2), entry(ALICE, "DeleteImages", 2)];
    entries[2].subject.push_str(" img-00000002");
    entries[2].code = "InvalidImageId.InShared".to_owned();
    for entry in &entries {
        tx.append_operation(entry).await.expect("runs");
    }
    entries.reverse();
    let all = OperationQuery::default();
    assert_eq!(tx.operations(&all).await.expect("readable"), (entries, 3));
    let cases = [
        (OperationQuery { account: Some(ALICE), ..all.clone() }, 2),
        (OperationQuery { action: Some("CreateImage".to_owned()), ..all.clone() }, 2),
        (OperationQuery { region: Some(beijing()), ..all.clone() }, 0),
        (OperationQuery { subject: Some("img-00000001".to_owned()), ..all.clone() }, 3),
        (OperationQuery { subject: Some("img-0000000".to_owned()), ..all.clone() }, 0),
        (OperationQuery { subject: Some("img-00000002".to_owned()), ..all.clone() }, 1),
        (OperationQuery { actor: Some(CAROL), ..all.clone() }, 1),
        (OperationQuery { actor: Some(BOB), ..all.clone() }, 0),
        (OperationQuery { actor: Some(ALICE), ..all.clone() }, 2),
        (OperationQuery { outcome: Some(OperationOutcome::Succeeded), ..all.clone() }, 2),
        (OperationQuery { outcome: Some(OperationOutcome::Refused), ..all.clone() }, 1),
        (OperationQuery { outcome: Some(OperationOutcome::Unfinished), ..all.clone() }, 0),
        (OperationQuery { from: Some(at(2)), ..all.clone() }, 2),
        (OperationQuery { until: Some(at(2)), ..all.clone() }, 1),
    ];
    for (query, expected) in cases {
        assert_eq!(tx.operations(&query).await.expect("readable").1, expected, "{query:?}");
    }
    let page = OperationQuery { offset: 2, limit: 5, ..all };
    assert_eq!(tx.operations(&page).await.expect("readable").0.len(), 1);
}

async fn a_client_token_is_used_once(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let first =
        ClientTokenUse { request_digest: "abc".to_owned(), answer: json!(["ins-00000001"]), at: at(1) };
    tx.insert_client_token(ALICE, "RunInstances", "t", &first).await.expect("new");
    let again = tx.insert_client_token(ALICE, "RunInstances", "t", &first).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::ClientToken))), "{again:?}");
    tx.insert_client_token(BOB, "RunInstances", "t", &first).await.expect("another account's");
    let found = tx.client_token(ALICE, "RunInstances", "t").await.expect("readable");
    assert_eq!(found, Some(first));
    assert_eq!(tx.client_token(ALICE, "CreateImage", "t").await.expect("readable"), None);
    assert_eq!(tx.forget_client_tokens(at(1)).await.expect("runs"), 0);
    assert_eq!(tx.forget_client_tokens(at(2)).await.expect("runs"), 2);
}

async fn messages_wait_until_they_are_sent(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let contact = Contact { email: Some("b@example.org".parse().expect("an address")), ..Contact::default() };
    tx.set_contact(BOB, &contact).await.expect("he exists");
    let message = |account, channels: &[Channel]| NewMessage {
        account,
        event: MessageEvent::ImageShared,
        subject: "img-00000001".to_owned(),
        title: "an image".to_owned(),
        text: "an image is shared with you".to_owned(),
        at: at(1),
        channels: channels.to_vec(),
    };
    tx.insert_message(&message(ALICE, &[])).await.expect("she exists");
    tx.insert_message(&message(BOB, &[Channel::Email, Channel::Sms])).await.expect("he exists");
    let (kept, total) = tx.messages(ALICE, 0, 10).await.expect("readable");
    assert_eq!((kept[0].deliveries.len(), total), (0, 1));

    assert!(tx.due_deliveries(at(0), 10).await.expect("readable").is_empty());
    let due = tx.due_deliveries(at(1), 10).await.expect("readable");
    assert_eq!(due.len(), 2);
    assert_eq!(due[0].contact, contact);
    let (email, sms) = (&due[0], &due[1]);
    tx.record_delivery(email, DeliveryState::Sent, "", at(2)).await.expect("it was pending");
    tx.record_delivery(sms, DeliveryState::Pending, "busy", at(9)).await.expect("it was pending");
    let again = tx.record_delivery(email, DeliveryState::Sent, "", at(2)).await;
    assert!(matches!(again, Err(Error::Stale(_))), "{again:?}");
    assert!(tx.due_deliveries(at(8), 10).await.expect("readable").is_empty());
    let due = tx.due_deliveries(at(9), 10).await.expect("readable");
    assert_eq!((due.len(), due[0].channel, due[0].attempts), (1, Channel::Sms, 1));
    let (kept, _) = tx.messages(BOB, 0, 10).await.expect("readable");
    let states: Vec<_> = kept[0].deliveries.iter().map(|d| (d.channel, d.state, d.error.as_str())).collect();
    let expected =
        [(Channel::Email, DeliveryState::Sent, ""), (Channel::Sms, DeliveryState::Pending, "busy")];
    assert_eq!(states, expected);
}
