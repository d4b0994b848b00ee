//! Images and their disks, one at a time. Lists are in `image_list`.
//!
//! Invariants: a state changes only by [`ImageState::transition`]; a disk is recorded only for a manifest that is
//! live in the image's region, so that a reference never points at what may be deleted.

use std::collections::HashMap;

use kiln_model::{
    Failure, Image, ImageDisk, ImageEvent, ImageId, ImageKind, ImageOrigin, ImageState, InstanceId,
    ManifestKey, RegionId, SnapshotEvent, SnapshotId, SystemFacts, TaskId, Timestamp, Uin,
};
use sqlx::query;

use crate::catalog::Tx;
use crate::column::{Builder, Row, failure_columns, integer, push_list, uin};
use crate::words::Word;
use crate::{Error, Result};

const NO_SUCH_IMAGE: &str = "no such image, or its state changed";

fn origin_columns(origin: &ImageOrigin) -> (&'static str, Option<&str>, Option<&str>, Option<&str>) {
    match origin {
        ImageOrigin::Import => ("import", None, None, None),
        ImageOrigin::Snapshots => ("snapshots", None, None, None),
        ImageOrigin::Instance(instance) => ("instance", Some(instance.as_str()), None, None),
        ImageOrigin::Copy { image, region } => ("copy", None, Some(image.as_str()), Some(region.as_str())),
    }
}

fn read_origin(row: &Row) -> Result<ImageOrigin> {
    match row.text("origin")?.as_str() {
        "import" => Ok(ImageOrigin::Import),
        "snapshots" => Ok(ImageOrigin::Snapshots),
        "instance" => Ok(ImageOrigin::Instance(InstanceId::from_trusted(row.text("origin_instance")?))),
        "copy" => Ok(ImageOrigin::Copy {
            image: ImageId::from_trusted(row.text("origin_image")?),
            region: RegionId::from_trusted(row.text("origin_region")?),
        }),
        other => Err(Error::Corrupt { column: "origin", reason: format!("{other:?} is not a known word") }),
    }
}

/// An image without its disks, which [`Tx::add_disks`] fills in.
pub(crate) fn read_image(row: &Row) -> Result<Image> {
    Ok(Image {
        id: ImageId::from_trusted(row.text("id")?),
        region: RegionId::from_trusted(row.text("region")?),
        owner: row.uin("owner")?,
        kind: row.word("kind")?,
        state: row.word("state")?,
        name: row.text("name")?,
        description: row.text("description")?,
        family: row.text("family")?,
        deprecated: row.flag("deprecated")?,
        origin: read_origin(row)?,
        facts: SystemFacts {
            os_name: row.text("os_name")?,
            platform: row.text("platform")?,
            architecture: row.word("architecture")?,
            boot_mode: row.word("boot_mode")?,
            cloud_init: row.flag("cloud_init")?,
            license: row.word("license")?,
        },
        size_bytes: row.number("size_bytes")?,
        disks: Vec::new(),
        task: TaskId::from_trusted(row.text("task")?),
        failure: row.failure("failure_code", "failure_message")?,
        fee_of: row.optional_text("fee_of")?.map(ImageId::from_trusted),
        created_at: row.time("created_at")?,
    })
}

fn read_disk(row: &Row) -> Result<(ImageId, ImageDisk)> {
    let disk = ImageDisk {
        snapshot: SnapshotId::from_trusted(row.text("snapshot")?),
        usage: row.word("disk_usage")?,
        manifest: ManifestKey::from_trusted(row.text("manifest")?),
        size_bytes: row.number("size_bytes")?,
    };
    Ok((ImageId::from_trusted(row.text("image")?), disk))
}

