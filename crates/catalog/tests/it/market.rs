//! Providers and listings, and what images carry with them: fees, and what their guests get.

use kiln_catalog::{Catalog, Error, ListingQuery, Tx};
use kiln_model::{
    ApplicationState, Components, Image, ImageId, ImageKind, Listing, ListingEvent, ListingId, ListingState,
    Money, Price, Provider,
};

use crate::sample::{
    ALICE, BOB, OPERATOR, at, beijing, disk, facts, guangzhou, image, insert_accounts, live_manifest,
    normal_image, running_task,
};

crate::on_every_database!(
    an_application_takes_the_place_of_the_one_before,
    an_image_waits_under_one_listing,
    a_decision_is_recorded_with_its_state,
    others_see_what_is_published,
    fees_and_components_are_found_through_what_an_image_was_made_from,
    a_new_version_has_the_components_of_its_familys_newest,
);

fn listing(image: &Image, millis: i64) -> Listing {
    Listing {
        id: ListingId::random(),
        provider: ALICE,
        region: guangzhou(),
        image: image.id.clone(),
        market_image: None,
        name: format!("listing {millis}"),
        description: "What it is for.".to_owned(),
        price: Price { per_hour: Money(200), per_month: Money(90_000) },
        state: ListingState::Submitted,
        submitted_at: at(millis),
        decided_at: None,
        answer: String::new(),
    }
}

async fn an_application_takes_the_place_of_the_one_before(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let first = Provider {
        account: ALICE,
        name: "Alice's images".to_owned(),
        reason: "I make them.".to_owned(),
        state: ApplicationState::Pending,
        applied_at: at(1),
        decided_at: None,
        answer: String::new(),
    };
    tx.put_provider(&first).await.expect("the account exists");
    let decided = Provider {
        state: ApplicationState::Granted,
        decided_at: Some(at(5)),
        answer: "Welcome.".to_owned(),
        ..first.clone()
    };
    tx.put_provider(&decided).await.expect("the account exists");
    let second = Provider { account: BOB, applied_at: at(2), ..first };
    tx.put_provider(&second).await.expect("the account exists");
    assert_eq!(tx.provider(ALICE).await.expect("readable").as_ref(), Some(&decided));
    assert_eq!(tx.provider(OPERATOR).await.expect("readable"), None);
    let found = tx.providers(None, None).await.expect("readable");
    assert_eq!(found, [decided.clone(), second.clone()], "in the order in which they applied");
    let pending = tx.providers(None, Some(ApplicationState::Pending)).await.expect("readable");
    assert_eq!(pending, [second]);
    assert_eq!(tx.providers(Some(ALICE), None).await.expect("readable"), [decided]);
}

async fn an_image_waits_under_one_listing(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let first = listing(&image, 1);
    tx.insert_listing(&first).await.expect("the first one");
    assert_eq!(tx.listing(&first.id).await.expect("readable").as_ref(), Some(&first));
    assert_eq!(tx.submitted_listing(&image.id).await.expect("readable").as_ref(), Some(&first));
    assert!(matches!(tx.insert_listing(&listing(&image, 2)).await, Err(Error::Conflict(_))));
    let unknown = Listing { image: ImageId::random(), ..listing(&image, 3) };
    assert!(matches!(tx.insert_listing(&unknown).await, Err(Error::Missing)));
    tx.transition_listing(&first, ListingEvent::Returned, at(4)).await.expect("it waits");
    assert_eq!(tx.submitted_listing(&image.id).await.expect("readable"), None);
    tx.insert_listing(&listing(&image, 5)).await.expect("no other waits");
}

async fn a_decision_is_recorded_with_its_state(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let (image, sold) = (normal_image(&mut tx, "a", 1).await, normal_image(&mut tx, "sold", 2).await);
    let submitted = listing(&image, 1);
    tx.insert_listing(&submitted).await.expect("new");
    let decided = Listing {
        market_image: Some(sold.id.clone()),
        price: Price { per_hour: Money(300), per_month: Money(100_000) },
        answer: "At a higher price.".to_owned(),
        ..submitted
    };
    let state = tx.transition_listing(&decided, ListingEvent::Published, at(7)).await.expect("it waits");
    let expected = Listing { state, decided_at: Some(at(7)), ..decided };
    assert_eq!(state, ListingState::Published);
    assert_eq!(tx.published_listing(&sold.id).await.expect("readable").as_ref(), Some(&expected));
    let again = tx.transition_listing(&expected, ListingEvent::Published, at(8)).await;
    assert!(matches!(again, Err(Error::Illegal(_))), "{again:?}");
    assert_eq!(
        tx.listing(&expected.id).await.expect("readable"),
        Some(expected.clone()),
        "nothing was changed"
    );
    tx.transition_listing(&expected, ListingEvent::Withdrawn, at(9)).await.expect("it is sold");
    assert_eq!(tx.published_listing(&sold.id).await.expect("readable"), None);
}

