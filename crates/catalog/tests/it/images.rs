//! Images: their life, who sees which, and in what order.

use kiln_catalog::{Catalog, Error, ImageQuery, ImageView, Tx, Unique};
use kiln_model::{
    Failure, Image, ImageEvent, ImageId, ImageKind, ImageOrigin, ImageShare, ImageState, InstanceId,
};

use crate::sample::{
    ALICE, BOB, OPERATOR, at, beijing, disk, facts, guangzhou, image, insert_accounts, live_manifest,
    manifest_key, normal_image, running_task,
};

crate::on_every_database!(
    images_read_back,
    publishing_needs_a_live_manifest_of_the_region,
    states_change_only_as_the_model_allows,
    names_are_unique_until_they_are_given_back,
    each_view_shows_its_images,
    unfinished_images_of_others_are_invisible,
    filters_narrow_and_pages_are_stable,
    exact_names_come_first,
    shares_come_and_go,
    operations_are_counted_by_day_and_region,
);

fn failure() -> Failure {
    Failure { code: "FailedOperation".to_owned(), message: "It ended.".to_owned() }
}

async fn images_read_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let mut made = image(ALICE, &guangzhou(), "made");
    made.origin = ImageOrigin::Instance(InstanceId::random());
    made.state = ImageState::Creating;
    let mut copied = image(ALICE, &beijing(), "copied");
    copied.origin = ImageOrigin::Copy { image: ImageId::random(), region: guangzhou() };
    copied.state = ImageState::CreateFailed;
    copied.failure = Some(failure());
    for image in [&made, &copied] {
        tx.insert_image(image).await.expect("new");
        assert_eq!(tx.image(&image.id).await.expect("readable").as_ref(), Some(image));
    }
    let again = tx.insert_image(&made).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    assert_eq!(tx.image(&ImageId::random()).await.expect("readable"), None);
}

async fn publishing_needs_a_live_manifest_of_the_region(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let task = running_task(&mut tx).await;
    live_manifest(&mut tx, &task, &beijing(), 1, &[]).await;
    let (here, pending, elsewhere) = (manifest_key(3), manifest_key(2), manifest_key(1));
    tx.register_manifest(&guangzhou(), &pending, &task.id, task.fence, at(0)).await.expect("a new key");
    live_manifest(&mut tx, &task, &guangzhou(), 3, &[]).await;
    for (wrong, name) in [(pending, "a"), (elsewhere, "b"), (manifest_key(9), "c")] {
        let image = image(ALICE, &guangzhou(), name);
        tx.insert_image(&image).await.expect("new");
        let published = tx.publish_image(&image.id, &facts(), 5, &[disk(&wrong)]).await;
        assert!(matches!(published, Err(Error::Stale(_))), "{published:?}");
    }
    let mut image = image(ALICE, &guangzhou(), "d");
    tx.insert_image(&image).await.expect("new");
    image.disks = vec![disk(&here), disk(&here)];
    image.facts.platform = "CentOS".to_owned();
    image.size_bytes = 5;
    tx.publish_image(&image.id, &image.facts, 5, &image.disks).await.expect("the manifest is live");
    image.state = ImageState::Normal;
    assert_eq!(tx.image(&image.id).await.expect("readable"), Some(image));
}

async fn states_change_only_as_the_model_allows(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = image(ALICE, &guangzhou(), "a");
    tx.insert_image(&image).await.expect("new");
    let deleted = tx.transition_image(&image.id, ImageEvent::Deleted, None, at(1)).await;
    assert!(matches!(deleted, Err(Error::Illegal(_))), "{deleted:?}");
    let failed = tx.transition_image(&image.id, ImageEvent::Failed, Some(&failure()), at(1)).await;
    assert_eq!(failed.expect("it is being imported"), ImageState::ImportFailed);
    let published = tx.publish_image(&image.id, &facts(), 1, &[]).await;
    assert!(matches!(published, Err(Error::Illegal(_))), "{published:?}");
    tx.transition_image(&image.id, ImageEvent::Deleted, None, at(2)).await.expect("a failed image goes");
    let row = tx.image(&image.id).await.expect("readable").expect("the row stays");
    assert_eq!((row.state, row.failure.clone()), (ImageState::Deleted, Some(failure())));
    assert!(matches!(tx.set_image_attributes(&row).await, Err(Error::Stale(_))));
    let unknown = tx.transition_image(&ImageId::random(), ImageEvent::Failed, None, at(1)).await;
    assert!(matches!(unknown, Err(Error::Stale(_))), "{unknown:?}");
}

