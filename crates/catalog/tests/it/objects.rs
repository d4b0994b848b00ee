//! Buckets, objects, uploads and their parts; the numbers of a bucket keep up with all of them.

use kiln_catalog::{Catalog, Error, Tx, Unique};
use kiln_model::{
    Bucket, BucketName, CorsRule, Object, ObjectDescription, ObjectId, Part, PartId, Upload, UploadId,
};

use crate::sample::{ALICE, BOB, at, beijing, guangzhou, insert_accounts};

crate::on_every_database!(
    objects_read_back_and_count,
    keys_are_in_the_order_of_their_bytes,
    uploads_become_objects_or_nothing,
    bucket_names_are_unique_and_full_buckets_stay,
    cors_rules_read_back,
);

fn bucket(name: &str) -> Bucket {
    Bucket {
        name: BucketName::from_trusted(name),
        owner: ALICE,
        region: guangzhou(),
        objects: 0,
        stored_bytes: 0,
        created_at: at(0),
    }
}

fn object(bucket: &Bucket, key: &str, size_bytes: u64) -> Object {
    let metadata = [("colour".to_owned(), "blue".to_owned())].into();
    Object {
        id: ObjectId::random(),
        bucket: bucket.name.clone(),
        key: key.to_owned(),
        size_bytes,
        etag: "0123456789abcdef0123456789abcdef".to_owned(),
        crc64: u64::MAX,
        description: ObjectDescription {
            content_type: Some("text/plain".to_owned()),
            metadata,
            ..Default::default()
        },
        modified_at: at(1),
    }
}

fn part(number: u32, size_bytes: u64) -> Part {
    Part {
        id: PartId::random(),
        region: guangzhou(),
        number,
        size_bytes,
        etag: "0123456789abcdef0123456789abcdef".to_owned(),
        crc64: u64::MAX,
        stored_at: at(2),
    }
}

async fn numbers(tx: &mut Tx, bucket: &Bucket) -> (u64, u64) {
    let found = tx.bucket(&bucket.name).await.expect("readable").expect("it is there");
    (found.objects, found.stored_bytes)
}

async fn objects_read_back_and_count(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let bucket = bucket("a-1250000000");
    tx.insert_bucket(&bucket).await.expect("new");
    let (first, piece) = (object(&bucket, "k", 7), part(1, 7));
    tx.insert_object(&first).await.expect("new");
    tx.insert_object_part(&first, &piece).await.expect("new");
    assert_eq!(tx.object(&bucket.name, "k").await.expect("readable"), Some(first.clone()));
    assert_eq!(tx.parts_of_object(&first.id).await.expect("readable"), std::slice::from_ref(&piece));
    assert_eq!(tx.part_ids(&guangzhou()).await.expect("readable"), std::slice::from_ref(&piece.id));
    assert!(tx.part_ids(&beijing()).await.expect("readable").is_empty());
    assert_eq!(numbers(&mut tx, &bucket).await, (1, 7));
    assert_eq!(tx.bucket_bytes(ALICE).await.expect("readable"), 7);
    assert_eq!(tx.bucket_bytes(BOB).await.expect("readable"), 0);
    let again = tx.insert_object(&object(&bucket, "k", 1)).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    assert_eq!(tx.delete_object(&first).await.expect("there"), [piece]);
    assert!(!tx.object_exists(&first.id).await.expect("readable"));
    assert_eq!(numbers(&mut tx, &bucket).await, (0, 0));
}

