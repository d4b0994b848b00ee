//! Tags, families, and fees of images.

use kiln_catalog::{Catalog, ImageQuery, TagCondition, Tx};
use kiln_model::{Image, ImageEvent, ImageKind, ImageOrigin, ImageState, Money, Price, Tag};

use crate::sample::{ALICE, BOB, CAROL, OPERATOR, at, beijing, guangzhou, image, insert_accounts};

crate::on_every_database!(
    tags_are_an_accounts_own_and_end_with_the_resource,
    conditions_on_tags_are_joined,
    a_family_gives_its_newest_image_that_is_not_deprecated,
    an_image_carries_the_fee_of_the_one_it_was_made_from,
    an_image_is_being_copied_while_a_copy_is_unfinished,
);

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

/// A ready image of Alice's with tags.
async fn tagged(tx: &mut Tx, name: &str, tags: &[Tag]) -> Image {
    let image = Image { state: ImageState::Normal, ..image(ALICE, &guangzhou(), name) };
    tx.insert_image(&image).await.expect("new");
    for tag in tags {
        tx.put_tag(ALICE, image.id.as_str(), tag).await.expect("runs");
    }
    image
}

async fn names(tx: &mut Tx, query: &ImageQuery) -> Vec<String> {
    let mut names: Vec<_> =
        tx.images(query).await.expect("readable").0.into_iter().map(|listed| listed.image.name).collect();
    names.sort();
    names
}

async fn tags_are_an_accounts_own_and_end_with_the_resource(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = tagged(&mut tx, "web", &[tag("env", "test"), tag("app", "web"), tag("env", "live")]).await;
    let id = image.id.as_str();
    tx.put_tag(BOB, id, &tag("mine", "no")).await.expect("runs");
    let tags = tx.tags_of(ALICE, [id].into_iter()).await.expect("readable");
    assert_eq!(tags[id], [tag("app", "web"), tag("env", "live")]);
    let (page, total) = tx.tags(ALICE, Some(id), Some("img-"), 1, 10).await.expect("readable");
    assert_eq!((page, total), (vec![(id.to_owned(), tag("env", "live"))], 2));
    assert_eq!(tx.tags(ALICE, None, Some("ins-"), 0, 10).await.expect("readable").1, 0);
    assert!(tx.delete_tag(ALICE, id, "app").await.expect("runs"));
    assert!(!tx.delete_tag(ALICE, id, "app").await.expect("runs"));
    tx.transition_image(&image.id, ImageEvent::Deleted, None, at(1)).await.expect("a ready image goes");
    for account in [ALICE, BOB] {
        assert_eq!(tx.tags(account, None, None, 0, 10).await.expect("readable").1, 0);
    }
}

