//! Rows to work with: valid, plain, distinct.

use std::net::Ipv4Addr;

use kiln_catalog::{PublishedManifest, StoreKey, Tx};
use kiln_model::{
    Account, AppId, Architecture, BootMode, Contact, DiskId, DiskUsage, Image, ImageDisk, ImageId, ImageKind,
    ImageOrigin, ImageState, ImportClaim, Instance, InstanceId, InstanceState, InstanceType, LastOperation,
    LaunchSettings, LicenseType, ManifestKey, OperationState, PackKey, Price, RegionId, Role, SnapshotId,
    SystemFacts, Task, TaskEvent, TaskId, TaskKind, TaskProgress, TaskState, Timestamp, Uin, ZoneId,
};

pub(crate) const ALICE: Uin = Uin(100000000001);
pub(crate) const BOB: Uin = Uin(100000000002);
/// A sub-account of Bob's.
pub(crate) const CAROL: Uin = Uin(100000000003);
pub(crate) const OPERATOR: Uin = Uin(100000000009);
/// Long enough that no lease of a test runs out by itself.
pub(crate) const LEASE_MILLIS: i64 = 60_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + millis)
}

pub(crate) fn guangzhou() -> RegionId {
    RegionId::from_trusted("ap-guangzhou")
}

pub(crate) fn beijing() -> RegionId {
    RegionId::from_trusted("ap-beijing")
}

pub(crate) fn account(uin: Uin, role: Role) -> Account {
    Account {
        uin,
        app_id: AppId(uin.0 - 98749999999),
        nickname: format!("account {uin}"),
        role,
        may_import: false,
        contact: Contact::default(),
        created_at: at(0),
    }
}

/// Alice, Bob and the operator.
pub(crate) async fn insert_accounts(tx: &mut Tx) {
    for (uin, role) in [(ALICE, Role::Main), (BOB, Role::Main), (OPERATOR, Role::Operator)] {
        tx.insert_account(&account(uin, role)).await.expect("a new account");
    }
}

pub(crate) fn facts() -> SystemFacts {
    SystemFacts {
        os_name: "Debian 12".to_owned(),
        platform: "Debian".to_owned(),
        architecture: Architecture::X86_64,
        boot_mode: BootMode::Bios,
        cloud_init: true,
        license: LicenseType::default(),
    }
}

/// An image that is being imported.
pub(crate) fn image(owner: Uin, region: &RegionId, name: &str) -> Image {
    Image {
        id: ImageId::random(),
        region: region.clone(),
        owner,
        kind: ImageKind::Custom,
        state: ImageState::Importing,
        name: name.to_owned(),
        description: String::new(),
        family: String::new(),
        deprecated: false,
        origin: ImageOrigin::Import,
        facts: facts(),
        size_bytes: 0,
        disks: Vec::new(),
        task: TaskId::random(),
        failure: None,
        fee_of: None,
        created_at: at(0),
    }
}

pub(crate) fn disk(manifest: &ManifestKey) -> ImageDisk {
    ImageDisk {
        snapshot: SnapshotId::random(),
        usage: DiskUsage::System,
        manifest: manifest.clone(),
        size_bytes: 1 << 30,
    }
}

/// A waiting task of Alice's.
pub(crate) fn task(kind: TaskKind, millis: i64) -> Task {
    Task {
        id: TaskId::random(),
        kind,
        owner: ALICE,
        region: guangzhou(),
        request_id: "request".to_owned(),
        state: TaskState::Queued,
        fence: 0,
        lease_until: at(0),
        checkpoint: serde_json::Value::Null,
        progress: TaskProgress::default(),
        cancel_requested: false,
        attempts: 0,
        failure: None,
        created_at: at(millis),
        finished_at: None,
    }
}

pub(crate) fn import_kind() -> TaskKind {
    TaskKind::ImportImage {
        image: ImageId::random(),
        url: "https://example.com/disk.raw".to_owned(),
        claim: ImportClaim {
            os_type: "Debian".to_owned(),
            os_version: "12".to_owned(),
            architecture: Architecture::X86_64,
            boot_mode: BootMode::Bios,
            force: false,
            license: LicenseType::default(),
        },
        sha256: None,
    }
}

/// A task that runs under a lease, being the only one of its kind that waits.
pub(crate) async fn running_task(tx: &mut Tx) -> Task {
    let queued = task(import_kind(), 0);
    tx.insert_task(&queued).await.expect("a new task");
    let claimed =
        tx.claim_task(at(0), LEASE_MILLIS, &["import_image"], u32::MAX).await.expect("claiming works");
    let claimed = claimed.expect("a task waits");
    assert_eq!(claimed.id, queued.id);
    claimed
}