async fn names_are_unique_until_they_are_given_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let first = image(ALICE, &guangzhou(), "web");
    tx.insert_image(&first).await.expect("new");
    let second = tx.insert_image(&image(ALICE, &guangzhou(), "web")).await;
    assert!(matches!(second, Err(Error::Conflict(Unique::ImageName))), "{second:?}");
    tx.insert_image(&image(ALICE, &beijing(), "web")).await.expect("another region");
    tx.insert_image(&image(BOB, &guangzhou(), "web")).await.expect("another owner");
    assert!(tx.custom_image_name_taken(ALICE, &guangzhou(), "web").await.expect("runs"));
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), 1);

    let other = image(ALICE, &guangzhou(), "db");
    tx.insert_image(&other).await.expect("new");
    let wanted = Image { name: "web".to_owned(), description: "x".to_owned(), ..other.clone() };
    let renamed = tx.set_image_attributes(&wanted).await;
    assert!(matches!(renamed, Err(Error::Conflict(Unique::ImageName))), "{renamed:?}");
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), 2);

    tx.transition_image(&first.id, ImageEvent::Failed, None, at(1)).await.expect("it was being imported");
    assert!(!tx.custom_image_name_taken(ALICE, &guangzhou(), "web").await.expect("runs"));
    assert_eq!(tx.count_images(ALICE, &guangzhou()).await.expect("runs"), 1);
    tx.set_image_attributes(&wanted).await.expect("the name is free");
    let row = tx.image(&other.id).await.expect("readable").expect("exists");
    assert_eq!((row.name.as_str(), row.description.as_str()), ("web", "x"));
}

/// One ready image per view: Alice's own, Bob's shared with her, a public and a market one of the operator's.
async fn insert_each_view(tx: &mut Tx) -> [Image; 4] {
    insert_accounts(tx).await;
    let kinds = [
        (ALICE, ImageKind::Custom, "own"),
        (BOB, ImageKind::Custom, "shared"),
        (OPERATOR, ImageKind::Public, "public"),
        (OPERATOR, ImageKind::Market, "market"),
    ];
    let images = kinds.map(|(owner, kind, name)| Image {
        kind,
        state: ImageState::Normal,
        ..image(owner, &guangzhou(), name)
    });
    for image in &images {
        tx.insert_image(image).await.expect("new");
    }
    share(tx, &images[1].id).await;
    images
}

async fn share(tx: &mut Tx, image: &ImageId) {
    let share = ImageShare { image: image.clone(), account: ALICE, shared_at: at(1) };
    tx.insert_share(&share).await.expect("a new share");
}

async fn names(tx: &mut Tx, query: &ImageQuery) -> Vec<(String, ImageView)> {
    let (images, total) = tx.images(query).await.expect("readable");
    assert!(total >= images.len() as u64);
    images.into_iter().map(|listed| (listed.image.name, listed.view)).collect()
}

async fn each_view_shows_its_images(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    let [own, shared, public, market] = insert_each_view(&mut tx).await;
    let views = [
        (&own, ImageView::Own),
        (&shared, ImageView::Shared),
        (&public, ImageView::Public),
        (&market, ImageView::Market),
    ];
    for (image, view) in views {
        let query = ImageQuery { views: vec![view], ..ImageQuery::all(ALICE, guangzhou()) };
        assert_eq!(names(&mut tx, &query).await, [(image.name.clone(), view)]);
        let visible = tx.visible_image(ALICE, &guangzhou(), &image.id).await.expect("readable");
        assert_eq!(visible, Some((image.clone(), view)));
        assert_eq!(tx.visible_image(ALICE, &beijing(), &image.id).await.expect("readable"), None);
    }
    let (_, total) = tx.images(&ImageQuery::all(ALICE, guangzhou())).await.expect("readable");
    assert_eq!(total, 4);
    assert!(names(&mut tx, &ImageQuery::all(ALICE, beijing())).await.is_empty());
    let none = ImageQuery { views: vec![], ..ImageQuery::all(ALICE, guangzhou()) };
    assert!(names(&mut tx, &none).await.is_empty());
    assert_eq!(tx.visible_image(BOB, &guangzhou(), &own.id).await.expect("readable"), None);
}

async fn unfinished_images_of_others_are_invisible(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let shared = image(BOB, &guangzhou(), "shared");
    let public = Image { kind: ImageKind::Public, ..image(OPERATOR, &guangzhou(), "public") };
    for image in [&shared, &public] {
        tx.insert_image(image).await.expect("new");
    }
    share(&mut tx, &shared.id).await;
    assert!(names(&mut tx, &ImageQuery::all(ALICE, guangzhou())).await.is_empty());
    let seen = names(&mut tx, &ImageQuery::all(OPERATOR, guangzhou())).await;
    assert_eq!(seen, [("public".to_owned(), ImageView::Public)]);
    let gone = normal_image(&mut tx, "gone", 1).await;
    tx.transition_image(&gone.id, ImageEvent::Deleted, None, at(1)).await.expect("it is ready");
    assert!(names(&mut tx, &ImageQuery::all(ALICE, guangzhou())).await.is_empty());
    assert_eq!(tx.visible_image(ALICE, &guangzhou(), &gone.id).await.expect("readable"), None);
}