async fn keys_are_in_the_order_of_their_bytes(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let bucket = bucket("a-1250000000");
    tx.insert_bucket(&bucket).await.expect("new");
    let keys = ["A", "Z", "a", "a/b", "b", "ä", "\u{10ffff}"];
    for key in keys.iter().rev() {
        tx.insert_object(&object(&bucket, key, 0)).await.expect("new");
    }
    for (from, after, expected) in [("", false, &keys[..]), ("a", false, &keys[2..]), ("a", true, &keys[3..])]
    {
        let found = tx.objects_from(&bucket.name, from, after, 100).await.expect("readable");
        assert_eq!(found.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(tx.objects_from(&bucket.name, "", false, 2).await.expect("readable").len(), 2);
}

async fn uploads_become_objects_or_nothing(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let bucket = bucket("a-1250000000");
    tx.insert_bucket(&bucket).await.expect("new");
    let upload = |key: &str, created| Upload {
        id: UploadId::random(),
        bucket: bucket.name.clone(),
        key: key.to_owned(),
        description: ObjectDescription::default(),
        created_at: at(created),
    };
    let (old, young) = (upload("k", 0), upload("l", 10));
    for upload in [&old, &young] {
        tx.insert_upload(upload).await.expect("new");
    }
    let pieces = [part(1, 10), part(2, 20), part(3, 30), part(2, 25)];
    for piece in &pieces[..3] {
        assert_eq!(tx.put_upload_part(&old, piece).await.expect("new"), None);
    }
    assert_eq!(tx.put_upload_part(&old, &pieces[3]).await.expect("new"), Some(pieces[1].clone()));
    tx.put_upload_part(&young, &part(1, 100)).await.expect("new");
    assert_eq!(numbers(&mut tx, &bucket).await, (0, 165));
    assert_eq!(tx.uploads_before(at(10), 9).await.expect("readable"), std::slice::from_ref(&old));
    let listed = tx.uploads_of_bucket(&bucket.name, ("k", old.id.as_str()), 9).await.expect("readable");
    assert_eq!(listed, std::slice::from_ref(&young));

    let whole = object(&bucket, "k", 35);
    tx.insert_object(&whole).await.expect("new");
    tx.complete_upload(&old, &whole, &[pieces[2].clone()]).await.expect("completed");
    let kept = [pieces[0].clone(), pieces[3].clone()];
    assert_eq!(tx.parts_of_object(&whole.id).await.expect("readable"), kept);
    assert_eq!(tx.upload(&old.id).await.expect("readable"), None);
    assert_eq!(numbers(&mut tx, &bucket).await, (1, 135));
    let again = tx.complete_upload(&old, &whole, &[]).await;
    assert!(matches!(again, Err(Error::Stale(_))), "{again:?}");

    assert_eq!(tx.delete_upload(&young).await.expect("there").len(), 1);
    assert_eq!(numbers(&mut tx, &bucket).await, (1, 35));
    assert_eq!(tx.count_uploads(&bucket.name).await.expect("readable"), 0);
}

async fn bucket_names_are_unique_and_full_buckets_stay(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let full = bucket("a-1250000000");
    tx.insert_bucket(&full).await.expect("new");
    let again = tx.insert_bucket(&full).await;
    assert!(matches!(again, Err(Error::Conflict(Unique::BucketName))), "{again:?}");
    tx.insert_object(&object(&full, "k", 0)).await.expect("new");
    let refused = tx.delete_bucket(&full.name).await;
    assert!(matches!(refused, Err(Error::Missing)), "{refused:?}");
    let empty = bucket("b-1250000000");
    tx.insert_bucket(&empty).await.expect("new");
    assert_eq!(tx.buckets(ALICE).await.expect("readable").len(), 2);
    tx.delete_bucket(&empty.name).await.expect("empty");
    assert_eq!(tx.bucket(&empty.name).await.expect("readable"), None);
}

async fn cors_rules_read_back(catalog: Catalog) {
    let mut tx = catalog.write().await.expect("a turn");
    insert_accounts(&mut tx).await;
    let bucket = bucket("pages-1250000000");
    tx.insert_bucket(&bucket).await.expect("inserted");
    assert_eq!(tx.bucket_cors(&bucket.name).await.expect("readable"), []);
    let rule = CorsRule {
        origins: vec!["https://*.example.org".to_owned()],
        methods: vec!["GET".to_owned()],
        max_age_seconds: Some(600),
        ..CorsRule::default()
    };
    let rules = [rule, CorsRule { id: Some("second".to_owned()), ..CorsRule::default() }];
    tx.set_bucket_cors(&bucket.name, &rules).await.expect("set");
    assert_eq!(tx.bucket_cors(&bucket.name).await.expect("readable"), rules);
    let absent = BucketName::from_trusted("absent-1250000000");
    assert_eq!(tx.bucket_cors(&absent).await.expect("readable"), []);
    assert!(matches!(tx.set_bucket_cors(&absent, &rules).await, Err(Error::Stale(_))));
}