pub(crate) fn pack_key(number: u64) -> PackKey {
    PackKey::from_trusted(format!("{number:032x}"))
}

pub(crate) fn manifest_key(number: u64) -> ManifestKey {
    ManifestKey::from_trusted(format!("{number:032x}"))
}

/// Registers and seals a pack of 1,000 bytes and 10 chunks in Guangzhou.
pub(crate) async fn live_pack(tx: &mut Tx, task: &Task, number: u64) -> PackKey {
    let key = pack_key(number);
    tx.register_pack(&guangzhou(), &key, "account/1", &task.id, task.fence, at(0)).await.expect("a new key");
    tx.seal_pack(&key, 1000, 10, &task.id, task.fence, at(0)).await.expect("a pending pack");
    key
}

pub(crate) fn published(key: &ManifestKey, packs: &[PackKey]) -> PublishedManifest {
    PublishedManifest {
        key: key.clone(),
        size_bytes: 1 << 30,
        data_bytes: 5000,
        stored_bytes: 100,
        packs: packs.iter().map(|pack| (pack.clone(), 400)).collect(),
    }
}

/// Registers and publishes a manifest in a region (Guangzhou where it refers to packs).
pub(crate) async fn live_manifest(
    tx: &mut Tx,
    task: &Task,
    region: &RegionId,
    number: u64,
    packs: &[PackKey],
) -> ManifestKey {
    let key = manifest_key(number);
    tx.register_manifest(region, &key, &task.id, task.fence, at(0)).await.expect("a new key");
    tx.publish_manifest(&published(&key, packs), &task.id, task.fence, at(0))
        .await
        .expect("all packs are kept");
    key
}

/// The manifests of Guangzhou that nothing refers to, and nothing did after that time.
pub(crate) async fn idle_manifests(tx: &mut Tx, millis: i64) -> Vec<ManifestKey> {
    let found = tx.garbage(&guangzhou(), at(millis), 0).await.expect("readable");
    let manifest = |key| if let StoreKey::Manifest(key) = key { Some(key) } else { None };
    found.into_iter().filter_map(|object| manifest(object.key)).collect()
}

pub(crate) async fn succeed(tx: &mut Tx, task: &Task, millis: i64) {
    let finished = tx.finish_task(&task.id, task.fence, TaskEvent::Succeeded, None, at(millis)).await;
    assert_eq!(finished.expect("a running task"), TaskState::Succeeded);
}

/// A ready image of Alice's in Guangzhou, on a manifest of that number without packs.
pub(crate) async fn normal_image(tx: &mut Tx, name: &str, manifest: u64) -> Image {
    let task = running_task(tx).await;
    let key = live_manifest(tx, &task, &guangzhou(), manifest, &[]).await;
    let image = image(ALICE, &guangzhou(), name);
    tx.insert_image(&image).await.expect("a new image");
    tx.publish_image(&image.id, &facts(), 1 << 30, &[disk(&key)]).await.expect("it is being imported");
    succeed(tx, &task, 0).await;
    tx.image(&image.id).await.expect("readable").expect("just inserted")
}

/// A pending instance from an image.
pub(crate) fn instance(image: &Image, ordinal: u32) -> Instance {
    Instance {
        id: InstanceId::random(),
        region: image.region.clone(),
        zone: ZoneId::from_trusted("ap-guangzhou-3"),
        owner: image.owner,
        name: format!("instance {ordinal}"),
        state: InstanceState::Pending,
        image: image.id.clone(),
        base_manifest: image.system_disk().expect("a ready image has a system disk").manifest.clone(),
        system_disk: DiskId::random(),
        system_disk_bytes: 50 << 30,
        instance_type: InstanceType {
            name: "S5.MEDIUM4".to_owned(),
            vcpus: 2,
            memory_bytes: 4 << 30,
            price: Price::default(),
        },
        private_address: Ipv4Addr::new(10, 0, 0, ordinal as u8),
        ssh_port: None,
        ordinal,
        settings: LaunchSettings { hostname: "host".to_owned(), ..LaunchSettings::default() },
        last_operation: LastOperation {
            action: "RunInstances".to_owned(),
            state: OperationState::Operating,
            request_id: "request".to_owned(),
            failure: None,
        },
        task: None,
        created_at: at(i64::from(ordinal)),
    }
}