async fn filters_narrow_and_pages_are_stable(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let mut expected = Vec::new();
    for number in 0..25 {
        let mut image = image(ALICE, &guangzhou(), &format!("web-{number:02}"));
        image.created_at = at(number / 3);
        image.facts.platform = if number % 2 == 0 { "Debian" } else { "CentOS" }.to_owned();
        image.state = if number < 5 { ImageState::ImportFailed } else { ImageState::Normal };
        tx.insert_image(&image).await.expect("new");
        expected.push(image);
    }
    expected.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));

    let mut listed = Vec::new();
    for offset in (0..25).step_by(10) {
        let query = ImageQuery { offset, limit: 10, ..ImageQuery::all(ALICE, guangzhou()) };
        let (page, total) = tx.images(&query).await.expect("readable");
        assert_eq!(total, 25);
        listed.extend(page.into_iter().map(|listed| listed.image));
    }
    assert_eq!(listed, expected);

    let query = ImageQuery {
        platforms_contain: vec!["ent".to_owned(), "SUSE".to_owned()],
        names_contain: vec!["-1".to_owned(), "-02".to_owned()],
        states: vec![ImageState::Normal],
        limit: 100,
        ..ImageQuery::all(ALICE, guangzhou())
    };
    let mut found: Vec<_> = names(&mut tx, &query).await.into_iter().map(|(name, _)| name).collect();
    found.sort();
    assert_eq!(found, ["web-11", "web-13", "web-15", "web-17", "web-19"]);

    let ids = Some(vec![expected[3].id.clone(), expected[20].id.clone(), ImageId::random()]);
    let query = ImageQuery { ids, ..ImageQuery::all(ALICE, guangzhou()) };
    assert_eq!(tx.images(&query).await.expect("readable").1, 2);
    let query = ImageQuery { ids: Some(vec![]), ..ImageQuery::all(ALICE, guangzhou()) };
    assert_eq!(tx.images(&query).await.expect("readable").1, 0);
}

async fn exact_names_come_first(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    for (name, created) in [("web", 0), ("web 2", 2), ("my web", 1), ("100%_x", 3), ("WEB", 4)] {
        let image = Image { created_at: at(created), ..image(ALICE, &guangzhou(), name) };
        tx.insert_image(&image).await.expect("new");
    }
    let named = |part: &str| ImageQuery {
        names_contain: vec![part.to_owned()],
        ..ImageQuery::all(ALICE, guangzhou())
    };
    let listed =
        |found: Vec<(String, ImageView)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(listed(names(&mut tx, &named("web")).await), ["web", "web 2", "my web"]);
    assert_eq!(listed(names(&mut tx, &named("%")).await), ["100%_x"], "no character is special");
    assert_eq!(names(&mut tx, &named("")).await.len(), 5);
}

async fn shares_come_and_go(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let image = normal_image(&mut tx, "a", 1).await;
    let share = ImageShare { image: image.id.clone(), account: BOB, shared_at: at(7) };
    tx.insert_share(&share).await.expect("a new share");
    let again = tx.insert_share(&share).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::Share))), "{again:?}");
    let orphan = tx.insert_share(&ImageShare { image: ImageId::random(), ..share.clone() }).await;
    assert!(matches!(orphan, Err(Error::Missing)), "{orphan:?}");
    assert_eq!(tx.shares_of(&image.id).await.expect("readable"), [share]);
    assert!(tx.is_shared_with(&image.id, BOB).await.expect("runs"));
    assert!(!tx.is_shared_with(&image.id, ALICE).await.expect("runs"));
    assert!(tx.delete_share(&image.id, BOB).await.expect("runs"));
    assert!(!tx.delete_share(&image.id, BOB).await.expect("runs"));
    assert_eq!(tx.visible_image(BOB, &guangzhou(), &image.id).await.expect("readable"), None);
}

async fn operations_are_counted_by_day_and_region(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    for _ in 0..3 {
        tx.record_image_operation(ALICE, &guangzhou(), 100).await.expect("runs");
    }
    tx.record_image_operation(ALICE, &guangzhou(), 101).await.expect("runs");
    assert_eq!(tx.image_operations(ALICE, &guangzhou(), 100).await.expect("runs"), 3);
    assert_eq!(tx.image_operations(ALICE, &guangzhou(), 101).await.expect("runs"), 1);
    assert_eq!(tx.image_operations(ALICE, &beijing(), 100).await.expect("runs"), 0);
    assert_eq!(tx.image_operations(BOB, &guangzhou(), 100).await.expect("runs"), 0);
}
