//! How long listing images takes in a full catalogue: `cargo run --release --example list_latency [images]`.
//!
//! One account owns a tenth of the images, so that its list is long; the others own 50 each, and each account sees 200
//! public images and 20 that are shared with it. No check: figures for people.

use std::time::{Duration, Instant};

use kiln_catalog::{Catalog, ImageQuery, Result, Tx};
use kiln_model::{
    Account, AppId, Architecture, BootMode, Contact, Image, ImageId, ImageKind, ImageOrigin, ImageShare,
    ImageState, LicenseType, RegionId, Role, SystemFacts, TaskId, Timestamp, Uin,
};

const DEFAULT_IMAGES: u64 = 10_000;
const IMAGES_PER_ACCOUNT: u64 = 50;
const PUBLIC_IMAGES: u64 = 200;
const SHARES_PER_ACCOUNT: u64 = 20;
const FIRST_UIN: u64 = 100000000000;
const ROUNDS: u32 = 200;

fn image(owner: Uin, number: u64, kind: ImageKind) -> Image {
    Image {
        id: ImageId::random(),
        region: RegionId::from_trusted("ap-guangzhou"),
        owner,
        kind,
        state: ImageState::Normal,
        name: format!("image {number}"),
        description: "An image of the list".to_owned(),
        family: String::new(),
        deprecated: false,
        origin: ImageOrigin::Import,
        facts: SystemFacts {
            os_name: "Debian 12".to_owned(),
            platform: if number.is_multiple_of(3) { "CentOS" } else { "Debian" }.to_owned(),
            architecture: Architecture::X86_64,
            boot_mode: BootMode::Bios,
            cloud_init: true,
            license: LicenseType::default(),
        },
        size_bytes: 10 << 30,
        disks: Vec::new(),
        task: TaskId::random(),
        failure: None,
        fee_of: None,
        created_at: Timestamp(number as i64),
    }
}

async fn insert_account(tx: &mut Tx, number: u64) -> Result<Uin> {
    let uin = Uin(FIRST_UIN + number);
    let account = Account {
        uin,
        app_id: AppId(1_250_000_000 + number),
        nickname: format!("account {number}"),
        role: Role::Main,
        may_import: true,
        contact: Contact::default(),
        created_at: Timestamp(0),
    };
    tx.insert_account(&account).await?;
    Ok(uin)
}

/// The account with the long list, and one with a short one.
async fn fill(catalog: &Catalog, images: u64) -> Result<(Uin, Uin)> {
    let mut tx = catalog.write().await?;
    let large = insert_account(&mut tx, 0).await?;
    for number in 0..PUBLIC_IMAGES {
        tx.insert_image(&image(large, number, ImageKind::Public)).await?;
    }
    let mut shared = Vec::new();
    for number in 0..images / 10 {
        let image = image(large, number, ImageKind::Custom);
        tx.insert_image(&image).await?;
        shared.push(image.id);
    }
    let mut small = large;
    for account in 1..=(images - images / 10) / IMAGES_PER_ACCOUNT {
        small = insert_account(&mut tx, account).await?;
        for number in 0..IMAGES_PER_ACCOUNT {
            tx.insert_image(&image(small, number, ImageKind::Custom)).await?;
        }
        for id in shared.iter().take(SHARES_PER_ACCOUNT as usize) {
            let share = ImageShare { image: id.clone(), account: small, shared_at: Timestamp(0) };
            tx.insert_share(&share).await?;
        }
    }
    tx.commit().await?;
    Ok((large, small))
}

async fn measure(catalog: &Catalog, what: &str, query: &ImageQuery) -> Result<()> {
    let mut times = Vec::new();
    let mut total = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut tx = catalog.read().await?;
        total = tx.images(query).await?.1;
        drop(tx);
        times.push(start.elapsed());
    }
    times.sort();
    let middle: Duration = times[times.len() / 2];
    let slow = times[times.len() * 99 / 100];
    println!("{what:42} {total:6} in all, median {middle:9.2?}, 99 % below {slow:9.2?}");
    Ok(())
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let images = std::env::args().nth(1).map_or(Ok(DEFAULT_IMAGES), |text| text.parse())?;
    let dir = std::env::temp_dir().join(format!("kiln-list-latency-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let catalog = Catalog::open_sqlite(&dir.join("catalog.db")).await?;
    let start = Instant::now();
    let (large, small) = fill(&catalog, images).await?;
    println!("{images} images inserted in {:.1?}", start.elapsed());

    let region = RegionId::from_trusted("ap-guangzhou");
    for (viewer, who) in [(small, "50 own images"), (large, "a tenth of all")] {
        let all = ImageQuery::all(viewer, region.clone());
        measure(&catalog, &format!("{who}: first page of 20"), &all).await?;
        let named = ImageQuery { names_contain: vec!["image 7".to_owned()], ..all.clone() };
        measure(&catalog, &format!("{who}: by part of a name"), &named).await?;
        let deep = ImageQuery { offset: 200, limit: 100, ..all };
        measure(&catalog, &format!("{who}: 100 from the 200th"), &deep).await?;
    }
    catalog.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