async fn conditions_on_tags_are_joined(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    tagged(&mut tx, "a", &[tag("env", "test"), tag("app", "web")]).await;
    tagged(&mut tx, "b", &[tag("env", "live"), tag("app", "web")]).await;
    tagged(&mut tx, "c", &[tag("env", "test"), tag("app", "db")]).await;
    let condition = |keys: &[&str], values: &[&str]| TagCondition {
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let cases = [
        (vec![condition(&["env"], &["test"])], vec!["a", "c"]),
        (vec![condition(&["env"], &["test", "live"]), condition(&["app"], &["web"])], vec!["a", "b"]),
        (vec![condition(&[], &["db"])], vec!["c"]),
        (vec![condition(&["owner"], &[])], vec![]),
    ];
    for (tags, expected) in cases {
        let query = ImageQuery { tags, ..ImageQuery::all(ALICE, guangzhou()) };
        assert_eq!(names(&mut tx, &query).await, expected);
        let query = ImageQuery { viewer: BOB, ..query };
        assert!(names(&mut tx, &query).await.is_empty());
    }
}

async fn a_family_gives_its_newest_image_that_is_not_deprecated(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let insert = [
        (ALICE, ImageKind::Custom, "old", 1, false),
        (ALICE, ImageKind::Custom, "new", 2, false),
        (ALICE, ImageKind::Custom, "newest", 3, true),
        (OPERATOR, ImageKind::Public, "public", 4, false),
        (OPERATOR, ImageKind::Custom, "draft", 3, false),
        (BOB, ImageKind::Custom, "of Bob's", 5, false),
        (BOB, ImageKind::Market, "for sale", 6, false),
    ];
    for (owner, kind, name, millis, deprecated) in insert {
        let image = Image {
            kind,
            state: ImageState::Normal,
            family: "web".to_owned(),
            deprecated,
            created_at: at(millis),
            ..image(owner, &guangzhou(), name)
        };
        tx.insert_image(&image).await.expect("new");
    }
    let mut newest = async |viewer, region, family| {
        let found = tx.newest_of_family(viewer, &region, family).await.expect("readable");
        found.map(|listed| listed.image.name)
    };
    assert_eq!(newest(ALICE, guangzhou(), "web").await.as_deref(), Some("new"));
    assert_eq!(newest(OPERATOR, guangzhou(), "web").await.as_deref(), Some("draft"));
    assert_eq!(newest(CAROL, guangzhou(), "web").await.as_deref(), Some("public"));
    assert_eq!(newest(BOB, guangzhou(), "web").await.as_deref(), Some("of Bob's"));
    assert_eq!(newest(ALICE, beijing(), "web").await, None);
    assert_eq!(newest(ALICE, guangzhou(), "").await, None);
}

async fn an_image_carries_the_fee_of_the_one_it_was_made_from(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let base = tagged(&mut tx, "base", &[]).await;
    let of_base = tx.fee_of_descendants(&base).await.expect("readable");
    let made = Image { fee_of: Some(of_base), ..image(BOB, &guangzhou(), "made") };
    tx.insert_image(&made).await.expect("new");
    let of_made = tx.fee_of_descendants(&made).await.expect("readable");
    let again = Image { fee_of: Some(of_made), ..image(BOB, &beijing(), "again") };
    tx.insert_image(&again).await.expect("new");
    for image in [&made, &again] {
        assert_eq!(tx.image_fee(image).await.expect("readable"), Price::default());
    }
    let fee = Price { per_hour: Money(5), per_month: Money(3_000) };
    tx.set_image_fee(&base.id, Price::default()).await.expect("runs");
    tx.set_image_fee(&base.id, fee).await.expect("runs");
    for image in [&base, &made, &again] {
        let row = tx.image(&image.id).await.expect("readable").expect("exists");
        assert_eq!(tx.image_fee(&row).await.expect("readable"), fee);
    }
    // What has a fee of its own hands on that one.
    tx.set_image_fee(&made.id, Price { per_hour: Money(7), per_month: Money(0) }).await.expect("runs");
    assert_eq!(tx.fee_of_descendants(&made).await.expect("readable"), made.id);
}

async fn an_image_is_being_copied_while_a_copy_is_unfinished(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let source = tagged(&mut tx, "source", &[]).await;
    let copy = Image {
        state: ImageState::Syncing,
        origin: ImageOrigin::Copy { image: source.id.clone(), region: guangzhou() },
        ..image(ALICE, &beijing(), "copy")
    };
    tx.insert_image(&copy).await.expect("new");
    let query = |copied| ImageQuery { being_copied: Some(copied), ..ImageQuery::all(ALICE, guangzhou()) };
    assert_eq!(names(&mut tx, &query(true)).await, ["source"]);
    assert!(names(&mut tx, &query(false)).await.is_empty());
    let (listed, _) = tx.images(&ImageQuery::all(ALICE, guangzhou())).await.expect("readable");
    assert!(listed[0].being_copied);
    tx.transition_image(&copy.id, ImageEvent::Failed, None, at(1)).await.expect("it was being copied");
    assert_eq!(names(&mut tx, &query(false)).await, ["source"]);
}