impl Tx {
    /// Adds an image, with its disks if it has any already.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::ImageName`] or `Identifier`; `Missing` where the owner does not exist;
    /// `Stale` where the manifest of a disk is not live in the region.
    pub async fn insert_image(&mut self, image: &Image) -> Result<()> {
        let sql = "INSERT INTO images (id, region, owner, kind, state, name, description,
                origin, origin_instance, origin_image, origin_region,
                os_name, platform, architecture, boot_mode, cloud_init, license,
                size_bytes, task, failure_code, failure_message, created_at, family, deprecated, fee_of)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                $22, $23, $24, $25)";
        let (origin, origin_instance, origin_image, origin_region) = origin_columns(&image.origin);
        let (failure_code, failure_message) = failure_columns(image.failure.as_ref());
        let insert = query(sql)
            .bind(image.id.as_str())
            .bind(image.region.as_str())
            .bind(uin(image.owner)?)
            .bind(image.kind.word())
            .bind(image.state.word())
            .bind(&image.name)
            .bind(&image.description)
            .bind(origin)
            .bind(origin_instance)
            .bind(origin_image)
            .bind(origin_region)
            .bind(&image.facts.os_name)
            .bind(&image.facts.platform)
            .bind(image.facts.architecture.word())
            .bind(image.facts.boot_mode.word())
            .bind(i64::from(image.facts.cloud_init))
            .bind(image.facts.license.word())
            .bind(integer(image.size_bytes, "size_bytes")?)
            .bind(image.task.as_str())
            .bind(failure_code)
            .bind(failure_message)
            .bind(image.created_at.0)
            .bind(&image.family)
            .bind(i64::from(image.deprecated))
            .bind(image.fee_of.as_ref().map(ImageId::as_str));
        self.change(insert).await?;
        self.insert_disks(&image.id, &image.disks).await
    }

    /// Records an image's disks. A snapshot that is not there yet is made with the image, and goes with it.
    async fn insert_disks(&mut self, image: &ImageId, disks: &[ImageDisk]) -> Result<()> {
        let make = "INSERT INTO snapshots (id, region, zone, owner, name, state, disk_usage, disk, manifest, size_bytes,
                source_image, of_image, task, created_at)
            SELECT $1, i.region, NULL, i.owner, i.name, 'normal', $2, NULL, m.id, $3, i.id, i.id, i.task, i.created_at
            FROM images i JOIN manifests m ON m.region = i.region
            WHERE i.id = $4 AND m.id = $5 AND m.state = 'live'
            ON CONFLICT (id) DO NOTHING";
        let refer = "INSERT INTO image_disks (image, position, snapshot)
            SELECT i.id, $1, s.id FROM images i JOIN snapshots s ON s.region = i.region
            WHERE i.id = $2 AND s.id = $3 AND s.manifest = $4 AND s.state = 'normal'";
        for (position, disk) in disks.iter().enumerate() {
            let make = query(make)
                .bind(disk.snapshot.as_str())
                .bind(disk.usage.word())
                .bind(integer(disk.size_bytes, "size_bytes")?)
                .bind(image.as_str())
                .bind(disk.manifest.as_str());
            self.change(make).await?;
            let refer = query(refer)
                .bind(integer(position as u64, "position")?)
                .bind(image.as_str())
                .bind(disk.snapshot.as_str())
                .bind(disk.manifest.as_str());
            self.change_some(refer, "the disk's manifest is not live in the image's region").await?;
        }
        Ok(())
    }

    /// The image of that identifier, whoever owns it and in any state, deleted ones included.
    pub async fn image(&mut self, id: &ImageId) -> Result<Option<Image>> {
        let select = query("SELECT * FROM images WHERE id = $1").bind(id.as_str());
        let Some(image) = self.find(select, read_image).await? else { return Ok(None) };
        let mut images = [image];
        self.add_disks(images.iter_mut()).await?;
        let [image] = images;
        Ok(Some(image))
    }

    /// Fills in the disks of images that were read without them.
    pub(crate) async fn add_disks<'i>(
        &mut self,
        images: impl ExactSizeIterator<Item = &'i mut Image>,
    ) -> Result<()> {
        let mut images: Vec<&mut Image> = images.collect();
        if images.is_empty() {
            return Ok(());
        }
        let ids: Vec<ImageId> = images.iter().map(|image| image.id.clone()).collect();
        let mut select = Builder::new(
            "SELECT d.image, d.snapshot, s.disk_usage, s.manifest, s.size_bytes
            FROM image_disks d JOIN snapshots s ON s.id = d.snapshot WHERE s.manifest IS NOT NULL AND d.image IN ",
        );
        push_list(&mut select, ids.iter().map(ImageId::as_str));
        select.push(" ORDER BY d.image, d.position");
        let mut disks: HashMap<ImageId, Vec<ImageDisk>> = HashMap::new();
        for (image, disk) in self.list(select.build(), read_disk).await? {
            disks.entry(image).or_default().push(disk);
        }
        for image in &mut images {
            image.disks = disks.remove(&image.id).unwrap_or_default();
        }
        Ok(())
    }

    /// The image's state before and after an event.
    async fn next_image_state(
        &mut self,
        id: &ImageId,
        event: ImageEvent,
    ) -> Result<(ImageState, ImageState)> {
        let select = query("SELECT state FROM images WHERE id = $1").bind(id.as_str());
        let found = self.find(select, |row| row.word::<ImageState>("state")).await?;
        let state = found.ok_or(Error::Stale(NO_SUCH_IMAGE))?;
        Ok((state, state.transition(event)?))
    }

    /// Lets something happen to an image; its new state. For [`ImageEvent::Published`] use [`Tx::publish_image`].
    ///
    /// # Errors
    /// `Illegal` where it cannot happen in the image's state; `Stale` where there is no such image.
    pub async fn transition_image(
        &mut self,
        id: &ImageId,
        event: ImageEvent,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<ImageState> {
        let (state, next) = self.next_image_state(id, event).await?;
        let (failure_code, failure_message) = failure_columns(failure);
        let sql = "UPDATE images SET state = $1, failure_code = COALESCE($2, failure_code),
                failure_message = COALESCE($3, failure_message)
            WHERE id = $4 AND state = $5";
        let update = query(sql)
            .bind(next.word())
            .bind(failure_code)
            .bind(failure_message)
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, NO_SUCH_IMAGE).await?;
        if next == ImageState::Deleted {
            for snapshot in self.snapshots_made_with(id).await? {
                self.transition_snapshot(&snapshot, SnapshotEvent::Deleted, now).await?;
            }
            self.delete_tags(id.as_str()).await?;
        }
        Ok(next)
    }

    /// Makes an image whole: what it is, how large, and its disks, the system disk first. Belongs into the
    /// transaction that publishes the manifests and finishes the task.
    ///
    /// # Errors
    /// `Illegal` where the image is not being made; `Stale` where there is no such image, or the manifest of a disk
    /// is not live in its region.
    pub async fn publish_image(
        &mut self,
        id: &ImageId,
        facts: &SystemFacts,
        size_bytes: u64,
        disks: &[ImageDisk],
    ) -> Result<()> {
        let (state, next) = self.next_image_state(id, ImageEvent::Published).await?;
        let sql = "UPDATE images SET state = $1, os_name = $2, platform = $3, architecture = $4,
                boot_mode = $5, cloud_init = $6, license = $7, size_bytes = $8
            WHERE id = $9 AND state = $10";
        let update = query(sql)
            .bind(next.word())
            .bind(&facts.os_name)
            .bind(&facts.platform)
            .bind(facts.architecture.word())
            .bind(facts.boot_mode.word())
            .bind(i64::from(facts.cloud_init))
            .bind(facts.license.word())
            .bind(integer(size_bytes, "size_bytes")?)
            .bind(id.as_str())
            .bind(state.word());
        self.change_some(update, NO_SUCH_IMAGE).await?;
        self.insert_disks(id, disks).await
    }

    /// Records an image's name, description, family, and whether it is deprecated.
    ///
    /// # Errors
    /// `Conflict` with [`crate::Unique::ImageName`]; `Stale` where there is no such image.
    pub async fn set_image_attributes(&mut self, image: &Image) -> Result<()> {
        let sql = "UPDATE images SET name = $1, description = $2, family = $3, deprecated = $4
            WHERE id = $5 AND state <> 'deleted'";
        let update = query(sql)
            .bind(&image.name)
            .bind(&image.description)
            .bind(&image.family)
            .bind(i64::from(image.deprecated))
            .bind(image.id.as_str());
        self.change_some(update, NO_SUCH_IMAGE).await
    }

    /// Whether a custom image of the account has that name in the region. Failed and deleted ones do not count.
    pub async fn custom_image_name_taken(
        &mut self,
        owner: Uin,
        region: &RegionId,
        name: &str,
    ) -> Result<bool> {
        let mut count = counted_images(owner, region)?;
        count.push(" AND name = ").push_bind(name);
        Ok(self.count::<u64>(count.build()).await? > 0)
    }

    /// Whether a public image of the region has that name. Failed and withdrawn ones do not count.
    pub async fn public_image_name_taken(&mut self, region: &RegionId, name: &str) -> Result<bool> {
        let states = ImageState::WORDS.iter().filter(|(state, _)| state.counts_towards_quota());
        let mut count =
            Builder::new("SELECT COUNT(*) AS n FROM images WHERE state <> 'deleted' AND kind <> 'custom'");
        count.push(" AND kind = ").push_bind(ImageKind::Public.word());
        count.push(" AND region = ").push_bind(region.as_str());
        count.push(" AND name = ").push_bind(name);
        count.push(" AND state IN ");
        push_list(&mut count, states.map(|(_, word)| *word));
        Ok(self.count::<u64>(count.build()).await? > 0)
    }

    /// The custom images of an account in a region that count towards its quota.
    pub async fn count_images(&mut self, owner: Uin, region: &RegionId) -> Result<u32> {
        self.count(counted_images(owner, region)?.build()).await
    }
}

/// Counts an account's custom images in the states that take a place (and hold a name).
fn counted_images(owner: Uin, region: &RegionId) -> Result<Builder<'_>> {
    let states = ImageState::WORDS.iter().filter(|(state, _)| state.counts_towards_quota());
    let mut count = Builder::new("SELECT COUNT(*) AS n FROM images WHERE state <> 'deleted' AND owner = ");
    count.push_bind(uin(owner)?);
    count.push(" AND region = ").push_bind(region.as_str());
    count.push(" AND kind = ").push_bind(ImageKind::Custom.word());
    count.push(" AND state IN ");
    push_list(&mut count, states.map(|(_, word)| *word));
    Ok(count)
}