async fn others_see_what_is_published(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let mut listings = Vec::new();
    for number in 1..=3 {
        let image = normal_image(&mut tx, &format!("image {number}"), number).await;
        let one = listing(&image, number as i64);
        tx.insert_listing(&one).await.expect("new");
        listings.push(one);
    }
    tx.transition_listing(&listings[1], ListingEvent::Published, at(9)).await.expect("it waits");
    let all = ListingQuery {
        region: guangzhou(),
        viewer: None,
        ids: Vec::new(),
        state: None,
        offset: 0,
        limit: 20,
    };
    let queries = [
        (all.clone(), vec![2, 1, 0]),
        (ListingQuery { viewer: Some(ALICE), ..all.clone() }, vec![2, 1, 0]),
        (ListingQuery { viewer: Some(BOB), ..all.clone() }, vec![1]),
        (ListingQuery { state: Some(ListingState::Submitted), ..all.clone() }, vec![2, 0]),
        (ListingQuery { ids: vec![listings[0].id.clone()], ..all.clone() }, vec![0]),
        (ListingQuery { region: beijing(), ..all.clone() }, vec![]),
    ];
    for (query, expected) in queries {
        let (found, total) = tx.listings(&query).await.expect("readable");
        let expected: Vec<_> = expected.into_iter().map(|index: usize| &listings[index].id).collect();
        assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), expected, "{query:?}");
        assert_eq!(total, expected.len() as u64, "{query:?}");
    }
    let (page, total) = tx.listings(&ListingQuery { offset: 2, limit: 1, ..all }).await.expect("readable");
    assert_eq!((page.iter().map(|found| &found.id).collect::<Vec<_>>(), total), (vec![&listings[0].id], 3));
}

/// What a guest of an image costs and gets.
async fn carried(tx: &mut Tx, image: &Image) -> (i64, Components) {
    let fee = tx.image_fee(image).await.expect("readable");
    (fee.per_hour.0 as i64, tx.image_components(image).await.expect("readable"))
}

async fn fees_and_components_are_found_through_what_an_image_was_made_from(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let source = Image { kind: ImageKind::Public, ..normal_image(&mut tx, "source", 1).await };
    let made = Image { fee_of: Some(source.id.clone()), ..normal_image(&mut tx, "made", 2).await };
    let nothing = (0, Components::default());
    assert_eq!(carried(&mut tx, &made).await, nothing);

    let components =
        Components { packages: vec!["fail2ban".to_owned()], script: Some("#!/bin/sh".to_owned()) };
    tx.set_image_components(&source.id, &components).await.expect("the image exists");
    tx.set_image_fee(&source.id, Price { per_hour: Money(200), per_month: Money(0) })
        .await
        .expect("it exists");
    for image in [&source, &made] {
        assert_eq!(carried(&mut tx, image).await, (200, components.clone()));
        assert_eq!(tx.fee_of_descendants(image).await.expect("readable"), source.id);
    }

    let own = Components { packages: vec!["htop".to_owned()], script: None };
    tx.set_image_components(&made.id, &own).await.expect("the image exists");
    tx.set_image_fee(&made.id, Price { per_hour: Money(500), per_month: Money(0) }).await.expect("it exists");
    assert_eq!(carried(&mut tx, &made).await, (500, own));
    assert_eq!(tx.fee_of_descendants(&made).await.expect("readable"), made.id);

    tx.set_image_components(&made.id, &Components::default()).await.expect("the image exists");
    assert_eq!(carried(&mut tx, &made).await.1, components, "nothing of its own any more");
    let unknown = tx.set_image_components(&ImageId::random(), &components).await;
    assert!(matches!(unknown, Err(Error::Missing)), "{unknown:?}");
}

/// A public image that was made at that time.
async fn public(tx: &mut Tx, family: &str, millis: i64) -> Image {
    let image = Image {
        kind: ImageKind::Public,
        family: family.to_owned(),
        created_at: at(millis),
        ..image(ALICE, &guangzhou(), &format!("{family} {millis}"))
    };
    tx.insert_image(&image).await.expect("new");
    image
}

async fn a_new_version_has_the_components_of_its_familys_newest(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    let content = live_manifest(&mut tx, &task, &guangzhou(), 1, &[]).await;
    let named = |name: &str| Components { packages: vec![name.to_owned()], script: None };
    for (family, millis, package) in
        [("server", 1, "older"), ("server", 2, "newest"), ("desktop", 3, "another"), ("", 4, "none")]
    {
        let version = public(&mut tx, family, millis).await;
        tx.publish_image(&version.id, &facts(), 1 << 30, &[disk(&content)])
            .await
            .expect("it is being imported");
        tx.set_image_components(&version.id, &named(package)).await.expect("it exists");
    }
    // Newer ones, but of a kind or in a region of their own.
    let custom =
        Image { kind: ImageKind::Custom, family: "server".to_owned(), ..image(ALICE, &guangzhou(), "own") };
    let elsewhere =
        Image { kind: ImageKind::Public, family: "server".to_owned(), ..image(ALICE, &beijing(), "away") };
    let away = live_manifest(&mut tx, &task, &beijing(), 2, &[]).await;
    for (other, content) in [(custom, &content), (elsewhere, &away)] {
        tx.insert_image(&Image { created_at: at(6), ..other.clone() }).await.expect("new");
        tx.publish_image(&other.id, &facts(), 1 << 30, &[disk(content)]).await.expect("it is being imported");
        tx.set_image_components(&other.id, &named("other")).await.expect("it exists");
    }
    // One that is being made still is no version yet.
    let unfinished = public(&mut tx, "server", 5).await;
    tx.set_image_components(&unfinished.id, &named("unfinished")).await.expect("it exists");
    for (family, expected) in [("server", Some("newest")), ("unheard-of", None), ("", None)] {
        let new = public(&mut tx, family, 10).await;
        tx.carry_image_components(&new).await.expect("it exists");
        let found = tx.image_components(&new).await.expect("readable");
        assert_eq!(found, expected.map(named).unwrap_or_default(), "{family:?}");
    }
}
