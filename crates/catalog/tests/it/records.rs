//! The operation log and client tokens.

use kiln_catalog::{Catalog, ClientTokenUse, Error, OperationEntry, OperationQuery, Unique};
use kiln_model::{SecretId, Uin};
use serde_json::json;

use crate::sample::{ALICE, BOB, CAROL, at, beijing, guangzhou, insert_accounts};

crate::on_every_database!(operations_are_kept_newest_first, a_client_token_is_used_once);

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
        (OperationQuery { succeeded: Some(true), ..all.clone() }, 2),
        (OperationQuery { succeeded: Some(false), ..all.clone() }, 1),
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
