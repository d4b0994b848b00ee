//! Usage records: one open at a time, cut at the ends of months, split where a price changes.

use kiln_catalog::{Catalog, Tx, UsageQuery};
use kiln_model::{ImageId, Money, Month, Price, Timestamp, UsageLine, UsageRecord};

use crate::sample::{ALICE, BOB, OPERATOR, at, guangzhou, insert_accounts, instance, normal_image};

crate::on_every_database!(
    an_instance_has_one_open_record,
    a_month_has_what_ran_in_it,
    a_new_price_holds_from_its_beginning,
    accounts_and_providers_have_their_own,
);

const HOUR: i64 = 60 * 60 * 1000;

/// A record of an instance that runs since then, from an image whose fee is the operator's.
async fn running(tx: &mut Tx, ordinal: u32, since: Timestamp) -> UsageRecord {
    let image = normal_image(tx, &format!("image {ordinal}"), u64::from(ordinal)).await;
    let row = instance(&image, ordinal);
    tx.insert_instance(&row).await.expect("new");
    let record = UsageRecord {
        instance: row.id,
        owner: ALICE,
        region: guangzhou(),
        instance_type: row.instance_type.name,
        image: image.id.clone(),
        fee_image: image.id,
        provider: OPERATOR,
        machine_per_hour: Money(1_000),
        image_per_hour: Money(200),
        started_at: since,
        ended_at: None,
    };
    tx.begin_usage(&record).await.expect("what it names exists");
    record
}

fn asked(month: Month, now: Timestamp) -> UsageQuery {
    UsageQuery { month, owner: None, provider: None, now }
}

async fn lines(tx: &mut Tx, query: &UsageQuery) -> Vec<UsageLine> {
    tx.usage(query).await.expect("readable")
}

async fn an_instance_has_one_open_record(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let record = running(&mut tx, 1, at(0)).await;
    let again = UsageRecord { started_at: at(HOUR), ..record.clone() };
    tx.begin_usage(&again).await.expect("passed over");
    let query = asked(Month::of(at(0)), at(3 * HOUR));
    let found = lines(&mut tx, &query).await;
    assert_eq!(found.iter().map(|line| line.millis).collect::<Vec<_>>(), [3 * HOUR as u64]);
    for millis in [HOUR, 2 * HOUR] {
        tx.end_usage(&record.instance, at(millis)).await.expect("runs");
    }
    assert_eq!(lines(&mut tx, &query).await[0].millis, HOUR as u64);
    tx.begin_usage(&UsageRecord { started_at: at(2 * HOUR), ..record }).await.expect("the other is closed");
    assert_eq!(lines(&mut tx, &query).await[0].millis, 2 * HOUR as u64);
}

async fn a_month_has_what_ran_in_it(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let month = Month::of(at(0));
    let before = Timestamp(month.start().0 - HOUR);
    let whole = running(&mut tx, 1, before).await;
    let tail = running(&mut tx, 2, Timestamp(month.end().0 - HOUR)).await;
    let gone = running(&mut tx, 3, before).await;
    tx.end_usage(&gone.instance, month.start()).await.expect("runs");
    let now = Timestamp(month.end().0 + 5 * HOUR);
    tx.end_usage(&whole.instance, now).await.expect("runs");
    let mut millis = async |month| {
        let found = lines(&mut tx, &asked(month, now)).await;
        found.into_iter().map(|line| (line.instance, line.millis as i64)).collect::<Vec<_>>()
    };
    let mut found = millis(month).await;
    found.sort_by_key(|(_, millis)| *millis);
    let length = month.end().0 - month.start().0;
    assert_eq!(found, [(tail.instance.clone(), HOUR), (whole.instance.clone(), length)]);
    assert_eq!(millis(Month::of(before)).await.iter().map(|(_, millis)| *millis).sum::<i64>(), 2 * HOUR);
    assert_eq!(millis(Month::of(now)).await.iter().map(|(_, millis)| *millis).sum::<i64>(), 10 * HOUR);
    let later = Month::of(Timestamp(now.0 + 60 * 24 * HOUR));
    assert_eq!(millis(later).await, [], "what has not come yet was not used");
}

async fn a_new_price_holds_from_its_beginning(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let record = running(&mut tx, 1, at(0)).await;
    let other = running(&mut tx, 2, at(0)).await;
    let fee = Price { per_hour: Money(300), per_month: Money(0) };
    for millis in [HOUR, 2 * HOUR] {
        tx.reprice_usage(&record.fee_image, fee, at(millis)).await.expect("runs");
    }
    tx.reprice_usage(&ImageId::random(), fee, at(HOUR)).await.expect("nothing runs at it");
    let found = lines(&mut tx, &asked(Month::of(at(0)), at(4 * HOUR))).await;
    let mut found: Vec<_> = found
        .iter()
        .map(|line| (line.instance == other.instance, line.image_per_hour.0, line.millis as i64 / HOUR))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(false, 200, 1), (false, 300, 3), (true, 200, 4)]);
}

async fn accounts_and_providers_have_their_own(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    running(&mut tx, 1, at(0)).await;
    let mut count = async |owner, provider| {
        let query = UsageQuery { owner, provider, ..asked(Month::of(at(0)), at(HOUR)) };
        lines(&mut tx, &query).await.len()
    };
    assert_eq!((count(Some(ALICE), None).await, count(Some(BOB), None).await), (1, 0));
    assert_eq!((count(None, Some(OPERATOR)).await, count(None, Some(ALICE)).await), (1, 0));
}
